"""What methods of a bench score for the same bytes on the wire."""

from collections.abc import Sequence

from coplms.report.bench import Outcome
from coplms.report.bench_methods import Spread

SLACK = 1.005
"""So much more still counts as equal: what rows count in a message differs by a few bytes."""


def budgets(outcomes: Sequence[Outcome], first: str) -> list[int]:
    """Bytes that the first method has sent by each time at which its models were scored, but 0.

    Of several seeds the most: public texts differ a little in length.
    """
    ours = [each for each in outcomes if each.about["method"] == first]
    common = set.intersection(*(set(each.times()) for each in ours)) if ours else set()
    found = {max(each.points[when].num_bytes for each in ours) for when in common}
    return sorted(found - {0})


def at_equal_bytes(
    outcomes: Sequence[Outcome], methods: Sequence[str], metric: str
) -> dict[str, list[Spread]]:
    """Method -> scores, mean over LLM and SLMs, within each of the first one's budgets.

    A method that was not scored again before a budget ran out counts with its earlier models, at
    worst with those before tuning.
    """
    limits = budgets(outcomes, methods[0])
    rows = {}
    for method in methods:
        if found := [each for each in outcomes if each.about["method"] == method]:
            within = [[_within(each, metric, limit) for each in found] for limit in limits]
            rows[method] = [Spread(tuple(scores)) for scores in within]
    return rows


def _within(outcome: Outcome, metric: str, limit: float) -> float:
    most = limit * SLACK
    last = [when for when in outcome.times() if outcome.points[when].num_bytes <= most][-1]
    return outcome.mean(metric, last)
