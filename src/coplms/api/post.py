"""What a server needs to write to its devices: the files it offers, the terms, the rules."""

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coplms.api.public import blob_of, dpm_files, write_public
from coplms.config.model import DeviceConfig
from coplms.config.run import RunConfig
from coplms.config.terms import terms_of
from coplms.consortium.journal import Journal
from coplms.consortium.members import Server
from coplms.consortium.post import Notice, Post, rules_of
from coplms.consortium.record import RunRecord
from coplms.transport.ledger import Ledger
from coplms.transport.link import Link


@dataclass(frozen=True)
class Network:
    """How a server reaches devices on other machines.

    Attributes:
        link: Carries messages.
        wait: Returns when the devices of these names are there, or have had their time.
        watch: Gets news of devices.
    """

    link: Link
    wait: Callable[[Sequence[str]], None] = lambda devices: None
    watch: Callable[[Notice], None] = lambda notice: None


def make_post(
    config: RunConfig, folder: Path, server: Server, link: Link, watch: Callable[[Notice], None]
) -> Post:
    """The server's post; from here on the link offers the DPM and the public text.

    Args:
        config: The run's.
        folder: The run's; holds the DPM.
        server: Whose public text is offered.
        link: Reaches the devices.
        watch: Gets news of them.
    """
    files = dpm_files(folder / "dpm")
    texts = write_public(server.public, folder / "public")
    named = {path: blob_of(path) for path in (*files.values(), *texts.values())}
    link.offer({blob.sha256: path for path, blob in named.items()})
    terms = terms_of(
        config,
        run_id(folder),
        {name: named[path] for name, path in files.items()},
        {part: named[path] for part, path in texts.items()},
    )
    names = tuple(device.name for device in config.devices)
    ledger = Ledger(folder / "ledger.jsonl")
    return Post(link, names, config.scored, terms, rules_of(config), ledger, folder, watch)


def run_id(folder: Path) -> str:
    """The run's name among all runs, drawn when it begins."""
    path = folder / "run-id"
    if not path.exists():
        RunRecord(folder).write_text(path.name, secrets.token_hex(16))
    return path.read_text(encoding="ascii")


def without_devices(config: RunConfig) -> RunConfig:
    """The configuration without what belongs to the devices' own machines."""
    devices = tuple(DeviceConfig(name=device.name) for device in config.devices)
    return config.model_copy(update={"devices": devices})


def all_done(journal: Journal, folder: Path) -> list[str]:
    """Names of all finished phases, those of devices included."""
    paths = folder.glob("devices/*/checkpoints/[0-9]*/phase.json")
    simulated = [str(json.loads(path.read_text(encoding="utf-8"))["phase"]) for path in paths]
    reports = [report for row in journal.rows for report in row["result"].get("reports", ())]
    reported = [str(phase["phase"]) for report in reports for phase in report["phases"]]
    return [*journal.done, *simulated, *reported]
