"""What changed while a run went on: scores by round, training loss by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from coplms.consortium.record import Json, RunHistory
from coplms.report.tables import member_names, model_label, number, section

_MAX_POINTS = 60


@dataclass(frozen=True)
class ScoreCurve:
    """One model's scores over the rounds.

    Attributes:
        label: `hospital SLM`.
        model: `llm`, `slm` or `dpm`.
        points: (position, score): position 0 is before tuning, t is after round t.
    """

    label: str
    model: str
    points: list[tuple[int, float]]


@dataclass(frozen=True)
class LossCurve:
    """Training loss of one phase.

    Attributes:
        phase: Its name.
        kind: `dst`, `saml`, ...
        is_alone: Whether the member tuned without the others.
        points: (optimiser steps that the member had done, loss).
    """

    phase: str
    kind: str
    is_alone: bool
    points: list[tuple[float, float]]


def score_curves(history: RunHistory, metric: str) -> list[ScoreCurve]:
    """`metric` on all domains of each model that was scored after at least one round.

    The last point, one past the last round, is the score after everything.
    """
    end = num_rounds(history) + 1
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in history.evaluations:
        position, score = _position(str(row.get("when")), end), number(row.get(metric))
        if position is not None and score is not None and row.get("scope") == "all":
            key = str(row.get("member")), str(row.get("model"))
            found.setdefault(key, {})[position] = score
    places = {member: place for place, member in enumerate(member_names(history))}
    return [
        ScoreCurve(model_label(*key), key[1], sorted(points.items()))
        for key, points in sorted(found.items(), key=lambda item: places[item[0][0]])
        if any(0 < position < end for position in points)
    ]


def num_rounds(history: RunHistory) -> int:
    """The highest round of any score or finished phase; what follows the last one counts as it."""
    rounds = [_round_of(str(row.get("when"))) for row in history.evaluations]
    rounds += [_round_of(str(row.get("phase"))) for row in history.phases]
    highest = max((found for found in rounds if found is not None), default=0)
    return min(highest, planned_rounds(history) or highest)


def planned_rounds(history: RunHistory) -> int:
    """Rounds that the configuration asks for; 0 where it does not say."""
    return int(number(section(history.config, "method").get("rounds")) or 0)


def loss_curves(history: RunHistory) -> dict[str, list[LossCurve]]:
    """Member -> the loss of its phases, in the order that they ran.

    Steps count on from phase to phase; what a member trains alone counts from 0 again.
    """
    known = {str(row["phase"]): row for row in history.phases if "phase" in row}
    members = member_names(history)
    by_phase: dict[str, list[Json]] = {}
    for row in history.metrics:
        by_phase.setdefault(str(row.get("phase")), []).append(row)
    curves: dict[str, list[LossCurve]] = {}
    steps_done: dict[tuple[str, bool], float] = {}
    for phase, rows in by_phase.items():
        member, kind = _member_and_kind(phase, known.get(phase), members)
        is_alone = "alone" in phase.split("/")
        chain = member, is_alone
        start = steps_done.get(chain, 0.0)
        points = [(start + step, loss) for step, loss in _losses(rows)]
        if points:
            steps_done[chain] = start + _num_steps(rows)
            curves.setdefault(member, []).append(LossCurve(phase, kind, is_alone, _thinned(points)))
    return {member: curves[member] for member in members if member in curves}


def _losses(rows: Sequence[Json]) -> list[tuple[float, float]]:
    pairs = [(number(row.get("step")), number(row.get("loss"))) for row in rows]
    return [(step, loss) for step, loss in pairs if step is not None and loss is not None]


def _num_steps(rows: Sequence[Json]) -> float:
    counts = [number(row.get(key)) for row in rows for key in ("step", "steps")]
    return max(count for count in counts if count is not None)


def _member_and_kind(phase: str, finished: Json | None, members: Sequence[str]) -> tuple[str, str]:
    """From the phase's row where it has finished, else from its name."""
    if finished and "member" in finished and "kind" in finished:
        return str(finished["member"]), str(finished["kind"])
    parts = [part for part in phase.split("/") if _round_of(part) is None]
    member = next((part for part in parts if part in members), "server")
    kind = "/".join(part for part in parts if part != member)
    return member, kind or phase


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_MAX_POINTS` means of neighbours, so that the page stays small."""
    size = -(-len(points) // _MAX_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(fmean(p[0] for p in group), fmean(p[1] for p in group)) for group in groups]


def _position(when: str, end: int) -> int | None:
    return {"before": 0, "after": end}.get(when, _round_of(when))


def _round_of(name: str) -> int | None:
    """3 for `round-3` and `round-3/hospital/dst`."""
    head, _, count = name.partition("/")[0].partition("-")
    return int(count) if head == "round" and count.isdecimal() else None
