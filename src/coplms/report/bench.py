"""What a bench found, run by run and method by method."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coplms.consortium.messages import SERVER
from coplms.consortium.record import RunHistory
from coplms.report.paired import sign_flip_test
from coplms.report.scores import DASH

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
    """Where a run stood when models were scored.

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
        points: When -> where the run stood.
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
        """Of a round between the first and the end; None without scores of some model to tell.

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
    points = {when: _point(history, _round_of(when, last)) for when, *_ in scores}
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


# Methods beside each other -------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """A value over the seeds.

    Attributes:
        values: One of each seed.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Their standard deviation (n - 1); None of a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        if not self.values:
            return DASH
        deviation = self.deviation
        spread = "" if deviation is None else f" \N{PLUS-MINUS SIGN} {deviation:.1f}"
        return f"{self.mean:.1f}{spread}"

    def signed(self) -> str:
        """A difference, for people."""
        return str(self) if not self.values or self.mean < 0 else f"+{self}"


@dataclass(frozen=True)
class Row:
    """A method on one data set and partition.

    Attributes:
        method: Its name.
        seeds: Of its runs.
        scores: (Metric, `mean`, `llm`, `slm` or `dpm`) -> points of 100; `mean` without DPMs.
        in_all: What a whole run takes, the median over the seeds.
        per_round: Likewise a round; None where no run was scored after rounds.
        peak_bytes: Of memory.
        gaps: Metric -> its mean less the first method's, over the seeds that both have; empty for
            the first itself.
        p_values: Metric -> p of the first method's lead, over seeds and models; None for itself
            and without a common seed.
    """

    method: str
    seeds: tuple[int, ...]
    scores: Mapping[tuple[str, str], Spread]
    in_all: Costs
    per_round: Costs | None
    peak_bytes: float
    gaps: Mapping[str, Spread]
    p_values: Mapping[str, float | None]


def score_columns(first: str) -> list[str]:
    """What a table says of every row's scores; the rows are compared with the one named first."""
    return [KINDS["mean"], f"difference to {first}", "p", *PARTS.values()]


def models_of(outcomes: Iterable[Outcome]) -> list[tuple[str, str]]:
    """Members and models that count in the scores of these runs."""
    return list(dict.fromkeys(model for each in outcomes for model in each.models()))


def spread_of(outcomes: Iterable[Outcome], model: tuple[str, str], metric: str) -> Spread:
    """A model's scores on all domains, of the runs that have it."""
    return Spread(tuple(each.value(metric, *model) for each in outcomes if model in each.models()))


def groups(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """(Data set, partition) -> its outcomes."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for each in outcomes:
        found.setdefault((each.about["data"], each.about["partition"]), []).append(each)
    return found


def rows_of(outcomes: Sequence[Outcome], methods: Sequence[str]) -> list[Row]:
    """The methods of one data set and partition, in this order; the first is compared with all."""
    found = {name: [each for each in outcomes if each.about["method"] == name] for name in methods}
    first = methods[0]
    return [
        _row(name, runs, [] if name == first else found[first])
        for name, runs in found.items()
        if runs
    ]


def _row(name: str, found: Sequence[Outcome], others: Sequence[Outcome]) -> Row:
    """What a method found, compared with these others."""
    ends = [each.points["after"] for each in found]
    rounds = [costs for each in found if (costs := each.per_round()) is not None]
    return Row(
        method=name,
        seeds=tuple(each.about["seed"] for each in found),
        scores={
            (metric, kind): Spread(
                tuple(each.mean(metric) for each in found)
                if kind == "mean"
                else tuple(value for each in found for value in each.means(metric, kind))
            )
            for metric in METRICS
            for kind in KINDS
        },
        in_all=_median([Costs(end.num_bytes, end.seconds) for end in ends]),
        per_round=_median(rounds) if rounds else None,
        peak_bytes=statistics.median(each.peak_bytes for each in found),
        gaps={metric: _gap(others, found, metric) for metric in METRICS},
        p_values={metric: _p_value(others, found, metric) for metric in METRICS},
    )


def _gap(ours: Sequence[Outcome], theirs: Sequence[Outcome], metric: str) -> Spread:
    """Theirs less ours, seed by seed."""
    known = {each.about["seed"]: each.mean(metric) for each in ours}
    pairs = ((each.mean(metric), known.get(each.about["seed"])) for each in theirs)
    return Spread(tuple(value - other for value, other in pairs if other is not None))


def _p_value(ours: Sequence[Outcome], theirs: Sequence[Outcome], metric: str) -> float | None:
    pairs = differences(ours, theirs, metric)
    return sign_flip_test(pairs) if pairs else None


def differences(ours: Sequence[Outcome], theirs: Sequence[Outcome], metric: str) -> list[float]:
    """Ours less theirs, for each seed and model that both have."""
    known = {each.about["seed"]: each for each in theirs}
    found = []
    for one in ours:
        other = known.get(one.about["seed"])
        for model in one.models() if other is not None else ():
            if other is not None and model in other.models():
                found.append(one.value(metric, *model) - other.value(metric, *model))
    return found


def lead(
    rows: Sequence[Row], first: str, metric: str, no_rivals: Iterable[str]
) -> tuple[str, float] | None:
    """The rival that a method leads least, and by how much relatively, in percent; None without.

    Means are over the seeds that both have; where all have the same, that is the best rival.
    """
    ours = next((row for row in rows if row.method == first), None)
    bounds = set(no_rivals)
    leads = {
        row.method: found
        for row in rows
        if ours is not None
        and row.method not in {first, *bounds}
        and (found := _lead_over(ours, row, metric)) is not None
    }
    return min(leads.items(), key=lambda item: item[1]) if leads else None


def _lead_over(ours: Row, rival: Row, metric: str) -> float | None:
    """None without a common seed, or where the rival scored nothing."""
    one, other = (
        dict(zip(row.seeds, row.scores[metric, "mean"].values, strict=True))
        for row in (ours, rival)
    )
    common = one.keys() & other.keys()
    theirs = sum(other[seed] for seed in common)
    return 100 * (sum(one[seed] for seed in common) / theirs - 1) if theirs else None


def lead_cells(
    tables: Sequence[Sequence[Row]], first: str, no_rivals: Iterable[str]
) -> list[list[str]]:
    """For each table of rows, and last for their mean, the best rival and the lead, per metric."""
    bounds = tuple(no_rivals)
    found = [[lead(rows, first, metric, bounds) for metric in METRICS] for rows in tables]
    lines = [
        [cell for best in each for cell in ((best[0], _percent(best[1])) if best else (DASH, DASH))]
        for each in found
    ]
    gains = [[best[1] for best in column if best] for column in zip(*found, strict=True)]
    means = [_percent(statistics.fmean(gain)) if gain else DASH for gain in gains]
    return [*lines, [cell for mean in means for cell in ("", mean)]]


def _percent(value: float) -> str:
    return f"{value:+.1f} %"


def p_text(value: float | None) -> str:
    """A p-value for people.

    >>> p_text(0.0004), p_text(0.03125)
    ('<0.001', '0.031')
    """
    if value is None:
        return DASH
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _median(costs: Sequence[Costs]) -> Costs:
    return Costs(
        statistics.median(each.num_bytes for each in costs),
        statistics.median(each.seconds for each in costs),
    )
