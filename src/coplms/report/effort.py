"""The page's sections on what a run did and cost: training loss, traffic, time."""

from collections.abc import Sequence

from coplms.consortium.record import RunHistory
from coplms.report.costs import (
    TimeRow,
    TrafficRow,
    size_text,
    time_rows,
    time_text,
    traffic_content,
    traffic_rows,
    traffic_sums,
)
from coplms.report.curves import loss_curves, planned_rounds
from coplms.report.markup import Html, element, header, join, row, table
from coplms.report.plots import loss_plot, time_plot, traffic_plot
from coplms.report.scores import DASH, figure, legend
from coplms.report.speed import SpeedRow, speed_rows
from coplms.report.tables import hidden_sentence, shown_members

_MAX_LOSS_PLOTS = 12
_DIRECTIONS = {"down": "to the device", "up": "to the server"}


def loss_section(history: RunHistory) -> Html:
    """Training loss of every member, coloured by kind of phase."""
    curves = loss_curves(history)
    if not curves:
        return element("p", "No training step was recorded.", class_="note")
    kinds = _kinds(history)
    trained = {curve.kind for found in curves.values() for curve in found}
    shown = list(curves.items())[:_MAX_LOSS_PLOTS]
    figures = [
        figure(member, loss_plot(f"loss-{place}", member, found, kinds))
        for place, (member, found) in enumerate(shown)
    ]
    hidden = len(curves) - len(shown)
    more = f" {hidden} further members are not shown; metrics.jsonl has them." if hidden else ""
    hint = (
        "Losses of one kind of phase can be compared with each other, those of different kinds "
        f"cannot. Dashed: tuning alone, whose steps count from 0 again.{more}"
    )
    return join(
        [
            legend([kind for kind in kinds if kind in trained]),
            element("div", *figures, class_="plots"),
            element("p", hint, class_="hint"),
        ]
    )


def traffic_section(history: RunHistory) -> Html:
    """Bytes by device and round."""
    rows = traffic_rows(history)
    if not rows:
        return element("p", "No message was recorded.", class_="note")
    names = ["sent once", "rounds, to the devices", "rounds, to the server"]
    members = frozenset(shown_members(history))
    shown = [found for found in rows if found.device in members]
    sums = traffic_sums(rows, "all devices") if len(shown) < len(rows) else []
    picture = figure("All rounds, by device", traffic_plot(shown))
    return join(
        [
            _traffic_text(history, rows),
            legend(names),
            element("div", picture, class_="plots"),
            _traffic_table([*sums, *shown], planned_rounds(history)),
            _hidden(history),
        ]
    )


def time_section(history: RunHistory) -> Html:
    """Time by member and kind of phase."""
    rows = time_rows(history)
    if not rows:
        return element("p", "No phase has finished yet.", class_="note")
    members = [
        member
        for member in shown_members(history)
        if any(member in found.by_member for found in rows)
    ]
    picture = figure("All phases, by member", time_plot(rows, members))
    return join(
        [
            legend([found.kind for found in rows]),
            element("div", picture, class_="plots"),
            _time_table(rows, members),
            _hidden(history),
            _speed_table(speed_rows(history)),
        ]
    )


def _hidden(history: RunHistory) -> Html:
    """A sentence where devices are left out."""
    sentence = hidden_sentence(history)
    return element("p", sentence, class_="hint") if sentence else Html()


def _kinds(history: RunHistory) -> list[str]:
    """Every kind of phase; its place is its colour, in the sections on loss and on time alike.

    Those that train come first, so that the section on loss shows the first colours.
    """
    finished = [found.kind for found in time_rows(history)]
    trained = [curve.kind for curves in loss_curves(history).values() for curve in curves]
    first = [kind for kind in finished if kind in trained]
    return list(dict.fromkeys([*first, *trained, *finished]))


def _traffic_text(history: RunHistory, rows: Sequence[TrafficRow]) -> Html:
    content = [f"{name} {size_text(size)}" for name, size in traffic_content(history).items()]
    contents = f" By content: {', '.join(content)}." if content else ""
    total, once = (sum(getattr(found, name) for found in rows) for name in ("total", "once"))
    return element(
        "p",
        f"All devices together exchanged {size_text(total)} with the server, "
        f"{size_text(once)} of it once before round 1.{contents}",
    )


def _traffic_table(rows: Sequence[TrafficRow], last: int) -> Html:
    rounds = sorted({number for found in rows for number in found.by_round if number > 0})
    names = [
        "Device",
        "Direction",
        "Once",
        *(_round_name(number, last) for number in rounds),
        "Total",
    ]
    head = element(
        "tr", *(header(name, class_="text" if name == "Direction" else "") for name in names)
    )
    body = [
        row(
            header(found.device, "row"),
            element("td", _DIRECTIONS.get(found.direction, found.direction), class_="text"),
            *(_size(found.by_round.get(number)) for number in [0, *rounds]),
            size_text(found.total),
        )
        for found in rows
    ]
    return table("Bytes by device and round", head, element("tbody", *body))


def _round_name(number: int, last: int) -> str:
    return "At the end" if 0 < last < number else f"Round {number}"


def _time_table(rows: Sequence[TimeRow], members: Sequence[str]) -> Html:
    names = [*members, "All members"]
    head = element("tr", header("Phase"), *(header(name, class_="name") for name in names))
    body = [
        row(
            header(found.kind, "row"),
            *(_time(found.by_member.get(member)) for member in members),
            _time(found.total),
        )
        for found in rows
    ]
    totals = [sum(found.by_member.get(member, 0.0) for found in rows) for member in members]
    total = element(
        "tr",
        header("All phases", "row"),
        *(_time(seconds) for seconds in [*totals, sum(found.total for found in rows)]),
        class_="total",
    )
    return table("Time by member and kind of phase", head, element("tbody", *body, total))


def _speed_table(rows: Sequence[SpeedRow]) -> Html:
    """Tokens of a second and padding; nothing where no speed was logged."""
    if not rows:
        return Html()
    names = ["Phase", "Tokens/s", "Answer tokens/s", "Padding"]
    body = [
        row(
            header(found.kind, "row"),
            _count(found.tokens),
            _count(found.answer_tokens),
            DASH if found.padding is None else f"{100 * found.padding:.0f} %",
        )
        for found in rows
    ]
    hint = (
        "Tokens are those that the models read, of both models where two learn from each other; "
        "answer tokens those that the loss counts. Padding is in neither."
    )
    found = table(
        "Training speed, mean of all members",
        element("tr", *(header(name) for name in names)),
        element("tbody", *body),
    )
    return join([found, element("p", hint, class_="hint")])


def _count(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"


def _size(num_bytes: int | None) -> str:
    return DASH if num_bytes is None else size_text(num_bytes)


def _time(seconds: float | None) -> Html:
    return element("td", DASH if seconds is None else time_text(seconds))
