"""How fast models trained, and how much of it was padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from coplms.consortium.record import Json, RunHistory
from coplms.report.tables import number


@dataclass(frozen=True)
class SpeedRow:
    """One kind of phase; means over the logged intervals of all members.

    Attributes:
        kind: `dst`, `saml`, ...
        tokens: Tokens that the models read in a second, padding not counted.
        answer_tokens: Those of them that were predicted and counted in the loss.
        padding: Part of all places that held padding, 0 to 1.
    """

    kind: str
    tokens: float | None
    answer_tokens: float | None
    padding: float | None


def speed_rows(history: RunHistory) -> list[SpeedRow]:
    """One row per kind of phase that logged its speed, in the order of their first appearance."""
    by_kind: dict[str, list[Json]] = {}
    for row in history.metrics:
        by_kind.setdefault(str(row.get("phase")).rpartition("/")[2], []).append(row)
    rows = [
        SpeedRow(
            kind,
            _mean(logged, "tokens_per_second"),
            _mean(logged, "answer_tokens_per_second"),
            _mean(logged, "padding"),
        )
        for kind, logged in by_kind.items()
    ]
    return [row for row in rows if row.tokens is not None]


def _mean(rows: Sequence[Json], key: str) -> float | None:
    values = [value for row in rows if (value := number(row.get(key))) is not None]
    return fmean(values) if values else None
