"""`coplms.api.recorder`: what devices report is recorded with the server's phase, and told once."""

import json
from pathlib import Path
from typing import Any

import pytest

from coplms.api.recorder import DeviceRecorder, Recorder
from coplms.consortium.journal import Journal, Label, Result
from coplms.consortium.record import RunRecord

SCORE = {
    **{"when": "after", "member": "bank", "model": "slm", "scope": "all"},
    **{"num_examples": 3, "rougeL": 50.0, "exact_match": 25.0, "by_domain": {}},
}


class Witness:
    def __init__(self) -> None:
        self.finished: list[tuple[str, bool]] = []

    def phase_started(self, name: str) -> None: ...

    def phase_logged(self, name: str, row: dict[str, float]) -> None: ...

    def phase_finished(self, row: Result, *, again: bool) -> None:
        assert {"phase", "round", "member", "kind", "seconds", "result"} <= row.keys()
        self.finished.append((row["phase"], again))


def reported(kind: str) -> dict[str, Any]:
    row = {"phase": f"round-1/bank/{kind}", "round": 1, "member": "bank", "kind": kind}
    return {**row, "seconds": 1.5, "metrics": {"loss": 0.5}}


@pytest.fixture
def witness() -> Witness:
    return Witness()


def start(folder: Path, witness: Witness) -> tuple[Recorder, Journal]:
    record = RunRecord(folder)
    for name in ("phases", "evaluation"):
        record.write_text(f"{name}.jsonl", "")
    recorder = Recorder(record, witness)
    return recorder, Journal(folder / "checkpoints", 0, recorder)


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def collect(journal: Journal) -> None:
    report = {"sizes": {}, "phases": [reported("dst"), reported("saml")], "scores": [SCORE]}
    label = Label(1, "server", "replies")
    journal.phase(label, lambda _: {"num_devices": 1, "reports": [report]})


def test_a_devices_phases_and_scores_are_recorded_before_the_phase_that_collected_them(
    tmp_path: Path, witness: Witness
) -> None:
    _, journal = start(tmp_path, witness)
    collect(journal)
    found = rows(tmp_path, "phases")
    assert found[:2] == [reported("dst"), reported("saml")]
    assert (found[2]["phase"], found[2]["metrics"]) == (
        "round-1/server/replies",
        {"num_devices": 1},
    )
    assert len(found) == 3
    assert rows(tmp_path, "evaluation") == [SCORE]
    assert witness.finished == [
        ("round-1/bank/dst", False),
        ("round-1/bank/saml", False),
        ("round-1/server/replies", False),
    ]


def test_a_simulated_devices_phase_is_told_when_it_ends_and_recorded_when_it_is_reported(
    tmp_path: Path, witness: Witness
) -> None:
    recorder, journal = start(tmp_path, witness)
    device = Journal(tmp_path / "devices/bank/checkpoints", 0, DeviceRecorder(recorder))
    device.phase(Label(1, "bank", "dst"), lambda _: {"loss": 0.5})
    assert witness.finished == [("round-1/bank/dst", False)]
    assert rows(tmp_path, "phases") == []
    Journal(tmp_path / "devices/bank/checkpoints", 0, DeviceRecorder(recorder))
    collect(journal)
    assert [name for name, _ in witness.finished] == [
        "round-1/bank/dst",
        "round-1/bank/saml",
        "round-1/server/replies",
    ]
    assert [row["phase"] for row in rows(tmp_path, "phases")].count("round-1/bank/dst") == 1


def test_a_restarted_server_records_the_same(tmp_path: Path, witness: Witness) -> None:
    _, journal = start(tmp_path, witness)
    collect(journal)
    before = rows(tmp_path, "phases"), rows(tmp_path, "evaluation")
    later = Witness()
    start(tmp_path, later)
    assert (rows(tmp_path, "phases"), rows(tmp_path, "evaluation")) == before
    assert later.finished == [(name, True) for name, _ in witness.finished]
