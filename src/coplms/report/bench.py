"""What a bench found, run by run."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coplms.consortium.messages import SERVER
from coplms.consortium.record import RunHistory

METRICS = {"rougeL": "Rouge-L", "exact_match": "Exact match"}
"""Name in files -> for people."""

KINDS = {
    "mean": "all models",
    "llm": "LLM",
    "slm": "SLMs",
    "own": "SLMs, own domains",
    "dpm": "devices' DPMs",
}
"""Of scores that stand beside one another -> for people; `mean` is of LLM and SLMs. All but `own`
are on the test set of all domains."""

PARTS = {kind: name for kind, name in KINDS.items() if kind != "mean"}
"""Those that stand behind the mean or beside it."""

_CO_TUNED = ("llm", "slm")
"""Models that count in a method's score: the server's LLM, and the devices' SLMs."""


@dataclass(frozen=True)
class Point:
    """Where a run stood after a round, or when models were scored.

    Attributes:
        round_number: 0 before tuning.
        num_bytes: All messages so far, all devices, both ways.
        seconds: Of everyone's work so far, scoring apart.
    """

    round_number: int
    num_bytes: int
    seconds: float


@dataclass(frozen=True)
class Costs:
    """What one round takes, or a whole run.

    Attributes:
        num_bytes: All messages, all devices, both ways.
        seconds: Of everyone's work, scoring apart.
    """

    num_bytes: float
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What one run found.

    Attributes:
        about: `data`, `partition`, `method`, `seed`.
        scores: (When, member, model, scope) -> metric -> points of 100.
        points: When -> where the run stood: after every round, whether it was scored then or not,
            and whenever it was.
        peak_bytes: Largest memory of its process.
        command: What repeats it.
        by_domain: (When, member, model) -> domain -> metric -> points of 100; of LLM and SLMs.
        environment: Where it ran: `processor`, `packages` and more.
    """

    about: Mapping[str, Any]
    scores: Mapping[tuple[str, str, str, str], Mapping[str, float]]
    points: Mapping[str, Point]
    peak_bytes: int
    command: str
    by_domain: Mapping[tuple[str, str, str], Mapping[str, Mapping[str, float]]]
    environment: Mapping[str, Any] = field(default_factory=dict)

    def models(self, when: str = "after", kind: str | None = None) -> list[tuple[str, str]]:
        """Members and models that count in the method's score, or those of one kind.

        `dpm` are the devices' copies of the proxy, which do not count.
        """
        wanted = _CO_TUNED if kind is None else (kind,)
        return [
            (member, model)
            for (time, member, model, scope) in self.scores
            if (time, scope) == (when, "all")
            and model in wanted
            and (member, model) != (SERVER, "dpm")
        ]

    def value(self, metric: str, member: str, model: str, when: str = "after") -> float:
        """A model's score on all domains."""
        return self.scores[when, member, model, "all"][metric]

    def mean(self, metric: str, when: str = "after") -> float:
        """Over the LLM and the SLMs."""
        return statistics.fmean(self.value(metric, *each, when) for each in self.models(when))

    def domain_mean(self, domain: str, metric: str, when: str = "after") -> float:
        """Over the LLM and the SLMs, of one domain's questions."""
        found = [self.by_domain[when, *each][domain][metric] for each in self.models(when)]
        return statistics.fmean(found)

    def domains(self, when: str = "after") -> list[str]:
        """Whose questions all models were asked, by name."""
        asked = [set(self.by_domain[when, *each]) for each in self.models(when)]
        return sorted(set.intersection(*asked)) if asked else []

    def times(self) -> list[str]:
        """When LLM and SLMs were scored, in their order."""
        scored = [when for when in self.points if self.models(when)]
        return sorted(scored, key=lambda when: self.points[when].round_number)

    def per_round(self) -> Costs | None:
        """Of a round between the first and the end; None where there is none.

        What is done once lies before the first round's end, or after the last round's.
        """
        points = sorted(self.points.values(), key=lambda point: point.round_number)
        rounds = [point for point in points if point.round_number]
        if len(rounds) < 3:
            return None
        first, last = rounds[0], rounds[-2]
        number = last.round_number - first.round_number
        num_bytes, seconds = last.num_bytes - first.num_bytes, last.seconds - first.seconds
        return Costs(num_bytes / number, seconds / number)

    def means(self, metric: str, kind: str) -> list[float]:
        """The mean over the models of a kind, at the end; empty where there is none.

        `own` are the SLMs, each asked of its device's own domains.
        """
        model, scope = ("slm", "own") if kind == "own" else (kind, "all")
        keys = [("after", *each, scope) for each in self.models(kind=model)]
        values = [self.scores[key][metric] for key in keys if key in self.scores]
        return [statistics.fmean(values)] if values else []


def outcome_of(
    history: RunHistory, about: Mapping[str, Any], peak_bytes: int, command: str
) -> Outcome:
    """What a finished run found."""
    scores: dict[tuple[str, str, str, str], dict[str, float]] = {}
    domains: dict[tuple[str, str, str], dict[str, dict[str, float]]] = {}
    for row in history.evaluations:
        key = (row["when"], row["member"], row["model"])
        found = {metric: float(row[metric]) for metric in METRICS}
        scores[*key, row["scope"]] = {**found, "num_examples": row["num_examples"]}
        if row["scope"] == "all" and row["model"] in _CO_TUNED:
            domains[key] = {
                domain: {metric: float(part[metric]) for metric in METRICS}
                for domain, part in row.get("by_domain", {}).items()
            }
    last = max((int(row["round"]) for row in history.phases), default=0)
    rounds = (f"round-{number}" for number in range(1, last))
    times = dict.fromkeys([*(when for when, *_ in scores), *rounds])
    points = {when: _point(history, _round_of(when, last)) for when in times}
    where = history.environment
    return Outcome(about, scores, points, peak_bytes, command, domains, where)


def _round_of(when: str, last: int) -> int:
    if when == "before":
        return 0
    return last if when == "after" else int(when.removeprefix("round-"))


def _point(history: RunHistory, number: int) -> Point:
    if not number:
        return Point(0, 0, 0.0)
    num_bytes = sum(row["bytes"] for row in history.ledger if row["round"] <= number)
    seconds = sum(
        float(row["seconds"])
        for row in history.phases
        if row["round"] <= number and not _is_apart(str(row["kind"]))
    )
    return Point(number, num_bytes, round(seconds, 3))


def _is_apart(kind: str) -> bool:
    """Scoring, waiting and saving are no work of the method."""
    return "evaluate" in kind or kind in ("alone", "save", "send", "replies", "end")


def quality(outcome: Outcome) -> float:
    """By which settings are chosen: the mean of both metrics."""
    return statistics.fmean(outcome.mean(metric) for metric in METRICS)
