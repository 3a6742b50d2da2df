"""One page about a run that needs nothing but itself: no network, no script, no other file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from coplms.consortium.record import RunHistory, RunRecord, read_history
from coplms.report.costs import size_text, time_rows, time_text, traffic_rows
from coplms.report.curves import num_rounds, planned_rounds
from coplms.report.effort import loss_section, time_section, traffic_section
from coplms.report.markup import Html, element, header, join, row, table
from coplms.report.page import document
from coplms.report.participants import Participant, participants
from coplms.report.scores import DASH, comparison_section, domain_section, round_section
from coplms.report.tables import (
    comparison_rows,
    hidden_sentence,
    mean_difference,
    model_label,
    number,
    section,
    shown_members,
    signed,
    summary,
)

_MAX_DOMAINS = 8


def write_report(folder: Path) -> Path:
    """Path of `report.html`, written into the run's folder; equal runs give equal bytes.

    Raises:
        RunError: If the folder is no run's, or one of its files is broken.
        MissingExtraError: If matplotlib is not installed.
    """
    page = render(read_history(folder))
    return RunRecord(folder).write_text("report.html", page)


def render(history: RunHistory) -> str:
    """The whole page; parts that the run has not recorded say so.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    members = frozenset(shown_members(history))
    rows = [found for found in comparison_rows(history) if found.member in members]
    sections = [
        ("What co-tuning bought", comparison_section(rows)),
        ("Who took part", _participants_section(history)),
        ("Domain by domain", domain_section(history)),
        ("Round by round", round_section(history)),
        ("Training loss", loss_section(history)),
        ("Traffic", traffic_section(history)),
        ("Time", time_section(history)),
        ("Run it again", _repeat_section(history)),
    ]
    return document(
        f"{_title(history)}: coplms report",
        _header(history),
        element("main", *(element("section", element("h2", t), part) for t, part in sections)),
        element(
            "footer", "Written by coplms from the files beside this page. No script, no network."
        ),
    )


def _title(history: RunHistory) -> str:
    return str(history.config.get("name") or history.folder.name)


def _header(history: RunHistory) -> Html:
    devices = history.config.get("devices") or ()
    llm = section(history.config, "llm").get("model") or "an unnamed LLM"
    facts = [
        f"{_method(history)} with {llm}",
        _counted(len(devices), "device"),
        _counted(planned_rounds(history) or num_rounds(history), "round"),
    ]
    return element(
        "header",
        element("p", "coplms run report", class_="eyebrow"),
        element("h1", _title(history)),
        element("p", " \N{MIDDLE DOT} ".join(facts), class_="facts"),
        _state(history),
        element("p", summary(comparison_rows(history)), class_="lead"),
        element("dl", *_tiles(history), class_="tiles"),
        _hidden(history),
    )


def _method(history: RunHistory) -> str:
    name = str(section(history.config, "method").get("name") or "coplms")
    return "Co-PLMs" if name == "coplms" else f"The baseline {name}"


def _hidden(history: RunHistory) -> Html:
    """A note where not every device is shown."""
    sentence = hidden_sentence(history)
    if not sentence:
        return Html()
    where = " Sums, means and the sentences above are of all; the files beside this page hold each."
    return element("p", sentence + where, class_="note")


def _state(history: RunHistory) -> Html:
    """A note where the run has not come to its end."""
    if any(found.get("when") == "after" for found in history.evaluations):
        return Html()
    planned = planned_rounds(history)
    of = f" of {planned}" if planned else ""
    return element(
        "p",
        element("strong", "This run is not finished. "),
        f"It has reached round {num_rounds(history)}{of}. This page shows what it has recorded.",
        class_="note",
    )


def _tiles(history: RunHistory) -> Iterator[Html]:
    rows = comparison_rows(history)
    gains = {
        "Exact match": mean_difference(rows, lambda found: found.exact_match),
        "Rouge-L": mean_difference(rows, lambda found: found.rouge_l),
    }
    for name, gain in gains.items():
        if gain is not None:
            yield _tile(name, signed(gain), "points over tuning alone, mean of all models")
    traffic, time = traffic_rows(history), time_rows(history)
    if traffic:
        total = size_text(sum(found.total for found in traffic))
        yield _tile("Traffic", total, "all devices and rounds, both ways")
    if time:
        total = time_text(sum(found.total for found in time))
        yield _tile("Time", total, "all phases of all members")


def _tile(name: str, value: str, explanation: str) -> Html:
    return element(
        "div",
        element("dt", name),
        element("dd", value),
        element("dd", explanation, class_="small"),
    )


def _participants_section(history: RunHistory) -> Html:
    names = ["Model", "Loaded from", "Architecture", "What was tuned", "Examples", "Domains"]
    head = element("tr", *(header(name, class_="text") for name in names))
    labels = {model_label(member, "slm") for member in shown_members(history)}
    found = participants(history)
    shown = [*found[:2], *(each for each in found[2:] if each.label in labels)]
    body = element("tbody", *map(_participant_row, shown))
    transfer = number(history.data.get("transfer"))
    note = (
        f"The transfer set, public inputs without answers, holds {transfer:,.0f} examples."
        if transfer is not None
        else "No transfer set was recorded."
    )
    return join([table("Models and data", head, body), element("p", note, class_="hint")])


def _participant_row(found: Participant) -> Html:
    examples = found.num_examples or {}
    cells = (
        found.source,
        found.architecture,
        found.tuning,
        ", ".join(f"{count:,} {split}" for split, count in examples.items()),
        _listed(found.domains),
    )
    return row(
        header(found.label, "row"),
        *(element("td", cell or DASH, class_="text wrap") for cell in cells),
    )


def _repeat_section(history: RunHistory) -> Html:
    config = yaml.safe_dump(history.config, sort_keys=False, allow_unicode=True)
    facts = list(_flat(history.environment))
    environment = (
        element(
            "dl",
            *(
                element(tag, text)
                for pair in facts
                for tag, text in zip(("dt", "dd"), pair, strict=True)
            ),
            class_="terms",
        )
        if facts
        else element("p", "No environment was recorded.")
    )
    return join(
        [
            element(
                "p",
                "The configuration below is complete. Saved as ",
                element("code", "config.yaml"),
                ", it repeats this run in a new folder:",
            ),
            element("pre", element("code", _command(history)), tabindex="0"),
            element(
                "p",
                "The same numbers need the same seed, data, versions and number of threads.",
                class_="hint",
            ),
            element(
                "details",
                element("summary", "Configuration"),
                element("pre", element("code", config), tabindex="0"),
            ),
            element("details", element("summary", "Environment"), environment),
        ]
    )


def _command(history: RunHistory) -> str:
    version = str(section(history.environment, "packages").get("coplms", ""))
    pinned = f"=={version}" if re.fullmatch(r"[0-9][A-Za-z0-9.+!-]*", version) else ""
    return f"pip install 'coplms[report]{pinned}'\ncoplms train config.yaml --output again"


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(`packages.torch`, `2.13.0`) for every leaf of nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_DOMAINS])
    hidden = len(names) - _MAX_DOMAINS
    return f"{shown} and {hidden} more" if hidden > 0 else shown


def _counted(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"
