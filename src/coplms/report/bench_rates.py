"""Learning rates that a bench tries: what each scored on dev text, and which one is taken."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from coplms.report.scores import DASH

TITLE = "Learning rates, mean of Rouge-L and exact match on dev text"


@dataclass(frozen=True)
class Trial:
    """A run that was asked dev text.

    Attributes:
        data: Name of the data set.
        method: Of the row.
        seed: The run's.
        rate: The learning rate that it tried.
        score: `quality` on dev text, in points of 100.
    """

    data: str
    method: str
    seed: int
    rate: float
    score: float


@dataclass(frozen=True)
class Choice:
    """What a row scored with each learning rate.

    Attributes:
        data: Name of the data set.
        method: Of the row.
        seed: Of its trials.
        scores: Learning rate -> score, in the grid's order; without those that are not tried yet.
        taken: The best; None while some are not tried.
    """

    data: str
    method: str
    seed: int
    scores: Mapping[float, float]
    taken: float | None

    def cell(self, rate: float) -> str:
        """What the rate scored, for people."""
        return f"{self.scores[rate]:.1f}" if rate in self.scores else DASH


def choices(trials: Iterable[Trial], grid: Sequence[float]) -> list[Choice]:
    """Each row's choice among the learning rates of the grid.

    >>> tried = [Trial("d", "m", 0, 0.1, 50.0), Trial("d", "m", 0, 0.2, 60.0)]
    >>> [each.taken for each in choices(tried, [0.1, 0.2])]
    [0.2]
    """
    rows: dict[tuple[str, str, int], dict[float, float]] = {}
    for each in trials:
        rows.setdefault((each.data, each.method, each.seed), {})[each.rate] = each.score
    found = []
    for key, tried in rows.items():
        scores = {rate: tried[rate] for rate in grid if rate in tried}
        is_whole = len(scores) == len(grid)
        found.append(
            Choice(*key, scores, max(scores, key=scores.__getitem__) if is_whole else None)
        )
    return found


def rates_of(choices: Iterable[Choice]) -> list[float]:
    """All learning rates that some row has tried, from the least."""
    return sorted({rate for each in choices for rate in each.scores})
