"""How a bench shows where it stands: a line for each cell, and the time that is left."""

from statistics import fmean
from typing import TYPE_CHECKING

from coplms.cli.console import print_line
from coplms.report.costs import time_text

if TYPE_CHECKING:
    from coplms.api.grid import Cell


class CellLines:
    """Tells of every cell that ended."""

    def __init__(self, num_cells: int, jobs: int) -> None:
        self._num_cells = num_cells
        self._jobs = jobs
        self._ended = 0
        self._seconds: list[float] = []

    def show(self, cell: "Cell", what: str, seconds: float) -> None:
        """Print a line.

        Args:
            cell: It.
            what: `done`, `before` or `failed`.
            seconds: That its process took.
        """
        self._ended += 1
        if what == "before":
            return
        if what == "done":
            self._seconds.append(seconds)
        took = time_text(seconds) if what == "done" else "failed"
        print_line(f"[{self._ended}/{self._num_cells}] {cell.name}: {took}{self._left()}")

    def _left(self) -> str:
        """About how long the rest takes, where cells cost what those done before did."""
        left = self._num_cells - self._ended
        if not left or not self._seconds:
            return ""
        return f" (about {time_text(left * fmean(self._seconds) / self._jobs)} left)"
