"""`coplms.consortium.report`: numbers, and names that everyone knows; nothing else."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coplms.consortium.journal import Journal, Label, Observer
from coplms.consortium.report import (
    MAX_REPORT_BYTES,
    DeviceReport,
    Sizes,
    read_report,
    report_of,
)
from coplms.errors import ConsortiumError

SIZES = Sizes(train=5, dev=1, test=0)
SECRET = "patient 4711 has a cold"
PHASE = {
    "phase": "round-1/bank/dst",
    "round": 1,
    "member": "bank",
    "kind": "dst",
    "seconds": "00000001.250",
    "metrics": {"loss": 0.5, "gate": None},
}
DOMAIN = {"rougeL": 50.0, "exact_match": 25.0, "num_examples": 4}
SCORE = {
    **{"when": "after", "member": "bank", "model": "slm", "scope": "all"},
    **DOMAIN,
    "by_domain": {"money": DOMAIN},
}
WHOLE: dict[str, Any] = {
    "sizes": {"train": 5, "dev": 1, "test": 0},
    "phases": [PHASE],
    "scores": [SCORE],
}

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> str:
    report = json.loads(json.dumps(WHOLE))
    change(report)
    return json.dumps(report)


def test_a_report_arrives_as_it_was_sent() -> None:
    report = read_report(json.dumps(WHOLE), "bank")
    assert report.sizes == SIZES
    assert report.seconds == 1.25
    assert report.loss == 0.5
    assert read_report(report.model_dump_json(), "bank") == report


def test_equal_work_makes_reports_of_equal_length() -> None:
    def length(seconds: float) -> int:
        phase = {**PHASE, "seconds": seconds}
        report = DeviceReport.model_validate({**WHOLE, "phases": [phase]})
        return len(report.model_dump_json())

    assert length(0.001) == length(7.0) == length(12345.678)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda r: r["sizes"].update(train=SECRET), "'sizes.train'"),
        (lambda r: r["sizes"].update(train=0), "'sizes.train'"),
        (lambda r: r["sizes"].update(train=10**400), "'sizes.train'"),
        (lambda r: r["sizes"].update(dev=-1), "'sizes.dev'"),
        (lambda r: r["sizes"].update(text=SECRET), "'sizes.text'"),
        (lambda r: r.update(note=SECRET), "'note'"),
        (lambda r: r.pop("sizes"), "'sizes'"),
        (lambda r: r["phases"][0].update(note=SECRET), "'phases.0.note'"),
        (lambda r: r["phases"][0]["metrics"].update(loss=SECRET), "'phases.0.metrics.loss'"),
        (lambda r: r["phases"][0]["metrics"].update(loss=[1.0]), "'phases.0.metrics.loss'"),
        (lambda r: r["phases"][0]["metrics"].update(loss=math.nan), "'phases.0.metrics.loss'"),
        (lambda r: r["phases"][0].update(seconds=-1), "'phases.0.seconds'"),
        (lambda r: r["phases"][0].update(seconds=math.inf), "'phases.0.seconds'"),
        (lambda r: r["phases"][0].update(phase="x" * 201), "'phases.0.phase'"),
        (lambda r: r["phases"][0].update(round=-1), "'phases.0.round'"),
        (
            lambda r: r["phases"][0].update(metrics={f"m{n}": 0.0 for n in range(51)}),
            "'phases.0.metrics'",
        ),
        (lambda r: r["scores"][0].update(rougeL=101), "'scores.0.rougeL'"),
        (lambda r: r["scores"][0].update(rougeL=math.nan), "'scores.0.rougeL'"),
        (lambda r: r["scores"][0].update(when="round-0"), "'scores.0.when'"),
        (lambda r: r["scores"][0].update(model="llm"), "'scores.0.model'"),
        (lambda r: r["scores"][0].update(num_examples=0), "'scores.0.num_examples'"),
        (lambda r: r["scores"][0]["by_domain"].update(money=SECRET), "by_domain.money'"),
        (
            lambda r: r["scores"][0]["by_domain"]["money"].update(text=SECRET),
            "by_domain.money.text'",
        ),
    ],
)
def test_what_is_no_report_is_refused_and_not_repeated(change: Change, place: str) -> None:
    with pytest.raises(ConsortiumError, match="'bank' sent a report of another form") as refused:
        read_report(changed(change), "bank")
    assert place in str(refused.value)
    assert SECRET not in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("text", ["", "no json", "[]", "3", "null", "[" * 100_000, "\ud800"])
def test_what_is_not_even_an_object_is_refused(text: str) -> None:
    with pytest.raises(ConsortiumError, match="'bank' sent a report of another form"):
        read_report(text, "bank")


@pytest.mark.parametrize("rows", ["phases", "scores"])
@pytest.mark.parametrize("member", ["law", "server", "bank "])
def test_rows_of_another_member_are_refused(rows: str, member: str) -> None:
    text = changed(lambda report: report[rows][0].update(member=member))
    with pytest.raises(ConsortiumError, match=f"it speaks of '{member}'"):
        read_report(text, "bank")


def test_a_report_may_be_as_long_as_the_limit_and_no_longer() -> None:
    whole = json.dumps(WHOLE)
    fitting = whole + " " * (MAX_REPORT_BYTES - len(whole))
    assert read_report(fitting, "bank").sizes == SIZES
    with pytest.raises(ConsortiumError, match=f"another form: {MAX_REPORT_BYTES + 1} characters"):
        read_report(fitting + " ", "bank")


@pytest.fixture
def journal(tmp_path: Path, quiet: Observer) -> Journal:
    """Of two rounds and what is before them, which was done last."""
    journal = Journal(tmp_path / "checkpoints", 0, quiet)
    found = {**SCORE, "by_domain": {"money": DOMAIN, "secret project": DOMAIN}}
    journal.phase(Label(1, "bank", "dst"), lambda _: {"loss": 0.5, "num": 3})
    journal.phase(Label(2, "bank", "dst"), lambda _: {"loss": math.nan, "cost": -math.inf})
    journal.phase(Label(0, "bank", "evaluate"), lambda _: {"evaluations": [found]})
    return journal


def test_a_report_tells_of_the_asked_rounds_in_the_journals_order(journal: Journal) -> None:
    report = report_of(journal, SIZES, (0, 1), frozenset({"money"}))
    names = [row.phase for row in report.phases]
    assert names == ["round-1/bank/dst", "round-0/bank/evaluate"]
    assert report.phases[0].metrics == {"loss": 0.5, "num": 3}
    assert report.phases[1].metrics == {}
    assert report_of(journal, SIZES, (), frozenset()).phases == ()


def test_domains_that_the_server_does_not_know_are_not_told(journal: Journal) -> None:
    told = report_of(journal, SIZES, (0,), frozenset({"money", "travel"}))
    assert told.scores[0].by_domain.keys() == {"money"}
    assert told.scores[0].rougeL == 50.0
    nothing = report_of(journal, SIZES, (0,), frozenset())
    assert nothing.scores[0].by_domain == {}
    assert "secret project" not in told.model_dump_json()


def test_losses_that_are_no_numbers_are_absent(journal: Journal) -> None:
    report = report_of(journal, SIZES, (2,), frozenset())
    assert report.phases[0].metrics == {"loss": None, "cost": None}
    assert report.loss is None
    assert read_report(report.model_dump_json(), "bank") == report
