"""Runs the cells of a bench, side by side and again after a stop, and gathers what they found."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coplms.api.folder import check_folder
from coplms.api.grid import Cell, Grid, Rates
from coplms.config.load import load_config
from coplms.consortium.record import read_history
from coplms.errors import RunError
from coplms.report.bench import Outcome, outcome_of, quality

_RATES = "learning-rates.json"
CELL = "cell.json"
"""In a finished cell's folder: what its process took."""

Watch = Callable[[Cell, str, float], None]
"""Gets a cell, `done`, `before` (by an earlier start) or `failed`, and its seconds."""


@dataclass
class Comparison:
    """A bench on its way.

    Attributes:
        grid: Its cells.
        output: Everything lies here.
        jobs: Cells that run side by side.
        watch: Is told of every cell that ended.
        command: What started it, for the tables.
    """

    grid: Grid
    output: Path
    jobs: int
    watch: Watch
    command: str = ""

    def __post_init__(self) -> None:
        self._running: set[int] = set()
        self._lock = threading.Lock()
        self._is_stopped = False

    def check(self) -> list[Cell]:
        """All cells that are to run, whose configurations can be read.

        Raises:
            ConfigError: If one cannot.
        """
        cells = list(self.grid.wanted({}))
        for cell in {(each.data, each.partition, each.method): each for each in cells}.values():
            load_config(cell.config, _overrides(cell))
        return cells

    def build_models(self) -> None:
        """Train the mini models of all configurations, one after another: cells share them."""
        from coplms.api.consortium import Consortium

        seen = set()
        for cell in self.grid.wanted({}):
            if (cell.config, cell.data) not in seen:
                seen.add((cell.config, cell.data))
                Consortium(load_config(cell.config, _overrides(cell))).build_models()

    def choose_rates(self) -> None:
        """Choose the learning rates that score best on dev text, each method's from the same grid.

        Raises:
            RunError: If a cell failed.
        """
        cells = list(self.grid.choosing())
        self._run(cells)
        scores: dict[tuple[str, str], dict[float, float]] = {}
        for cell in cells:
            assert cell.rate is not None
            found = self.outcome(cell)
            scores.setdefault((cell.data, cell.method), {})[cell.rate] = quality(found)
        rows = {(row["data"], row["method"]): row for row in self._chosen()}
        for (data, method), tried in scores.items():
            chosen = max(tried, key=tried.__getitem__)
            row = {"data": data, "method": method, "chosen": chosen, "tried": tried}
            rows[data, method] = row
        text = json.dumps(list(rows.values()), indent=2) + "\n"
        (self.output / _RATES).write_text(text, encoding="utf-8")

    def known_rates(self) -> Rates:
        """The learning rates that were chosen, or the only one of the grid."""
        bench = self.grid.bench
        if self.grid.chooses and (rows := self._chosen()):
            return {(row["data"], row["method"]): row["chosen"] for row in rows}
        names = [(d.name, m.name) for d in bench.data for m in bench.methods]
        return {name: rate for rate in bench.learning_rates[:1] for name in names}

    def _chosen(self) -> list[dict[str, Any]]:
        path = self.output / _RATES
        rows: list[dict[str, Any]] = []
        if path.exists():
            rows = json.loads(path.read_text(encoding="utf-8"))
        return rows

    def run(self, rates: Rates) -> None:
        """Make every cell of the bench, or of the part that is wanted.

        Raises:
            RunError: If some failed; the others are done.
        """
        self._run(list(self.grid.wanted(rates)))

    def outcomes(self, rates: Rates) -> list[Outcome]:
        """What the finished cells found."""
        return [self.outcome(cell) for cell in self.grid.main(rates) if self.is_done(cell)]

    def outcome(self, cell: Cell) -> Outcome:
        """What a finished cell found."""
        folder = cell.folder(self.output)
        took = json.loads((folder / CELL).read_text(encoding="utf-8"))
        about = {
            "data": cell.data,
            "partition": cell.partition,
            "method": cell.method,
            "seed": cell.seed,
        }
        return outcome_of(read_history(folder), about, took["peak_bytes"], took["command"])

    def is_done(self, cell: Cell) -> bool:
        """Whether an earlier start, or this one, has made it.

        Raises:
            RunError: If it was made with another configuration than it has now.
        """
        folder = cell.folder(self.output)
        if not (folder / CELL).exists():
            return False
        check_folder(folder, load_config(cell.config, _overrides(cell)))
        return True

    # Processes -----------------------------------------------------------------------------

    def _run(self, cells: Sequence[Cell]) -> None:
        left = []
        for cell in cells:
            if self.is_done(cell):
                self.watch(cell, "before", 0.0)
            else:
                left.append(cell)
        failed: list[Cell] = []
        for cell, ok, seconds in self._results(left):
            self.watch(cell, "done" if ok else "failed", seconds)
            failed += [] if ok else [cell]
        if failed:
            log = failed[0].log(self.output)
            raise RunError(
                f"{len(failed)} of {len(cells)} cells failed, such as {failed[0].name}; see {log}. "
                "Mend it and start the same command again: what is done is kept"
            )

    def _results(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, bool, float]]:
        with ThreadPoolExecutor(self.jobs) as pool, self._stopped_on_errors():
            waiting = list(cells)
            running: dict[Future[float | None], Cell] = {}
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    cell = waiting.pop(0)
                    running[pool.submit(self._make, cell)] = cell
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    seconds = future.result()
                    yield running.pop(future), seconds is not None, seconds or 0.0

    def _make(self, cell: Cell) -> float | None:
        """Seconds that a cell's process took; None where it failed."""
        folder = cell.folder(self.output)
        folder.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with cell.log(self.output).open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                cell.command(self.output),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
            with self._lock:
                self._running.add(process.pid)
                if self._is_stopped:
                    process.terminate()
            _, status, usage = os.wait4(process.pid, 0)
            with self._lock:
                self._running.discard(process.pid)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        if process.returncode != 0:
            return None
        took = {
            "seconds": round(seconds, 1),
            "peak_bytes": 1024 * usage.ru_maxrss,
            "command": "coplms " + " ".join(cell.arguments(self.output)),
        }
        temporary = folder / f"{CELL}.tmp"
        temporary.write_text(json.dumps(took, indent=2) + "\n", encoding="utf-8")
        temporary.replace(folder / CELL)
        return seconds

    @contextmanager
    def _stopped_on_errors(self) -> Iterator[None]:
        """End the processes that still run when this one is to end; their runs go on later."""
        try:
            yield
        except BaseException:
            with self._lock:
                self._is_stopped = True
                for pid in self._running:
                    os.kill(pid, signal.SIGTERM)
            raise


def _overrides(cell: Cell) -> tuple[str, ...]:
    settings = {"seed": cell.seed, **cell.settings}
    return tuple(f"{key}={json.dumps(value)}" for key, value in settings.items())
