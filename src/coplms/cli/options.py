"""Options that several commands have."""

import os
from pathlib import Path
from typing import Annotated

import typer

from coplms.errors import ConfigError

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML configuration.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder that ${COPLMS_DATA} stands for in paths.", show_default=False
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting, such as method.rounds=2; may be repeated.",
    ),
]
Member = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="NAME", help="A device of the run, or server.", show_default=False
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="slm or dpm of a device, llm or dpm of the server; its own model where absent.",
        show_default=False,
    ),
]


def use_data_root(folder: Path | None) -> None:
    """Let `${COPLMS_DATA}` stand for the folder, where one is given.

    Raises:
        ConfigError: If there is no such folder.
    """
    if folder is None:
        return
    if not folder.is_dir():
        raise ConfigError(f"--data-root: there is no folder '{folder}'. Give the folder of data.")
    os.environ["COPLMS_DATA"] = str(folder.resolve())
