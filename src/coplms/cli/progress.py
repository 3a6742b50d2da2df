"""How a run shows where it stands: a live display on a terminal, plain lines elsewhere."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from coplms.api.schedule import Plan
from coplms.cli.tracker import Tracker, Work

_SECONDS_BETWEEN_LINES = 10.0
_BAR_WIDTH = 24
_BOOKKEEPING = {"send", "replies", "save", "end"}
"""Kinds of phases that take no time worth a line."""


class Progress(Protocol):
    """Watches the phases of a run, and mini models being built."""

    def phase_started(self, name: str) -> None: ...

    def phase_logged(self, name: str, row: dict[str, float]) -> None: ...

    def phase_finished(self, row: dict[str, Any], *, again: bool) -> None: ...

    def zoo_logged(self, name: str, step: int, steps: int, loss: float) -> None: ...


@contextmanager
def watch(title: str, planned: Plan, console: Console | None = None) -> Iterator[Progress]:
    """Shows progress while the block runs.

    Args:
        title: The run's name.
        planned: The phases that are expected.
        console: Where to; stdout where absent.
    """
    console = console or Console(highlight=False)
    tracker = Tracker(title, planned)
    if not console.is_terminal or console.is_dumb_terminal or _wants_plain():
        yield PlainLines(tracker, console)
        return
    display = LiveDisplay(tracker)
    with Live(get_renderable=display.render, console=console, refresh_per_second=4, transient=True):
        yield display


class PlainLines:
    """One line at each phase's end, and one every ten seconds within long phases."""

    def __init__(self, tracker: Tracker, console: Console) -> None:
        self.tracker = tracker
        self.console = console
        self._num_found = 0
        self._printed_at = tracker.clock()

    def phase_started(self, name: str) -> None:
        if self._num_found:
            counts = f"{self._num_found} of {self.tracker.num_phases}"
            self._print(f"going on: {counts} phases were done by an earlier start")
            self._num_found = 0
        self.tracker.phase_started(name)
        self._printed_at = self.tracker.clock()

    def phase_logged(self, name: str, row: dict[str, float]) -> None:
        self.tracker.logged(self.tracker.phase_title(name), row)
        self._print_work()

    def phase_finished(self, row: dict[str, Any], *, again: bool) -> None:
        work = self.tracker.work
        self.tracker.phase_finished(row["phase"], row["seconds"])
        if again:
            self._num_found += 1
            return
        if row["phase"].rpartition("/")[2] in _BOOKKEEPING:
            return
        tracker = self.tracker
        facts = [f"{row['seconds']:.1f} s"]
        facts += [f"loss {work.loss:.3f}"] if work and work.loss is not None else []
        facts += _scores(row)
        self._print(
            f"[{tracker.num_done}/{tracker.num_phases}] {tracker.phase_title(row['phase'])}: "
            f"{', '.join(facts)} ({tracker.times()})"
        )

    def zoo_logged(self, name: str, step: int, steps: int, loss: float) -> None:
        self.tracker.logged(_zoo_title(name), {"step": step, "steps": steps, "loss": loss})
        self._print_work(always=step == steps)

    def _print_work(self, *, always: bool = False) -> None:
        waited = self.tracker.clock() - self._printed_at
        if self.tracker.work and (always or waited >= _SECONDS_BETWEEN_LINES):
            work = self.tracker.work
            self._print(f"{work.title}: {work.details()} ({self.tracker.times()})")

    def _print(self, text: str) -> None:
        self._printed_at = self.tracker.clock()
        self.console.print(text, markup=False, soft_wrap=True)


class LiveDisplay:
    """Two lines that follow the run: all phases, and the present one."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def phase_started(self, name: str) -> None:
        self.tracker.phase_started(name)

    def phase_logged(self, name: str, row: dict[str, float]) -> None:
        self.tracker.logged(self.tracker.phase_title(name), row)

    def phase_finished(self, row: dict[str, Any], *, again: bool) -> None:
        self.tracker.phase_finished(row["phase"], row["seconds"])

    def zoo_logged(self, name: str, step: int, steps: int, loss: float) -> None:
        self.tracker.logged(_zoo_title(name), {"step": step, "steps": steps, "loss": loss})

    def render(self) -> Table:
        """What the terminal shows now."""
        tracker, work = self.tracker, self.tracker.work
        grid = Table.grid(padding=(0, 2))
        count = f"{tracker.num_done} of {tracker.num_phases} phases, " if tracker.planned else ""
        bar = ProgressBar(max(1, tracker.num_phases), tracker.num_done, width=_BAR_WIDTH)
        grid.add_row(Text(tracker.title, style="bold"), bar, Text(count + tracker.times()))
        if work:
            grid.add_row(Text(work.title), _bar(work), Text(work.details()))
        return grid


def _bar(work: Work) -> ProgressBar:
    """The part of the steps that is taken; a pulse where steps are not known."""
    if work.steps:
        return ProgressBar(work.steps, work.step, width=_BAR_WIDTH)
    return ProgressBar(pulse=True, width=_BAR_WIDTH)


def _zoo_title(name: str) -> str:
    return f"mini model {name}"


def _scores(row: dict[str, Any]) -> list[str]:
    found = row["result"].get("evaluations") or ()
    return [f"exact match {found[0]['exact_match']:.1f}"] if found else []


def _wants_plain() -> bool:
    return bool(os.environ.get("NO_COLOR") or os.environ.get("CI"))
