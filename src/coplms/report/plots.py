"""Pictures as SVG to stand inside a page: its fonts, its colours, light or dark.

Colours are CSS variables of `page.css`, ink is `currentColor`, so one picture serves both
schemes. Pictures are drawn for a width of 360 CSS pixels and may be scaled up.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coplms.errors import MissingExtraError
from coplms.report.costs import TimeRow, TrafficRow, size_text, time_text
from coplms.report.curves import LossCurve, ScoreCurve
from coplms.report.markup import Html, element
from coplms.report.tables import Stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COLOURS = 8
"""Members or kinds beyond this number share colours again."""

_WIDTH = 360
_FONT_SIZE = 11
_LABEL_LENGTH = 18
_INK = "#010203"
_ROLES = {"before": "#010301", "alone": "#010302", "after": "#010303"}
_SERIES = [f"#0104{place:02x}" for place in range(MAX_COLOURS)]
_CSS_COLOURS = {
    _INK: "currentColor",
    **{colour: f"var(--{role})" for role, colour in _ROLES.items()},
    **{colour: f"var(--series-{place})" for place, colour in enumerate(_SERIES)},
}
"""What matplotlib draws with -> what the page shows."""

_MARKERS = {"llm": "s", "slm": "^", "dpm": "o"}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "coplms",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": _FONT_SIZE,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": _INK,
    "grid.alpha": 0.14,
    "grid.linewidth": 0.8,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


@dataclass
class _Picture:
    """The axes to draw on, and the markup once that is done."""

    axes: "Axes"
    svg: Html = field(default_factory=Html)


def comparison_plot(name: str, metric: str, scores: Sequence[tuple[str, Stages]]) -> Html:
    """One metric of each named model before, alone and co-tuned, one line per model."""
    room, height = _room(label for label, _ in scores), 26 * len(scores) + 50
    with _picture(name, f"{metric} on all domains", height, room) as picture:
        for place, (_, stages) in enumerate(scores):
            _draw_stages(picture.axes, place, stages)
        _name_rows(picture.axes, [label for label, _ in scores])
        picture.axes.set_xlim(-2, min(102, 1.12 * max(picture.axes.get_xlim()[1], 5)))
        picture.axes.set_xlabel(f"{metric}, 0 to 100")
        picture.axes.grid(axis="x")
    return picture.svg


def _draw_stages(axes: "Axes", place: int, stages: Stages) -> None:
    """A dot per stage, and a line from alone to co-tuned in the colour of the better one."""
    alone, after = stages.alone, stages.after
    if alone is not None and after is not None:
        colour = _ROLES["after" if after >= alone else "alone"]
        axes.plot([alone, after], [place, place], color=colour, linewidth=3, alpha=0.45)
    for stage, value in stages.items():
        size = 8 if stage == "alone" else 6
        if value is not None:
            axes.plot([value], [place], "o", color=_ROLES[stage], markersize=size)


def score_plot(
    name: str, metric: str, curves: Sequence[ScoreCurve], labels: Sequence[str], num_rounds: int
) -> Html:
    """One metric after every round; a curve's place in `labels` is its colour."""
    with _picture(name, f"{metric} on all domains by round", 210, left=34) as picture:
        for curve in curves:
            picture.axes.plot(
                *zip(*curve.points, strict=True),
                marker=_MARKERS.get(curve.model, "o"),
                color=_series(labels.index(curve.label)),
                markersize=5,
                linewidth=1.8,
            )
        names = {0: "before", num_rounds + 1: "end"}
        names.update({number: str(number) for number in range(1, num_rounds + 1)})
        shown = _spread(sorted(names), most=8)
        picture.axes.set_xticks(shown, [names[position] for position in shown])
        picture.axes.set_ylim(bottom=0)
        picture.axes.set_xlabel("Round")
        picture.axes.grid(axis="y")
    return picture.svg


def loss_plot(name: str, member: str, curves: Sequence[LossCurve], kinds: Sequence[str]) -> Html:
    """Training loss of one member by optimiser step; `kinds` fixes the colours."""
    with _picture(name, f"Training loss of {member} by optimiser step", 190, left=34) as picture:
        for curve in curves:
            picture.axes.plot(
                *zip(*curve.points, strict=True),
                color=_series(kinds.index(curve.kind)),
                linestyle="--" if curve.is_alone else "-",
                marker="o" if len(curve.points) == 1 else "",
                markersize=3,
                linewidth=1.6,
            )
        picture.axes.set_ylim(bottom=0)
        picture.axes.margins(x=0.03)
        picture.axes.locator_params(nbins=5)
        picture.axes.set_xlabel("Optimiser step")
        picture.axes.grid(axis="y")
    return picture.svg


def lines_plot(
    name: str,
    title: str,
    x_label: str,
    series: Sequence[Sequence[tuple[float, float]]],
    *,
    logarithmic: bool = False,
) -> Html:
    """Points joined by lines; a line's place is its colour, from the ninth on it is dashed.

    A line without points leaves its colour out.

    Args:
        name: Of the picture, unique in its page.
        title: Read aloud.
        x_label: Under the axis.
        series: (x, y) of every line, x rising, y at least 0; some have points.
        logarithmic: Whether x is; 0 stands at the left end then.
    """
    with _picture(name, title, 230, left=34) as picture:
        for place, points in enumerate(series):
            picture.axes.plot(
                [x for x, _ in points],
                [y for _, y in points],
                marker="o",
                color=_series(place),
                linestyle="-" if place < MAX_COLOURS else "--",
                markersize=4,
                linewidth=1.6,
            )
        if logarithmic:
            positive = [x for points in series for x, _ in points if x > 0]
            picture.axes.set_xscale("symlog", linthresh=min(positive, default=1.0))
            picture.axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        else:
            picture.axes.locator_params(axis="x", nbins=6, integer=True)
        picture.axes.set_ylim(0, 1.05 * max(y for points in series for _, y in points) or 1)
        picture.axes.set_xlabel(x_label)
        picture.axes.grid(axis="y")
    return picture.svg


def traffic_plot(rows: Sequence[TrafficRow]) -> Html:
    """Bytes of each device: sent once, then down and up in all rounds."""
    devices = list(dict.fromkeys(row.device for row in rows))
    parts = [
        [sum(row.once for row in rows if row.device == device) for device in devices],
        *(
            [
                sum(row.in_rounds for row in rows if (row.device, row.direction) == (device, way))
                for device in devices
            ]
            for way in ("down", "up")
        ),
    ]
    return _stacked_bars("traffic", "Bytes exchanged by each device", devices, parts, size_text)


def time_plot(rows: Sequence[TimeRow], members: Sequence[str]) -> Html:
    """Time of each member, stacked by kind of phase in the order of `rows`."""
    parts = [[row.by_member.get(member, 0.0) for member in members] for row in rows]
    return _stacked_bars("time", "Time of each member by kind of phase", members, parts, time_text)


def _stacked_bars(
    name: str,
    title: str,
    labels: Sequence[str],
    parts: Sequence[Sequence[float]],
    text: Callable[[float], str],
) -> Html:
    """One bar per label, cut into `parts`, its total written behind it as `text`."""
    totals = [sum(values) for values in zip(*parts, strict=True)]
    with _picture(name, title, 26 * len(labels) + 12, left=_room(labels), bottom=6) as picture:
        starts = [0.0] * len(labels)
        for place, values in enumerate(parts):
            picture.axes.barh(
                range(len(labels)), values, left=starts, height=0.6, color=_series(place)
            )
            starts = [start + value for start, value in zip(starts, values, strict=True)]
        for place, total in enumerate(totals):
            picture.axes.annotate(
                text(total), (total, place), (5, 0), textcoords="offset points", va="center"
            )
        _name_rows(picture.axes, labels)
        picture.axes.set_xlim(0, 1.5 * max(totals) or 1)
        picture.axes.spines["bottom"].set_visible(False)
        picture.axes.set_xticks([])
    return picture.svg


@contextmanager
def _picture(
    name: str, title: str, height: int, left: float, bottom: int = 38
) -> Iterator[_Picture]:
    """Axes in a picture of `height`, with room for labels of `left` and `bottom` CSS pixels."""
    try:
        import matplotlib.style
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "the report's pictures need matplotlib: pip install 'coplms[report]'"
        ) from error
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=(_WIDTH / 72, height / 72), dpi=72)
        box = (
            left / _WIDTH,
            bottom / height,
            (_WIDTH - left - 10) / _WIDTH,
            (height - bottom - 8) / height,
        )
        picture = _Picture(figure.add_axes(box))
        yield picture
        picture.svg = _svg(figure, name, title)


def _svg(figure: "Figure", name: str, title: str) -> Html:
    """The figure as one `<svg>` element whose ids start with `name`."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The page's own fonts draw the text, so what DejaVu Sans lacks is of no consequence.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"\s*<(metadata|style)\b.*?</\1>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"<!--.*?-->\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'\bid="', f'id="{name}-', drawn)
    drawn = re.sub(r'href="#', f'href="#{name}-', drawn)
    drawn = re.sub(r"url\(#", f"url(#{name}-", drawn)
    drawn = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", drawn)
    drawn = re.sub(r"font-family: [^;\"]*;? ?", "", drawn)
    for colour, css in _CSS_COLOURS.items():
        drawn = drawn.replace(colour, css)
    view_box = f"0 0 {figure.bbox.width:g} {figure.bbox.height:g}"
    body = Html(drawn[drawn.index(">") + 1 : drawn.rindex("</svg>")])
    return element(
        "svg",
        element("title", title),
        body,
        class_="plot",
        role="img",
        aria_label=title,
        viewBox=view_box,
    )


def _name_rows(axes: "Axes", labels: Sequence[str]) -> None:
    """Names on the left of horizontal bars or dots, the first on top."""
    axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)


def _room(labels: Iterable[str]) -> float:
    """CSS pixels that the longest shown label takes."""
    return 14 + 0.6 * _FONT_SIZE * max((len(_short(label)) for label in labels), default=0)


def _short(label: str) -> str:
    if len(label) <= _LABEL_LENGTH:
        return label
    half = (_LABEL_LENGTH - 1) // 2
    return f"{label[:half]}\N{HORIZONTAL ELLIPSIS}{label[-half:]}"


def _series(place: int) -> str:
    return _SERIES[place % MAX_COLOURS]


def _spread(positions: Sequence[int], most: int) -> list[int]:
    """The first, the last, and evenly spaced ones between: at most `most` + 1 ticks."""
    stride = -(-(len(positions) - 1) // (most - 1))
    inner = [position for position in positions[:-1:stride] if positions[-1] - position >= stride]
    return [*inner, positions[-1]]
