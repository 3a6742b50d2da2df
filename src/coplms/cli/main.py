"""The `coplms` command: which subcommands there are, and how errors end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from coplms.cli import models
from coplms.cli.compare import compare
from coplms.cli.console import print_error
from coplms.cli.demo import demo
from coplms.cli.device import device
from coplms.cli.evaluate import evaluate
from coplms.cli.export import export
from coplms.cli.generate import generate
from coplms.cli.report import report
from coplms.cli.score import score
from coplms.cli.server import server
from coplms.cli.train import train
from coplms.errors import CoplmsError

USER_ERROR = 2
"""Exit code where the user can mend what went wrong."""

app = typer.Typer(
    name="coplms",
    help="Co-tune a cloud LLM and devices' SLMs through a distilled proxy model.",
    epilog="Start with: coplms demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit; `arguments` are those of the process where absent."""
    try:
        app(args=None if arguments is None else list(arguments))
    except CoplmsError as error:
        print_error(error)
        raise SystemExit(USER_ERROR) from None


def _print_version(*, wanted: bool) -> None:
    if wanted:
        import coplms

        typer.echo(f"coplms {coplms.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            is_eager=True,
            callback=lambda value: _print_version(wanted=value),
        ),
    ] = False,
) -> None:
    """Options of `coplms` itself."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to write into; made if absent.")],
) -> None:
    """Write a configuration and sample data to start from into FOLDER."""
    from coplms.cli.init import init as write

    write(folder)


for command in (train, compare, demo, server, device, evaluate, score, generate, report, export):
    app.command()(command)
app.add_typer(models.app, name="models")

if __name__ == "__main__":
    main()
