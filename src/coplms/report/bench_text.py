"""A bench's tables as Markdown, for a document."""

from collections.abc import Sequence

from coplms.report.bench import KINDS, METRICS, Outcome
from coplms.report.bench_costs import COSTS, cost_cells
from coplms.report.bench_methods import (
    Row,
    Tables,
    groups,
    lead_cells,
    models_of,
    overview,
    overview_columns,
    p_text,
    score_columns,
    seeds_text,
    spread_of,
    tables_of,
)
from coplms.report.bench_rates import TITLE, Choice, rates_of
from coplms.report.bench_traffic import at_equal_bytes, budgets
from coplms.report.costs import size_text
from coplms.report.scores import DASH

_BOTH = " / ".join(METRICS.values())
_MOST_MODELS = 6


def markdown(
    outcomes: Sequence[Outcome],
    methods: Sequence[str],
    no_rivals: Sequence[str],
    choices: Sequence[Choice] = (),
) -> str:
    """Leads of the first method; all data sets; then each one by itself.

    Args:
        outcomes: Of the finished cells.
        methods: All rows, in their order; the first is compared with the others.
        no_rivals: Methods that are no rivals.
        choices: Of learning rates.
    """
    tables = tables_of(outcomes, methods)
    lines = _leads(tables, methods[0], no_rivals)
    if len(tables) > 1:
        lines += [f"{_BOTH}, mean over LLM and SLMs:", "", overview_text(tables, methods), ""]
    for (data, partition), found in groups(outcomes).items():
        place = f"{data}, {partition}"
        names = ["Method", "seeds", *score_columns(methods[0])]
        lines += [f"{place}, {_BOTH}:", "", *_header(names)]
        rows = tables[data, partition]
        lines += [_line(_cells(each)) for each in rows]
        lines += ["", f"{place}, what it took:", "", *_header(["Method", *COSTS])]
        lines += [_line([each.method, *cost_cells(each)]) for each in rows]
        lines += ["", *_folded(place, found, methods)]
    return "\n".join([*lines, *_rates(choices)])


def overview_text(tables: Tables, methods: Sequence[str]) -> str:
    """Every method on every data set, both metrics in one cell."""
    metrics = [overview(tables, methods, metric) for metric in METRICS]
    lines = [
        _line([method, *map(_both, zip(*(found[method] for found in metrics), strict=True))])
        for method in metrics[0]
    ]
    return "\n".join([*_header(overview_columns(tables)), *lines])


def _cells(found: Row) -> list[str]:
    """Both metrics in one cell, where the page has a column for each."""
    mean, *parts = [[str(found.scores[metric, kind]) for metric in METRICS] for kind in KINDS]
    gaps = [found.gaps[metric].signed() for metric in METRICS]
    tests = [p_text(found.p_values[metric]) for metric in METRICS]
    return [found.method, str(len(found.seeds)), *map(_both, [mean, gaps, tests, *parts])]


def _both(cells: Sequence[str]) -> str:
    return cells[0] if len(set(cells)) == 1 and cells[0] == DASH else " / ".join(cells)


def _folded(place: str, outcomes: Sequence[Outcome], methods: Sequence[str]) -> list[str]:
    """What few readers want to see at once, behind a line to click on."""
    lines = _each_model(place, outcomes, methods)
    for metric, name in METRICS.items():
        lines += _equal_bytes(f"{place}, {name} at equal bytes:", outcomes, methods, metric)
    if not lines:
        return []
    title = f"{place}: every model, and scores at equal bytes"
    return [f"<details><summary>{title}</summary>", "", *lines, "</details>", ""]


def _each_model(place: str, outcomes: Sequence[Outcome], methods: Sequence[str]) -> list[str]:
    """Every model by itself; nothing where there are too many for a line."""
    models = models_of(outcomes)
    if len(models) > _MOST_MODELS:
        return []
    lines = []
    for method in methods:
        if runs := [each for each in outcomes if each.about["method"] == method]:
            cells = [_both([str(spread_of(runs, m, metric)) for metric in METRICS]) for m in models]
            lines.append(_line([method, *cells]))
    names = [f"{member} {kind.upper()}" for member, kind in models]
    return [f"{place}, every model:", "", *_header(["Method", *names]), *lines, ""]


def _leads(tables: Tables, first: str, no_rivals: Sequence[str]) -> list[str]:
    """Of every data set, and their mean; nothing without a rival."""
    *cells, means = lead_cells(tables, first, no_rivals)
    lines = [
        _line([f"{data}, {partition}", seeds_text(rows), *found])
        for ((data, partition), rows), found in zip(tables.items(), cells, strict=True)
        if set(found) != {DASH}
    ]
    if not lines:
        return []
    names = [text for name in METRICS.values() for text in (f"best rival, {name}", "lead")]
    title = f"Relative lead of {first} over the best other method:"
    lines += [_line(["mean", "", *means])] if len(lines) > 1 else []
    return [title, "", *_header(["Data", "seeds", *names]), *lines, ""]


def _equal_bytes(
    title: str, outcomes: Sequence[Outcome], methods: Sequence[str], metric: str
) -> list[str]:
    limits = budgets(outcomes, methods[0])
    if len(limits) < 2:  # the end alone stands in the table above
        return []
    rows = at_equal_bytes(outcomes, methods, metric)
    return [
        title,
        "",
        *_header(["Method", *(f"within {size_text(limit)}" for limit in limits)]),
        *(_line([method, *map(str, scores)]) for method, scores in rows.items()),
        "",
    ]


def _rates(choices: Sequence[Choice]) -> list[str]:
    """What each of them scored, the best one bold; nothing where none was chosen."""
    if not choices:
        return []
    rates = rates_of(choices)
    lines = []
    for each in choices:
        cells = [f"**{each.cell(r)}**" if r == each.taken else each.cell(r) for r in rates]
        lines.append(_line([f"{each.data}, {each.method}", str(each.seed), *cells]))
    names = ["Method", "seed", *(f"{rate:g}" for rate in rates)]
    return [f"{TITLE}:", "", *_header(names), *lines, ""]


def _header(names: Sequence[str]) -> list[str]:
    return [_line(names), "|---" + "|--:" * (len(names) - 1) + "|"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
