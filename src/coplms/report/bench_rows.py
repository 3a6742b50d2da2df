"""A bench as tidy rows: one per score, with all that tells it apart."""

import csv
import io
import json
from collections.abc import Iterable, Sequence

from coplms.consortium.record import Json
from coplms.report.bench import Outcome


def tidy(outcomes: Iterable[Outcome]) -> list[Json]:
    """One row per score, with all that tells it apart."""
    rows = []
    for found in outcomes:
        for (when, member, model, scope), scores in found.scores.items():
            point = found.points[when]
            rows.append(
                {
                    **found.about,
                    "when": when,
                    "round": point.round_number,
                    "member": member,
                    "model": model,
                    "scope": scope,
                    **scores,
                    "bytes": point.num_bytes,
                    "seconds": point.seconds,
                    "peak_bytes": found.peak_bytes,
                    "command": found.command,
                }
            )
    return rows


def as_jsonl(rows: Sequence[Json]) -> str:
    """A line of JSON for each row."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_csv(rows: Sequence[Json]) -> str:
    """The same as comma-separated values with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
