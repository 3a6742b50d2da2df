"""One page about a bench: tables of methods, curves, and what repeats every figure."""

from collections.abc import Mapping, Sequence

from coplms.report.bench import METRICS, PARTS, Outcome
from coplms.report.bench_costs import COSTS, cost_cells
from coplms.report.bench_curves import curves, domain_curves, model_curves
from coplms.report.bench_methods import (
    Row,
    Spread,
    Tables,
    groups,
    lead_cells,
    models_of,
    num_seeds,
    overview,
    overview_columns,
    p_text,
    score_columns,
    spread_of,
    tables_of,
)
from coplms.report.bench_rates import TITLE, Choice, rates_of
from coplms.report.bench_traffic import at_equal_bytes, budgets
from coplms.report.costs import size_text
from coplms.report.markup import Html, element, header, join, row, table
from coplms.report.page import document
from coplms.report.scores import DASH


def bench_page(
    title: str,
    outcomes: Sequence[Outcome],
    methods: Sequence[str],
    no_rivals: Sequence[str],
    facts: Mapping[str, str],
    num_missing: int,
    choices: Sequence[Choice] = (),
) -> str:
    """The page; equal outcomes give equal pages.

    Args:
        title: The bench's name.
        outcomes: Of the finished cells.
        methods: All rows, in their order; the first is compared with every other.
        no_rivals: Methods that are no rivals.
        facts: What else is to be known: the command, the machine, versions.
        num_missing: Cells that are not finished.
        choices: Of learning rates.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    done = {each.about["method"] for each in outcomes}
    methods = [methods[0], *(name for name in methods[1:] if name in done)]
    seeds = sorted({each.about["seed"] for each in outcomes})
    tables = tables_of(outcomes, methods)
    parts = [
        _group_section(place, key, found, tables[key], methods, no_rivals)
        for place, (key, found) in enumerate(groups(outcomes).items())
    ]
    missing = [] if not num_missing else [_note(num_missing)]
    return document(
        f"{title}: coplms compare",
        element(
            "header",
            element("p", "coplms compare", class_="eyebrow"),
            element("h1", title),
            element("p", f"{len(done)} methods, {_seeds(seeds)}", class_="facts"),
            *missing,
            _leads(tables, methods, no_rivals),
            _overview(tables, methods),
        ),
        element("main", *parts, _rates(choices), _repeat(outcomes, facts)),
        element("footer", "Written by coplms from the runs beside this page."),
    )


def _seeds(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'} ({', '.join(map(str, seeds))})"


def _seeds_of(rows: Sequence[Row]) -> str:
    """Which seeds these rows have, or how many where they differ."""
    same = len({each.seeds for each in rows}) == 1
    return _seeds(rows[0].seeds) if same else num_seeds(rows)


def _note(num_missing: int) -> Html:
    cells = "1 cell is" if num_missing == 1 else f"{num_missing} cells are"
    return element(
        "p",
        element("strong", f"{cells} not finished. "),
        "The same command goes on; this page is of those that are.",
        class_="note",
    )


def _leads(tables: Tables, methods: Sequence[str], no_rivals: Sequence[str]) -> Html:
    """Per data set the first method's lead over the best of the others."""
    if len(methods) < 2:
        return Html()
    *lines, means = lead_cells(tables, methods[0], no_rivals)
    if {cell for line in lines for cell in line} <= {DASH}:
        return Html()
    body = [
        row(header(f"{data}, {partition}", "row"), _seeds_of(rows), *cells)
        for ((data, partition), rows), cells in zip(tables.items(), lines, strict=True)
    ]
    body.append(element("tr", header("Mean", "row"), *(element("td", c) for c in ("", *means))))
    names = ["Data set", "Seeds"]
    names += [text for name in METRICS.values() for text in (f"Best rival, {name}", "Lead")]
    head = element("tr", *map(header, names))
    caption = f"Relative lead of {methods[0]} over the best other method"
    return join([element("h2", caption), table(caption, head, element("tbody", *body))])


def _overview(tables: Tables, methods: Sequence[str]) -> Html:
    """Every method on every data set; nothing where there is one."""
    if len(tables) < 2:
        return Html()
    head = element("tr", *(header(name, class_="name") for name in overview_columns(tables)))
    parts = []
    for metric, name in METRICS.items():
        lines = overview(tables, methods, metric)
        body = [row(header(method, "row"), *cells) for method, cells in lines.items()]
        caption = f"{name}, mean over LLM and SLMs"
        parts += [element("h2", caption), table(caption, head, element("tbody", *body))]
    return join(parts)


def _group_section(
    place: int,
    key: tuple[str, str],
    outcomes: Sequence[Outcome],
    rows: Sequence[Row],
    methods: Sequence[str],
    no_rivals: Sequence[str],
) -> Html:
    title = f"{key[0]}, {key[1]}"
    hint = (
        "Points of 100 on the test set of all domains, or of the domains that a device holds: mean "
        "over models, standard deviation over seeds; all models are LLM and SLMs. p: sign-flip "
        f"test of {methods[0]}'s lead, paired by seed and model. Traffic: "
        "all devices, both ways; work: seconds of all members, one after another. The star is the "
        f"best of {methods[0]} and its rivals, which keep text private."
    )
    return element(
        "section",
        element("h2", title),
        *(_scores(f"{METRICS[m]}, {title}", rows, m, methods[0], no_rivals) for m in METRICS),
        _costs(f"What it took, {title}", rows),
        element("p", hint, class_="hint"),
        curves(f"g{place}", outcomes, methods),
        _equal_bytes(outcomes, methods),
        _models(outcomes, methods, model_curves(f"g{place}", outcomes, methods)),
        _domains(outcomes, methods, domain_curves(f"g{place}", outcomes, methods)),
    )


def _scores(
    caption: str, rows: Sequence[Row], metric: str, first: str, no_rivals: Sequence[str]
) -> Html:
    rivals = [each for each in rows if each.method not in no_rivals]
    best = max(rivals, key=lambda each: each.scores[metric, "mean"].mean, default=None)
    body = [
        row(
            header(each.method, "row", class_="best" if each is best else ""),
            str(len(each.seeds)),
            str(each.scores[metric, "mean"]),
            each.gaps[metric].signed(),
            p_text(each.p_values[metric]),
            *(str(each.scores[metric, kind]) for kind in PARTS),
        )
        for each in rows
    ]
    columns = [header(each, class_="name") for each in score_columns(first)]
    head = element("tr", header("Method"), header("Seeds"), *columns)
    return join([element("h3", METRICS[metric]), table(caption, head, element("tbody", *body))])


def _costs(caption: str, rows: Sequence[Row]) -> Html:
    body = [row(header(each.method, "row"), *cost_cells(each)) for each in rows]
    head = element("tr", *map(header, ["Method", *COSTS]))
    return join([element("h3", "What it took"), table(caption, head, element("tbody", *body))])


def _equal_bytes(outcomes: Sequence[Outcome], methods: Sequence[str]) -> Html:
    """What every method scores within the bytes that the first one takes."""
    limits = budgets(outcomes, methods[0])
    if len(limits) < 2:  # the end alone stands in the tables above
        return Html()
    tables = []
    for metric, name in METRICS.items():
        body = [
            row(header(method, "row"), *map(str, scores))
            for method, scores in at_equal_bytes(outcomes, methods, metric).items()
        ]
        names = ["Method", *(f"within {size_text(limit)}" for limit in limits)]
        head = element("tr", *map(header, names))
        caption = f"{name} at equal bytes"
        tables += [element("h3", caption), table(caption, head, element("tbody", *body))]
    return element("details", element("summary", "Quality at equal bytes"), *tables)


def _models(outcomes: Sequence[Outcome], methods: Sequence[str], pictures: Sequence[Html]) -> Html:
    """Every model by itself."""
    models = models_of(outcomes)
    names = ["Method", *(f"{m} {k.upper()}, {n}" for n in METRICS.values() for m, k in models)]
    body = []
    for method in methods:
        found = [each for each in outcomes if each.about["method"] == method]
        if found:
            cells = [str(spread_of(found, m, metric)) for metric in METRICS for m in models]
            body.append(row(header(method, "row"), *cells))
    content = table("Every model", element("tr", *map(header, names)), element("tbody", *body))
    return element("details", element("summary", "Every model by itself"), content, *pictures)


def _domains(outcomes: Sequence[Outcome], methods: Sequence[str], pictures: Sequence[Html]) -> Html:
    """Rouge-L and exact match by domain, mean over models."""
    domains = sorted(set.intersection(*(set(each.domains()) for each in outcomes)))
    tables = []
    for metric, name in METRICS.items():
        body = []
        for method in methods:
            found = [each for each in outcomes if each.about["method"] == method]
            if found:
                values = [[o.domain_mean(d, metric) for o in found] for d in domains]
                cells = [str(Spread(tuple(each))) for each in values]
                body.append(row(header(method, "row"), *cells))
        head = element("tr", *map(header, ["Method", *domains]))
        caption = f"{name} by domain"
        tables += [element("h3", caption), table(caption, head, element("tbody", *body))]
    return element("details", element("summary", "Domain by domain"), *tables, *pictures)


def _rates(choices: Sequence[Choice]) -> Html:
    """What each of them scored, the best one marked; nothing where none was chosen."""
    if not choices:
        return Html()
    rates = rates_of(choices)
    body = [
        row(
            header(f"{each.data}, {each.method}", "row"),
            str(each.seed),
            *(
                element("td", each.cell(rate), class_="best" if rate == each.taken else "")
                for rate in rates
            ),
        )
        for each in choices
    ]
    head = element("tr", *map(header, ["Method", "Seed", *(f"{rate:g}" for rate in rates)]))
    content = table(TITLE, head, element("tbody", *body))
    return element("section", element("h2", "Learning rates"), content)


def _repeat(outcomes: Sequence[Outcome], facts: Mapping[str, str]) -> Html:
    pairs = [
        element(tag, text)
        for pair in facts.items()
        for tag, text in zip(("dt", "dd"), pair, strict=True)
    ]
    commands = "\n".join(each.command for each in outcomes)
    return element(
        "section",
        element("h2", "Run it again"),
        element("dl", *pairs, class_="terms"),
        element(
            "details",
            element("summary", "The command of every cell"),
            element("pre", element("code", commands), tabindex="0"),
        ),
    )
