"""What every command shares: where it prints, how it is stopped, what is kept quiet."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.text import Text

from coplms.errors import CoplmsError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the signal's number, as shells have it."""


def print_error(error: CoplmsError) -> None:
    """Print `ConfigError: message` in red to stderr."""
    text = Text(f"{type(error).__name__}: {error}", style="red")
    Console(stderr=True).print(text, soft_wrap=True)


def print_line(text: str) -> None:
    """Print a line to stdout as it is: not wrapped, not coloured."""
    typer.echo(text)


@contextmanager
def resumable() -> Iterator[None]:
    """End in one line on Ctrl-C: what the block does goes on where it stopped."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; run the same command to continue", err=True)
        raise typer.Exit(INTERRUPTED) from None


def begin_heavy_work() -> None:
    """Load transformers, and keep its progress bars from mixing with ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
