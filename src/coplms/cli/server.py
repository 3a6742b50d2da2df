"""`coplms server`: the cloud's side of a consortium over a network."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coplms.cli.console import begin_heavy_work, print_line, resumable
from coplms.cli.options import ConfigPath, DataRoot, Settings, use_data_root

if TYPE_CHECKING:
    from rich.console import Console

    from coplms.config.run import RunConfig
    from coplms.runtimes.flower.hub import Hub
    from coplms.runtimes.network.entries import DeviceEntry
    from coplms.runtimes.network.registry import Registry


_PLAIN_WIDTH = 140
"""Columns where the output goes to a file or another program."""


def server(
    config: ConfigPath,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The run's folder; a run that was stopped goes on there.",
            show_default="runs/ and the configuration's name",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            help="Certificates, the list of devices, logs: what outlives runs; not to be shared.",
            show_default="server-state beside CONFIG",
        ),
    ] = None,
    settings: Settings = None,
    data_root: DataRoot = None,
    join_bundle: Annotated[
        str | None,
        typer.Option(
            "--join-bundle",
            metavar="DEVICE",
            help="Write DEVICE.join, which lets the device in once, and exit.",
        ),
    ] = None,
    revoke: Annotated[
        str | None,
        typer.Option("--revoke", metavar="DEVICE", help="Shut a device out, and exit."),
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list", help="Show which devices are let in, and exit.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the server's side and train nothing.")
    ] = False,
    local_devices: Annotated[
        int | None,
        typer.Option(
            "--local-devices",
            metavar="N",
            min=1,
            help="Start the first N devices on this machine too, to try it.",
        ),
    ] = None,
) -> None:
    """Tune the consortium of CONFIG with devices on other machines, or go on with a stopped run.

    Each device runs `coplms device` with a join bundle from here. The command ends with the run;
    started again it goes on. --join-bundle, --revoke and --list work beside a running server.
    """
    from coplms.config.load import load_config

    use_data_root(data_root)
    loaded = load_config(config, settings or ())
    folder = state or config.parent / "server-state"
    if join_bundle is not None or revoke is not None or list_devices:
        _change(loaded, folder, join_bundle, revoke)
        return
    if dry_run:
        _check(loaded, output or Path("runs") / config.stem)
        return
    run(loaded, output or Path("runs") / config.stem, folder, local_devices)


def _change(config: "RunConfig", state: Path, join_bundle: str | None, revoke: str | None) -> None:
    """What an operator does beside a run."""
    from coplms.runtimes.network.bundle import write_bundle

    hub = _hub(config, state)
    if join_bundle is not None:
        path = Path(f"{join_bundle}.join")
        write_bundle(hub.invite(join_bundle), path)
        days = f"{config.network.bundle_days:g} days"
        print_line(
            f"wrote {path}: it lets '{join_bundle}' in at {hub.address}, once, within {days}."
        )
        print_line("Hand it over as you would a password. On the device:")
        print_line(f"  coplms device --join {path} --config device.yaml")
        if config.network.address is None:
            print_line("network.address is absent: only devices on this machine will find it.")
    if revoke is not None:
        hub.registry.revoke(revoke)
        print_line(f"'{revoke}' is shut out. A new --join-bundle would let it in again.")
    if join_bundle is None and revoke is None:
        _print_devices(hub)


def _check(config: "RunConfig", output: Path) -> None:
    """Print what a run would find at the server, without training."""
    from coplms.cli.check import print_check

    begin_heavy_work()
    from coplms.api.cache import default_cache
    from coplms.api.folder import check_folder
    from coplms.api.post import without_devices
    from coplms.api.refuse import refuse_baseline

    refuse_baseline(config)
    served = without_devices(config)
    check_folder(output, served)
    print_check(served, default_cache(), output)


def _print_devices(hub: "Hub") -> None:
    from rich.console import Console
    from rich.table import Table

    from coplms.runtimes.network.keys import fingerprint

    table = Table("Device", "Key", "Enrolled (UTC)", "Until (UTC)", "State")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    entries = hub.registry.devices()
    for name in sorted({*hub.devices, *entries}):
        entry = entries.get(name)
        if entry is None or entry.public_key is None:
            table.add_row(name, "", "", "", "invited" if entry and entry.issues else "not invited")
            continue
        until = "" if entry.expires is None else f"{entry.expires:%Y-%m-%d %H:%M}"
        enrolled = "" if entry.enrolled is None else f"{entry.enrolled:%Y-%m-%d %H:%M}"
        state = _state(hub.registry, entry, entry.public_key)
        table.add_row(name, fingerprint(entry.public_key), enrolled, until, state)
    console.print(table)


def _state(registry: "Registry", entry: "DeviceEntry", public_key: str) -> str:
    """Whether a device that has enrolled is let in, and whether it has a bundle left."""
    admitted = registry.admits(public_key)
    state = "let in" if isinstance(admitted, str) else str(admitted.reason)
    has_bundle = any(issue.used_by is None for issue in entry.issues)
    return f"{state}, invited anew" if has_bundle else state


def run(config: "RunConfig", output: Path, state: Path, local_devices: int | None) -> None:
    """Serve a run with progress, then show what co-tuning bought and where the report is."""
    from rich.console import Console

    from coplms.api.post import Network, without_devices
    from coplms.api.schedule import plan
    from coplms.cli.notices import describe_notice, describe_presence
    from coplms.cli.progress import watch
    from coplms.cli.results import print_results
    from coplms.cli.signals import stop_on_sigterm

    if local_devices is not None:
        config = config.model_copy(update={"devices": config.devices[:local_devices]})
    console = Console(highlight=False)
    say = _sayer(console)
    with resumable(), stop_on_sigterm(), ExitStack() as stack:
        begin_heavy_work()
        from coplms.api.consortium import Consortium
        from coplms.api.lock import hold
        from coplms.api.refuse import refuse_baseline

        refuse_baseline(config)
        stack.enter_context(hold(state))
        hub = stack.enter_context(_hub(config, state))
        say(f"listening at {hub.gate.address} for {len(config.devices)} devices; state in {state}")
        if local_devices is not None:
            from coplms.cli.local_devices import start_devices

            stack.enter_context(start_devices(config, hub, state / "local-devices"))
        seconds = config.network.join_seconds

        def wait(devices: Sequence[str]) -> None:
            hub.wait_for(devices, seconds, lambda found: say(describe_presence(found, devices)))

        progress = stack.enter_context(watch(config.name, plan(without_devices(config)), console))
        network = Network(hub.link, wait, lambda notice: say(describe_notice(notice)))
        folder = Consortium(config).serve(output, network, progress, progress.zoo_logged)
    print_results(folder)
    print_line(f"The run is complete: {folder}")
    print_line(
        "A device's tuned models are in its own state folder. Devices wait for the next run."
    )


def _sayer(console: "Console") -> Callable[[str], None]:
    return lambda text: console.print(text, markup=False, soft_wrap=True)


def _hub(config: "RunConfig", state: Path) -> "Hub":
    from coplms.runtimes.flower.hub import Hub

    names = [device.name for device in config.devices]
    return Hub(state, config.network, config.name, names)
