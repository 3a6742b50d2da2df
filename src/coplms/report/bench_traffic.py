"""What methods of a bench score for the same bytes on the wire."""

from collections.abc import Sequence
from dataclasses import dataclass

from coplms.report.bench import Outcome, Spread


@dataclass(frozen=True)
class EqualBytes:
    """One method's scores within each budget.

    Attributes:
        method: Its name.
        per_round: Bytes of a round after the first, all devices, both ways; mean over seeds.
        scores: Of each budget, over the seeds: at the last scored time that lies within it.
    """

    method: str
    per_round: float
    scores: tuple[Spread, ...]


def budgets(outcomes: Sequence[Outcome], first: str) -> list[int]:
    """Bytes that the first method has sent by each time at which its models were scored, but 0.

    Of several seeds the most: public texts differ a little in length.
    """
    ours = [each for each in outcomes if each.about["method"] == first]
    common = set.intersection(*(set(_times(each)) for each in ours)) if ours else set()
    found = {max(each.points[when].num_bytes for each in ours) for when in common}
    return sorted(found - {0})


def at_equal_bytes(
    outcomes: Sequence[Outcome], methods: Sequence[str], metric: str
) -> list[EqualBytes]:
    """The methods' scores, mean over LLM and SLMs, within the first one's budgets.

    A method that was not scored again before a budget ran out counts with its earlier models, at
    worst with those before tuning.
    """
    limits = budgets(outcomes, methods[0])
    rows = []
    for method in methods:
        found = [each for each in outcomes if each.about["method"] == method]
        if found:
            scores = tuple(
                Spread(tuple(_within(each, metric, limit) for each in found)) for limit in limits
            )
            per_round = sum(map(_per_round, found)) / len(found)
            rows.append(EqualBytes(method, per_round, scores))
    return rows


def _times(outcome: Outcome) -> list[str]:
    times = [when for when in outcome.points if outcome.models(when)]
    return sorted(times, key=lambda when: outcome.points[when].round_number)


def _within(outcome: Outcome, metric: str, limit: float) -> float:
    last = [when for when in _times(outcome) if outcome.points[when].num_bytes <= limit][-1]
    return outcome.mean(metric, last)


def _per_round(outcome: Outcome) -> float:
    """Between the first scored round and the last; what is sent once comes before."""
    points = [outcome.points[when] for when in _times(outcome)]
    rounds = [point for point in points if point.round_number]
    if len(rounds) < 2:
        return float(rounds[0].num_bytes if rounds else 0)
    first, last = rounds[0], rounds[-2] if len(rounds) > 2 else rounds[-1]
    return (last.num_bytes - first.num_bytes) / (last.round_number - first.round_number)
