"""A tiny consortium on this machine: its configuration, its folders, and how to start its parts."""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from coplms.api.local_edges import write_edges
from coplms.config.load import load_config
from coplms.runtimes.flower.hub import Hub
from coplms.runtimes.flower.loopback import free_port
from coplms.runtimes.network.bundle import write_bundle
from tests.integration.test_run import lines, write_config, write_lines
from tests.network.processes import COMMAND, MARK, Running, kill_marked, marked, wait_until

DRIVER = str(Path(__file__).with_name("driver.py"))
THIRD = "court"
SOON_OVER = 10.0
"""Seconds within which everything that belongs to a process that ended has ended, too."""

Faults = Mapping[str, object]
"""See `driver.py`."""


def write_site_config(
    folder: Path,
    *,
    devices: int = 2,
    tuning: str = "full",
    rounds: int = 2,
    participation: float = 1,
    **network: object,
) -> Path:
    """A consortium of two or three devices, whose server listens at a free port of this machine."""
    path = write_config(folder, tuning)
    config = yaml.safe_load(path.read_text())
    if devices == 3:
        text = [{**row, "domain": THIRD} for row in lines("bank", 300, 340)]
        train = {"path": write_lines(folder / f"{THIRD}.jsonl", text)}
        slm = config["devices"][0]["slm"]
        config["devices"].append({"name": THIRD, "slm": slm, "data": {"train": train}})
    config["method"] |= {"rounds": rounds, "participation": participation}
    config["network"] = {"listen": f"127.0.0.1:{free_port()}", **network}
    path.write_text(yaml.safe_dump(config))
    return path


def tuned(run: Path, *names: str) -> dict[str, str]:
    """SHA-256 of every file of these members' tuned models in a run's folder, wherever that is."""
    return {
        str(path.relative_to(run)): hashlib.sha256(
            path.read_bytes().replace(str(run).encode(), b"RUN")
        ).hexdigest()
        for kind in ("adapters", "models")
        for name in names
        for path in sorted((run / kind / name).rglob("*"))
        if path.is_file()
    }


def rows(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of lines of JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@dataclass
class Site:
    """One server and some devices, each with a folder of its own.

    Attributes:
        folder: Holds them all, and a log of each.
        config: The consortium's.
        cache: Of mini models; shared, as on a machine that has them already.
        mark: Stands in the environment of every process of this site.
        started: Those that were started first-hand.
    """

    folder: Path
    config: Path
    cache: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loaded = load_config(self.config)
        self.names = [device.name for device in self.loaded.devices]
        self.homes = self.folder / "devices"
        self.state = self.folder / "server-state"
        self.run = self.folder / "run"
        self.network = self.loaded.network
        write_edges(self.loaded, len(self.names), self.homes)

    # What an operator does ------------------------------------------------------------------

    @property
    def hub(self) -> Hub:
        """The server's list of devices, beside a running server."""
        return Hub(self.state, self.network, self.loaded.name, self.names)

    def invite(self, name: str) -> Path:
        """A join bundle."""
        path = self.home(name) / "bundle.join"
        write_bundle(self.hub.invite(name), path)
        return path

    def coplms(
        self, *arguments: str, log: str = "command", faults: Faults | None = None
    ) -> Running:
        """Start the `coplms` command, or the driver with faults."""
        program = COMMAND if faults is None else (DRIVER, json.dumps(faults))
        env = {
            MARK: self.mark,
            "COPLMS_CACHE": str(self.cache),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        running = Running([*program, *arguments], self.folder / f"{log}.log", env)
        self.started.append(running)
        return running

    def server(self, *more: str, faults: Faults | None = None, run: Path | None = None) -> Running:
        """Start the server; it goes on in its folder."""
        arguments = ["server", str(self.config), "--output", str(run or self.run)]
        arguments += ["--state", str(self.state), *more]
        return self.coplms(*arguments, log="server", faults=faults)

    def device(self, name: str, faults: Faults | None = None) -> Running:
        """Start a device; one that has not joined gets a bundle first."""
        home = self.home(name)
        bundle = home / "bundle.join"
        if not (home / "state" / "key").exists():
            self.invite(name)
        arguments = ["device", "--join", str(bundle), "--config", str(home / "device.yaml")]
        arguments += ["--state", str(home / "state")]
        return self.coplms(*arguments, log=name, faults=faults)

    def devices(self, names: Sequence[str] | None = None) -> dict[str, Running]:
        """Start devices; all by default."""
        return {name: self.device(name) for name in (names or self.names)}

    # What is found afterwards ---------------------------------------------------------------

    def home(self, name: str) -> Path:
        """A device's folder."""
        return self.homes / name

    def device_run(self, name: str, run: Path | None = None) -> Path:
        """A device's folder of a run."""
        run_id = ((run or self.run) / "run-id").read_text()
        return self.home(name) / "state" / "runs" / run_id

    def tuned(self, run: Path | None = None) -> dict[str, str]:
        """What server and devices have tuned, as `tuned` tells it of a run on one machine."""
        found = tuned(run or self.run, "server")
        for name in self.names:
            found |= tuned(self.device_run(name, run), name)
        return found

    def ledger(self, direction: str, run: Path | None = None) -> dict[tuple[int, str], int]:
        """(Round, device) -> messages that went up or down."""
        entries = rows((run or self.run) / "ledger.jsonl")
        return dict(
            Counter(
                (row["round"], row["device"]) for row in entries if row["direction"] == direction
            )
        )

    def phase_names(self) -> list[str]:
        """The phases that are told of."""
        return [row["phase"] for row in rows(self.run / "phases.jsonl")]

    @property
    def gate_log(self) -> str:
        """Whom the gate turned away and let in."""
        return (self.state / "logs" / "gate.log").read_text()

    def wait_until_empty(self) -> float:
        """Wait until no process of the site is left; how long that took."""
        left = lambda: [" ".join(each.cmdline()[:5]) for each in marked(self.mark)]  # noqa: E731
        return wait_until(lambda: not left(), "all processes end", seconds=SOON_OVER)

    def close(self) -> None:
        """End all processes."""
        kill_marked(self.mark)
        for running in self.started:
            running.process.wait()
