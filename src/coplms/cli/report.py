"""`coplms report`: the page about a run."""

from coplms.cli.console import print_line
from coplms.cli.options import RunFolder


def report(run: RunFolder) -> None:
    """Write report.html into the folder RUN of a run, finished or not, and print its path."""
    from coplms.report.html import write_report

    print_line(str(write_report(run)))
