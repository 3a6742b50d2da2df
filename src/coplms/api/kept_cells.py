"""Finished cells of a bench as lines of one file: what lets machines share a grid.

A cell is repeated by its command, so whoever has made it can hand on what it found: scores, bytes,
seconds, and the configuration by which another machine knows that it is the same cell.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from coplms.api.folder import differences
from coplms.api.grid import CHOICES
from coplms.config.run import RunConfig
from coplms.consortium.record import Json
from coplms.errors import RunError
from coplms.report.bench import Outcome, quality
from coplms.report.bench_kept import outcome_from, outcome_json
from coplms.report.bench_rates import Trial

CELLS = "cells.jsonl"
"""Beside a bench's tables: a line for each finished cell."""


@dataclass(frozen=True, eq=False)
class KeptCell:
    """A finished cell, wherever it was made.

    Attributes:
        name: `Cell.name`.
        config: The run's configuration, with every default written out.
        outcome: What it found.
    """

    name: str
    config: Json
    outcome: Outcome

    def line(self) -> str:
        """A line of `cells.jsonl`."""
        found = {"cell": self.name, "config": self.config, **outcome_json(self.outcome)}
        return json.dumps(found, ensure_ascii=False) + "\n"

    @property
    def is_trial(self) -> bool:
        """Whether it is one of the runs by which learning rates are chosen."""
        return Path(self.name).parts[0] == CHOICES

    def trial(self) -> Trial:
        """What it says of its learning rate, if it is one of those."""
        about, rate = self.outcome.about, self.config["optimizer"]["learning_rate"]
        score = quality(self.outcome)
        return Trial(about["data"], about["method"], about["seed"], rate, score)

    def stale(self, config: RunConfig) -> str:
        """How its configuration differs from what the cell has now; empty where it does not."""
        return differences(self.config, config)


def read_cells(path: Path) -> Iterator[KeptCell]:
    """The cells of a `cells.jsonl`.

    Raises:
        RunError: If there is no such file, or a line is not such a cell.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read: {error.strerror}. "
            f"Give the {CELLS} that `coplms compare` wrote."
        ) from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            yield KeptCell(row["cell"], row["config"], outcome_from(row))
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path}:{number}: is no finished cell ({type(error).__name__}: {error}). "
                f"Give the {CELLS} that `coplms compare` wrote."
            ) from error


class KnownCells:
    """Cells that were made elsewhere.

    Args:
        paths: Files as `read_cells` takes them; of equal cells the first counts.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._cells: dict[str, list[KeptCell]] = {}
        for path in paths:
            for each in read_cells(path):
                self._cells.setdefault(each.name, []).append(each)
        self.stale: dict[str, str] = {}
        """Name -> how the cells that are known by it differ from what the bench has now."""

    def find(self, name: str, config: RunConfig) -> KeptCell | None:
        """The cell of that name if it was made with this configuration."""
        for each in self._cells.get(name, ()):
            if not (difference := each.stale(config)):
                self.stale.pop(name, None)
                return each
            self.stale[name] = difference
        return None


def cells_text(cells: Sequence[KeptCell]) -> str:
    """The content of `cells.jsonl`."""
    return "".join(each.line() for each in cells)
