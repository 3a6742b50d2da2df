"""A run's folder is readable whatever happened to the process that wrote it."""

import json
import math
from pathlib import Path

import pytest

from coplms.consortium.record import RunRecord, read_history
from coplms.errors import RunError


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    record = RunRecord(tmp_path / "run")
    record.write_text("config.yaml", "name: tiny\n")
    return record


def test_what_is_written_is_read_back(record: RunRecord) -> None:
    record.append("metrics", {"phase": "distill", "step": 1, "loss": 2.5})
    record.append("phases", {"phase": "distill", "seconds": 1.0})
    record.append("evaluation", {"when": "before", "rougeL": 10.0})
    record.write_json("environment.json", {"seed": 0})
    record.write_json("data.json", {"transfer": 3})
    record.write_text("ledger.jsonl", '{"round": 0, "bytes": 9}\n')

    history = read_history(record.folder)

    assert history.config == {"name": "tiny"}
    assert history.environment == {"seed": 0}
    assert history.data == {"transfer": 3}
    assert history.metrics == [{"phase": "distill", "step": 1, "loss": 2.5}]
    assert history.phases == [{"phase": "distill", "seconds": 1.0}]
    assert history.evaluations == [{"when": "before", "rougeL": 10.0}]
    assert history.ledger == [{"round": 0, "bytes": 9}]


def test_a_run_that_has_just_begun_is_empty(record: RunRecord) -> None:
    history = read_history(record.folder)
    assert history.metrics == []
    assert history.environment == {}


def test_text_of_any_script_survives(record: RunRecord) -> None:
    record.append("phases", {"phase": "é漢\n🙂"})
    assert read_history(record.folder).phases == [{"phase": "é漢\n🙂"}]


def test_a_line_that_was_cut_short_is_ignored(record: RunRecord) -> None:
    path = record.folder / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_history(record.folder).metrics == [{"step": 1}]


def test_a_row_after_a_cut_line_stands_on_a_line_of_its_own(record: RunRecord) -> None:
    path = record.folder / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    record.append("metrics", {"step": 2})
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_file_of_nothing_but_a_cut_line_starts_anew(record: RunRecord) -> None:
    path = record.folder / "metrics.jsonl"
    path.write_text('{"st')
    record.append("metrics", {"step": 1})
    assert path.read_text() == '{"step": 1}\n'


def test_numbers_that_json_does_not_know_become_null(record: RunRecord) -> None:
    record.append("metrics", {"loss": math.nan, "all": [math.inf, 1.0]})
    record.write_json("data.json", {"x": (-math.inf,)})
    assert (record.folder / "metrics.jsonl").read_text() == '{"loss": null, "all": [null, 1.0]}\n'
    assert json.loads((record.folder / "data.json").read_text()) == {"x": [None]}


def test_a_resumed_run_forgets_rows_of_unfinished_phases(record: RunRecord) -> None:
    for phase in ("distill", "round-1/bank/dst"):
        record.append("metrics", {"phase": phase, "step": 1})
        record.append("phases", {"phase": phase})
    with (record.folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"phase": "dis')

    record.forget_unfinished({"distill"})

    assert (record.folder / "metrics.jsonl").read_text() == '{"phase": "distill", "step": 1}\n'
    assert (record.folder / "phases.jsonl").read_text() == '{"phase": "distill"}\n'


def test_forgetting_in_a_new_run_makes_no_files(record: RunRecord) -> None:
    record.forget_unfinished(())
    assert [path.name for path in record.folder.iterdir()] == ["config.yaml"]


def test_a_file_is_replaced_and_leaves_no_temporary_one(record: RunRecord) -> None:
    path = record.write_text("report.html", "first")
    assert record.write_text("report.html", "second") == path
    assert path.read_text() == "second"
    assert sorted(found.name for found in record.folder.iterdir()) == ["config.yaml", "report.html"]


def test_a_write_that_fails_keeps_the_old_file(record: RunRecord) -> None:
    record.write_text("report.html", "first")
    with pytest.raises(UnicodeEncodeError):
        record.write_text("report.html", "\ud800")
    assert (record.folder / "report.html").read_text() == "first"
    assert sorted(found.name for found in record.folder.iterdir()) == ["config.yaml", "report.html"]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no such folder.*coplms train"):
        read_history(tmp_path / "absent")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no config\.yaml"):
        read_history(tmp_path)


@pytest.mark.parametrize("line", ["{broken", "[1, 2]"])
def test_a_broken_line_is_refused_with_its_number(record: RunRecord, line: str) -> None:
    (record.folder / "phases.jsonl").write_text(f'{{"phase": "distill"}}\n{line}\n')
    with pytest.raises(RunError, match=r"phases\.jsonl:2.*Remove this line"):
        read_history(record.folder)


@pytest.mark.parametrize(
    ("name", "text"), [("config.yaml", "a: [1"), ("config.yaml", "- 1\n"), ("data.json", "{")]
)
def test_a_broken_file_is_refused_with_its_name(record: RunRecord, name: str, text: str) -> None:
    (record.folder / name).write_text(text)
    with pytest.raises(RunError, match=name):
        read_history(record.folder)
