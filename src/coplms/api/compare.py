"""Runs the cells of a bench, side by side and again after a stop, and gathers what they found."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from coplms.api.folder import check_folder
from coplms.api.grid import Cell, Grid, Rates
from coplms.api.kept_cells import KeptCell, KnownCells
from coplms.config.load import load_config
from coplms.consortium.record import read_history
from coplms.errors import RunError
from coplms.report.bench import outcome_of
from coplms.report.bench_rates import Choice, choices

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
        known: Cells that were made elsewhere.
    """

    grid: Grid
    output: Path
    jobs: int
    watch: Watch
    command: str = ""
    known: KnownCells = field(default_factory=lambda: KnownCells(()))

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

    def choose_rates(self) -> None:
        """Make the runs by which the learning rates of the part are chosen.

        Raises:
            RunError: If one failed.
        """
        self._run(list(self.grid.choosing()))

    def known_rates(self) -> Rates:
        """The learning rates that score best on dev text, each method's from the same grid.

        Of rows for which some of the grid was not tried yet there is none; a grid of one rate needs
        no choice. What was tried is written beside the tables.
        """
        bench = self.grid.bench
        if not self.grid.chooses:
            names = [(d.name, m.name) for d in bench.data for m in bench.methods]
            return {name: rate for rate in bench.learning_rates for name in names}
        made = [each for each in self.choices(self.tried()) if each.taken is not None]
        rows = [
            {"data": e.data, "method": e.method, "chosen": e.taken, "tried": e.scores} for e in made
        ]
        text = json.dumps(rows, indent=2) + "\n"
        (self.output / _RATES).write_text(text, encoding="utf-8")
        return {(each.data, each.method): each.taken for each in made if each.taken is not None}

    def run(self, rates: Rates) -> None:
        """Make every cell of the bench, or of the part that is wanted.

        Raises:
            RunError: If some failed; the others are done.
        """
        self._run(list(self.grid.wanted(rates)))

    def finished(self, rates: Rates) -> list[KeptCell]:
        """The cells of the table that are made, here or elsewhere."""
        return self._found_of(self.grid.main(rates))

    def tried(self) -> list[KeptCell]:
        """The cells that choose learning rates, as far as they are made."""
        return self._found_of(self.grid.whole.choosing())

    def choices(self, tried: Iterable[KeptCell]) -> list[Choice]:
        """What each row scored with the learning rates of these cells."""
        return choices((each.trial() for each in tried), self.grid.bench.learning_rates)

    def _found_of(self, cells: Iterable[Cell]) -> list[KeptCell]:
        return [found for found in map(self.found, cells) if found is not None]

    def found(self, cell: Cell) -> KeptCell | None:
        """The cell as an earlier start, this one or another machine has made it; else None.

        Raises:
            RunError: If it lies here and was made with another configuration than it has now.
        """
        folder, config = cell.folder(self.output), load_config(cell.config, _overrides(cell))
        if not (folder / CELL).exists():
            return self.known.find(cell.name, config)
        check_folder(folder, config)
        took = json.loads((folder / CELL).read_text(encoding="utf-8"))
        about = {
            "data": cell.data,
            "partition": cell.partition,
            "method": cell.method,
            "seed": cell.seed,
        }
        outcome = outcome_of(read_history(folder), about, took["peak_bytes"], took["command"])
        return KeptCell(cell.name, config.model_dump(mode="json"), outcome)

    # Processes -----------------------------------------------------------------------------

    def _run(self, cells: Sequence[Cell]) -> None:
        left = []
        for cell in cells:
            if self.found(cell) is not None:
                self.watch(cell, "before", 0.0)
            else:
                left.append(cell)
        self._build_models(left)
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

    def _build_models(self, cells: Iterable[Cell]) -> None:
        """Train the mini models that cells need, one after another: cells share them."""
        from coplms.api.consortium import Consortium

        configs = (load_config(each.config, _overrides(each)) for each in cells)
        with_mini_models = (each for each in configs if each.zoo is not None)
        for config in {repr((each.zoo, each.device)): each for each in with_mini_models}.values():
            Consortium(config).build_models()

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
