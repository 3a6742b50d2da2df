"""Curves of a bench: quality over rounds, bytes and seconds; of models, and of domains."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

from coplms.report.bench import METRICS, Outcome, Point
from coplms.report.bench_methods import models_of
from coplms.report.markup import Html, element, join
from coplms.report.plots import lines_plot
from coplms.report.scores import figure, legend

AXES: Mapping[str, tuple[str, Callable[[Point], float], bool]] = {
    "rounds": ("Round", lambda point: point.round_number, False),
    "bytes": ("Megabytes, all devices", lambda point: point.num_bytes / 1e6, True),
    "seconds": ("Seconds of work, all members", lambda point: point.seconds, False),
}
"""Name -> label, position of a point, whether it is logarithmic."""

Value = Callable[[Outcome, str, str], float | None]
"""Outcome, metric and time -> points of 100; None where there is none."""


def curves(prefix: str, outcomes: Sequence[Outcome], methods: Sequence[str]) -> Html:
    """Mean over all models, and the legend of these and the other curves.

    Args:
        prefix: Of the pictures' names, unique in the page.
        outcomes: Of one data set and partition.
        methods: All of the bench; a method's place is its colour.
    """
    axes = dict(AXES)
    if _scored_once(outcomes):  # rounds tell nothing then, what it took still does
        del axes["rounds"]
    figures = _figures(prefix, "mean of all models and seeds", outcomes, methods, _mean, axes)
    return join(_plots(figures, outcomes, methods))


def model_curves(prefix: str, outcomes: Sequence[Outcome], methods: Sequence[str]) -> list[Html]:
    """Of each model by itself, mean over seeds; nothing where runs were scored once."""
    if _scored_once(outcomes):
        return []
    figures = []
    for number, (member, kind) in enumerate(models_of(outcomes)):

        def value(
            found: Outcome, metric: str, when: str, model: tuple[str, str] = (member, kind)
        ) -> float | None:
            known = model in found.models(when)
            return found.value(metric, *model, when) if known else None

        title = f"{member} {kind.upper()}"
        figures += _figures(f"{prefix}-m{number}", title, outcomes, methods, value, AXES)
    return _plots(figures, outcomes, methods)


def domain_curves(prefix: str, outcomes: Sequence[Outcome], methods: Sequence[str]) -> list[Html]:
    """Of each domain over rounds, mean over models and seeds; nothing as in `model_curves`."""
    if _scored_once(outcomes):
        return []
    figures = []
    domains = sorted(set.intersection(*(set(each.domains()) for each in outcomes)))
    axes = {"rounds": AXES["rounds"]}
    for number, name in enumerate(domains):

        def value(found: Outcome, metric: str, when: str, domain: str = name) -> float | None:
            known = domain in found.domains(when)
            return found.domain_mean(domain, metric, when) if known else None

        figures += _figures(f"{prefix}-d{number}", name, outcomes, methods, value, axes)
    return _plots(figures, outcomes, methods)


def _mean(found: Outcome, metric: str, when: str) -> float | None:
    return found.mean(metric, when) if found.models(when) else None


def _scored_once(outcomes: Sequence[Outcome]) -> bool:
    """Whether LLM and SLMs of all runs were scored at the end alone."""
    return all(len(each.times()) < 2 for each in outcomes)


def _plots(
    figures: Sequence[Html], outcomes: Sequence[Outcome], methods: Sequence[str]
) -> list[Html]:
    shown = {each.about["method"] for each in outcomes}
    return [legend(methods, shown), element("div", *figures, class_="plots")] if figures else []


def _figures(
    prefix: str,
    of_what: str,
    outcomes: Sequence[Outcome],
    methods: Sequence[str],
    value: Value,
    axes: Mapping[str, tuple[str, Callable[[Point], float], bool]],
) -> list[Html]:
    """A picture for each metric and axis, with a line for each method."""
    runs = [[each for each in outcomes if each.about["method"] == name] for name in methods]
    figures = []
    for metric, name in METRICS.items():
        for axis, (label, position, logarithmic) in axes.items():
            series = [list(_curve(found, metric, position, value)) for found in runs]
            title = f"{name} over {axis}, {of_what}"
            picture = lines_plot(
                f"{prefix}-{metric}-{axis}", title, label, series, logarithmic=logarithmic
            )
            figures.append(figure(title, picture))
    return figures


def _curve(
    outcomes: Sequence[Outcome], metric: str, position: Callable[[Point], float], value: Value
) -> Iterator[tuple[float, float]]:
    """Means over seeds, at the medians of their places, of the times that all were scored at."""
    common = set.intersection(*(set(each.points) for each in outcomes)) if outcomes else set()
    for when in sorted(common, key=lambda time: outcomes[0].points[time].round_number):
        values = [value(each, metric, when) for each in outcomes]
        known = [each for each in values if each is not None]
        if len(known) == len(outcomes):
            xs = [position(each.points[when]) for each in outcomes]
            yield statistics.median(xs), statistics.fmean(known)
