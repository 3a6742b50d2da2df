"""What a run found as one JSON object, and back."""

from collections.abc import Mapping

from coplms.consortium.record import Json
from coplms.report.bench import METRICS, Outcome, Point


def outcome_json(outcome: Outcome) -> Json:
    """The outcome, whole."""
    return {
        "about": dict(outcome.about),
        "command": outcome.command,
        "peak_bytes": outcome.peak_bytes,
        "environment": dict(outcome.environment),
        "points": {
            when: [point.round_number, point.num_bytes, point.seconds]
            for when, point in outcome.points.items()
        },
        "scores": [[*key, dict(found)] for key, found in outcome.scores.items()],
        "by_domain": [
            [*key, {domain: [part[metric] for metric in METRICS] for domain, part in found.items()}]
            for key, found in outcome.by_domain.items()
        ],
    }


def outcome_from(row: Mapping[str, object]) -> Outcome:
    """What `outcome_json` was made of.

    Raises:
        KeyError, TypeError, ValueError: If it was not.
    """
    found: Json = dict(row)
    return Outcome(
        about=found["about"],
        scores={
            (when, member, model, scope): scores
            for when, member, model, scope, scores in found["scores"]
        },
        points={when: Point(*point) for when, point in found["points"].items()},
        peak_bytes=found["peak_bytes"],
        command=found["command"],
        by_domain={
            (when, member, model): {
                domain: dict(zip(METRICS, values, strict=True)) for domain, values in parts.items()
            }
            for when, member, model, parts in found["by_domain"]
        },
        environment=found["environment"],
    )
