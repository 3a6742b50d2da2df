"""`coplms export`: tuned models as ordinary Hugging Face folders."""

from pathlib import Path
from typing import Annotated

import typer

from coplms.cli.console import begin_heavy_work, print_line
from coplms.cli.options import RunFolder


def export(
    run: RunFolder,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Made if absent.")],
    members: Annotated[
        list[str] | None,
        typer.Option(
            "--member",
            metavar="NAME",
            help="server or a device; may be repeated; all of them where absent.",
        ),
    ] = None,
) -> None:
    """Write the tuned models of RUN with their adapters merged, for transformers to load."""
    begin_heavy_work()
    from coplms.api.export import export_models

    for name, folder in export_models(run, output, members or ()).items():
        print_line(f"{name}  {folder}")
