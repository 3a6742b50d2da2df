"""The page's sections on scores: what co-tuning bought, by model, domain and round."""

from collections.abc import Callable, Container, Sequence

from coplms.consortium.record import RunHistory
from coplms.report.curves import num_rounds, score_curves
from coplms.report.markup import Html, element, header, join, row, table
from coplms.report.plots import MAX_COLOURS, comparison_plot, score_plot
from coplms.report.tables import (
    STAGES,
    ComparisonRow,
    DomainRow,
    Stages,
    domain_rows,
    hidden_sentence,
    judged_rows,
    model_label,
    shown_members,
    signed,
)

DASH = "\N{EN DASH}"
"""Stands where there is no value."""

_METRICS = {"exact_match": "Exact match", "rougeL": "Rouge-L"}
_SCOPES = {"all": "All domains", "own": "The member's own domains"}


def comparison_section(rows: Sequence[ComparisonRow]) -> Html:
    """Every model before, alone and co-tuned: a picture and the numbers."""
    if not rows:
        return element("p", "No model has been scored yet.", class_="note")
    scopes = list(dict.fromkeys(found.scope for found in rows))
    bodies = [
        _scope_body(_SCOPES.get(scope, scope), [found for found in rows if found.scope == scope])
        for scope in scopes
    ]
    return join(
        [_comparison_figures(rows), table("Scores of every model", _head(), *bodies), _hint(rows)]
    )


def domain_section(history: RunHistory) -> Html:
    """Every model on every domain: co-tuned, and its difference to tuning alone."""
    shown = frozenset(shown_members(history))
    rows = [found for found in domain_rows(history) if found.member in shown]
    if not rows:
        return element("p", "No scores by domain were recorded.", class_="note")
    hint = element(
        "p",
        "Each cell holds the score after co-tuning and its difference to tuning alone, in points. "
        "Shaded: domains that the device holds private examples of. " + hidden_sentence(history),
        class_="hint",
    )
    return join(
        [
            hint,
            element("h3", "Exact match"),
            _domain_table("Exact match by domain", rows, lambda found: found.exact_match),
            element("h3", "Rouge-L"),
            _domain_table("Rouge-L by domain", rows, lambda found: found.rouge_l),
        ]
    )


def round_section(history: RunHistory) -> Html:
    """Scores after every round."""
    curves = {metric: score_curves(history, metric) for metric in _METRICS}
    labels = list(dict.fromkeys(curve.label for found in curves.values() for curve in found))
    if not labels:
        return element("p", "No model was scored between the rounds.", class_="note")
    figures = [
        figure(
            f"{name} on all domains",
            score_plot(f"rounds-{metric}", name, curves[metric], labels, num_rounds(history)),
        )
        for metric, name in _METRICS.items()
        if curves[metric]
    ]
    return join([legend(labels), element("div", *figures, class_="plots")])


def figure(caption: str, picture: Html) -> Html:
    """A picture under its caption."""
    return element("figure", element("figcaption", caption), picture)


def legend(labels: Sequence[str], shown: Container[str] | None = None) -> Html:
    """The name of each series; its place is its colour.

    Args:
        labels: Of all series.
        shown: Those that are drawn; None: all.
    """
    return _legend(
        [
            (f"--series-{place % MAX_COLOURS}", label)
            for place, label in enumerate(labels)
            if shown is None or label in shown
        ]
    )


def _legend(entries: Sequence[tuple[str, str]]) -> Html:
    items = [
        element("li", element("span", class_="swatch", style=f"--swatch: var({variable})"), label)
        for variable, label in entries
    ]
    return element("ul", *items, class_="legend")


def _comparison_figures(rows: Sequence[ComparisonRow]) -> Html:
    judged = judged_rows(rows)
    scores = {
        "exact_match": [(found.label, found.exact_match) for found in judged],
        "rougeL": [(found.label, found.rouge_l) for found in judged],
    }
    figures = [
        figure(f"{name} on all domains", comparison_plot(f"models-{metric}", name, scores[metric]))
        for metric, name in _METRICS.items()
    ]
    stages = [(f"--{stage}", name) for stage, name in STAGES.items()]
    return join([_legend(stages), element("div", *figures, class_="plots")]) if judged else Html()


def _head() -> Html:
    groups = element(
        "tr",
        header("Model", rowspan="2"),
        header("Exact match", "colgroup", colspan="4", class_="divide"),
        header("Rouge-L", "colgroup", colspan="4", class_="divide"),
    )
    columns = [
        header(name, class_="" if place else "divide")
        for _ in range(2)
        for place, name in enumerate([*STAGES.values(), "Gain over alone"])
    ]
    return join([groups, element("tr", *columns)])


def _scope_body(title: str, rows: Sequence[ComparisonRow]) -> Html:
    name = element("span", title)
    heading = element("tr", element("th", name, scope="rowgroup", colspan="9"))
    return element("tbody", heading, *(_comparison_row(found) for found in rows))


def _comparison_row(found: ComparisonRow) -> Html:
    return row(header(found.label, "row"), *_cells(found.exact_match), *_cells(found.rouge_l))


def _cells(stages: Stages) -> list[Html]:
    cells = []
    for stage, value in stages.items():
        classes = ["divide"] * (stage == "before") + ["best"] * (stage in stages.best)
        cells.append(element("td", _score(value), class_=" ".join(classes)))
    return [*cells, element("td", _difference(stages.difference))]


def _score(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"


def _difference(value: float | None) -> Html:
    if value is None:
        return element("span", DASH, class_="delta muted")
    text = signed(value)
    direction = {"+": "up", "\N{MINUS SIGN}": "down"}.get(text[0], "muted")
    return element("span", text, class_=f"delta {direction}")


def _hint(rows: Sequence[ComparisonRow]) -> Html:
    counts = [found.num_examples for found in judged_rows(rows) if found.num_examples]
    chance = (
        f" With {min(counts):,} questions, an exact match has a standard error of up to "
        f"{50 / min(counts) ** 0.5:.1f} points, so smaller differences can be chance."
        if counts
        else ""
    )
    return element(
        "p",
        "Scores run from 0 to 100. Before: as loaded. Alone: tuned without the others, as long. "
        f"Co-tuned: after the whole run. A star marks the best.{chance}",
        class_="hint",
    )


def _domain_table(
    caption: str, rows: Sequence[DomainRow], metric: Callable[[DomainRow], Stages]
) -> Html:
    models = list(dict.fromkeys((found.member, found.model) for found in rows))
    cells = {(found.domain, found.member, found.model): found for found in rows}
    names = [header(model_label(member, model), class_="divide name") for member, model in models]
    body = [
        row(
            header(domain, "row", class_="wrap"),
            *(_domain_cell(cells.get((domain, *model)), metric) for model in models),
        )
        for domain in sorted({found.domain for found in rows})
    ]
    return table(caption, element("tr", header("Domain"), *names), element("tbody", *body))


def _domain_cell(found: DomainRow | None, metric: Callable[[DomainRow], Stages]) -> Html:
    if found is None:
        return element("td", DASH, class_="divide muted")
    stages = metric(found)
    class_ = "divide own" if found.is_own else "divide"
    gain = [] if stages.difference is None else [" ", _difference(stages.difference)]
    return element("td", _score(stages.after), *gain, class_=class_)
