"""`coplms demo`: the quick start, with text and models made on the spot."""

from pathlib import Path
from typing import Annotated

import typer

QUICKSTART = "quickstart.yaml"


def quickstart_config() -> Path:
    """The quick start's configuration: inside an installed package, else in the source tree."""
    packaged = Path(__file__).with_name(QUICKSTART)
    return packaged if packaged.is_file() else Path(__file__).parents[3] / "configs" / QUICKSTART


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The run's folder.")
    ] = Path("runs/quickstart"),
) -> None:
    """Co-tune three devices and a server on generated text: offline, in some minutes."""
    from coplms.cli.train import run
    from coplms.config.load import load_config

    run(load_config(quickstart_config()), output)
