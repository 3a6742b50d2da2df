"""A bench's methods beside one another: means, spread, costs, p-values and leads."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from coplms.report.bench import KINDS, METRICS, PARTS, Costs, Outcome
from coplms.report.paired import sign_flip_test
from coplms.report.scores import DASH


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
        scores: (Metric, one of `KINDS`) -> points of 100.
        in_all: What a whole run takes, the median over the seeds.
        per_round: Likewise a round; None where no run has one between the first and the last.
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


Tables = Mapping[tuple[str, str], Sequence[Row]]
"""(Data set, partition) -> its rows."""


def tables_of(outcomes: Sequence[Outcome], methods: Sequence[str]) -> Tables:
    """The methods of every data set and partition."""
    return {key: rows_of(found, methods) for key, found in groups(outcomes).items()}


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


def overview_columns(tables: Tables) -> list[str]:
    """Above the cells of `overview`."""
    names = []
    for (data, partition), rows in tables.items():
        names.append(f"{data}, {partition} ({num_seeds(rows)})")
    return ["Method", *names, "mean"]


def overview(tables: Tables, methods: Sequence[str], metric: str) -> dict[str, list[str]]:
    """Method -> its score in each of these tables, and last their mean, if it is in all of them."""
    lines = {}
    for method in methods:
        found = [
            next((row for row in rows if row.method == method), None) for rows in tables.values()
        ]
        scores = [row.scores[metric, "mean"] for row in found if row is not None]
        if scores:
            cells = [DASH if row is None else str(row.scores[metric, "mean"]) for row in found]
            is_whole = len(scores) == len(tables)
            mean = f"{statistics.fmean(each.mean for each in scores):.1f}" if is_whole else DASH
            lines[method] = [*cells, mean]
    return lines


def seeds_text(rows: Sequence[Row]) -> str:
    """How many seeds these rows have, least and most where they differ."""
    counts = sorted({len(each.seeds) for each in rows})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def num_seeds(rows: Sequence[Row]) -> str:
    """The same with the word: 3 seeds."""
    text = seeds_text(rows)
    return f"{text} seed{'' if text == '1' else 's'}"


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


def lead_cells(tables: Tables, first: str, no_rivals: Iterable[str]) -> list[list[str]]:
    """For each table of rows, and last for their mean, the best rival and the lead, per metric."""
    bounds = tuple(no_rivals)
    found = [[lead(rows, first, metric, bounds) for metric in METRICS] for rows in tables.values()]
    lines = [
        [cell for best in each for cell in ((best[0], _percent(best[1])) if best else (DASH, DASH))]
        for each in found
    ]
    gains = [[best[1] for best in column if best] for column in zip(*found, strict=True)]
    means = [_percent(statistics.fmean(gain)) if gain else DASH for gain in gains]
    return [*lines, [cell for mean in means for cell in ("", mean)]]


def _percent(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f} %"  # + 0.0: no lead is no negative one


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
