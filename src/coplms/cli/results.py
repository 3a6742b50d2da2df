"""What a finished run prints: scores before, alone and co-tuned, and where the report is."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coplms.cli.console import print_line
from coplms.consortium.record import read_history
from coplms.errors import MissingExtraError
from coplms.report.html import write_report
from coplms.report.tables import (
    ComparisonRow,
    Stages,
    comparison_rows,
    hidden_sentence,
    shown_members,
    signed,
    summary,
)

_PLAIN_WIDTH = 100
"""Columns where the output goes to a file or another program."""

_DASH = "\N{EN DASH}"


def print_results(folder: Path) -> None:
    """Print the scores of a run; write its report where matplotlib is installed."""
    history = read_history(folder)
    rows, members = comparison_rows(history), frozenset(shown_members(history))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    console.print(comparison_table([row for row in rows if row.member in members]))
    console.print(Text(f"{summary(rows)} {hidden_sentence(history)}".strip()))
    try:
        print_line(f"Report: {write_report(folder)}")
    except MissingExtraError as error:
        print_line(f"No report: {error}")


def comparison_table(rows: Sequence[ComparisonRow]) -> Table:
    """Exact match and Rouge-L of every model, on all domains and then on its own ones."""
    table = Table(
        title="What co-tuning bought",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.caption = "EM: exact match, RL: Rouge-L, in percent. +/-: co-tuned less alone."
    table.add_column("Model")
    for metric in ("EM", "RL"):
        for column in ("before", "alone", "co-tuned", "+/-"):
            table.add_column(f"{metric}\n{column}", justify="right", no_wrap=True)
    for scope, of_scope in groupby(rows, key=lambda row: row.scope):
        table.add_row(Text(f"{scope} domains", style="italic"))
        for row in of_scope:
            table.add_row(row.label, *_cells(row.exact_match), *_cells(row.rouge_l))
    return table


def _cells(stages: Stages) -> list[Text]:
    """Before, alone, co-tuned and the difference; the best in bold."""
    cells = [
        Text(
            _DASH if value is None else f"{value:.1f}", style="bold" if stage in stages.best else ""
        )
        for stage, value in stages.items()
    ]
    difference = stages.difference
    if difference is None:
        return [*cells, Text(_DASH)]
    rounded = round(difference, 1)
    colour = "green" if rounded > 0 else "red" if rounded < 0 else ""
    return [*cells, Text(signed(difference), style=colour)]
