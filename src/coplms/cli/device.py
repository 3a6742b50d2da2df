"""`coplms device`: a device's side of a consortium over a network."""

from pathlib import Path
from typing import Annotated

import typer

from coplms.cli.console import begin_heavy_work
from coplms.cli.options import DataRoot, Settings, use_data_root


def device(
    join: Annotated[
        Path, typer.Option(metavar="BUNDLE", help="The join bundle from the server's operator.")
    ],
    config: Annotated[
        Path, typer.Option(metavar="FILE", help="The device's own model and text (YAML).")
    ],
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            help="The device's key, what it fetched, its runs and tuned models.",
            show_default="device-state beside FILE",
        ),
    ] = None,
    settings: Settings = None,
    data_root: DataRoot = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Load text and model, join the server once, and exit."),
    ] = False,
) -> None:
    """Take part in a server's runs with the model and text of FILE, until stopped.

    Model and text stay on this machine. Waits while the server is away; Ctrl-C or SIGTERM ends it.
    """
    from coplms.config.load import load_edge

    use_data_root(data_root)
    edge = load_edge(config, settings or ())
    begin_heavy_work()
    from coplms.api.resident import Resident
    from coplms.cli.device_log import DeviceLines
    from coplms.cli.signals import stop_on_sigterm

    lines = DeviceLines()
    resident = Resident(join, edge, state or config.parent / "device-state", lines)
    if check:
        resident.check()
        return
    with stop_on_sigterm(resident.stop.set):
        try:
            resident.connect()
            resident.serve()
        except KeyboardInterrupt:
            pass
        finally:
            lines.say("stopped")
