import json

import pytest

from coplms.errors import RunError
from coplms.transport.ledger import Ledger, LedgerEntry, read_ledger

ENTRIES = [
    LedgerEntry(1, "law", "down", 110, 100, {"shared": 100}),
    LedgerEntry(1, "law", "up", 120, 100, {"shared": 100}),
    LedgerEntry(2, "law", "up", 1, 1, {"shared": 1}),
    LedgerEntry(1, "finance", "up", 7, 5, {"shared": 5}),
]


def filled(ledger: Ledger, entries=ENTRIES) -> Ledger:
    for entry in entries:
        ledger.append(entry)
    return ledger


def test_totals_are_sums_over_what_matches():
    ledger = filled(Ledger())
    assert ledger.total() == 238
    assert ledger.total("up") == 128
    assert ledger.total("up", "law") == 121
    assert ledger.total("up", "law", 1) == 120
    assert ledger.total(round_number=0) == 0


def test_a_file_holds_what_was_appended(tmp_path):
    path = tmp_path / "ledger.jsonl"
    filled(Ledger(path))
    assert read_ledger(path) == ENTRIES
    assert json.loads(path.read_text().splitlines()[0]) == {
        "round": 1,
        "device": "law",
        "direction": "down",
        "bytes": 110,
        "tensor_bytes": 100,
        "content": {"shared": 100},
    }


def test_a_resumed_run_counts_what_it_sends_again_once(tmp_path):
    path = tmp_path / "ledger.jsonl"
    filled(Ledger(path), ENTRIES[:2])
    resumed = filled(Ledger(path), ENTRIES[1:])
    assert resumed.entries == ENTRIES
    assert read_ledger(path) == ENTRIES


def test_equal_messages_of_one_process_are_both_counted(tmp_path):
    ledger = filled(Ledger(tmp_path / "ledger.jsonl"), [ENTRIES[0], ENTRIES[0]])
    assert ledger.total() == 220


def test_a_line_torn_by_a_kill_is_dropped(tmp_path):
    path = tmp_path / "ledger.jsonl"
    filled(Ledger(path), ENTRIES[:2])
    path.write_bytes(path.read_bytes()[:-5])
    assert read_ledger(path) == ENTRIES[:1]
    filled(Ledger(path), ENTRIES[1:2])
    assert read_ledger(path) == ENTRIES[:2]


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "{}", '{"round": 1, "device": "a", "direction": "left", "bytes": 1}'],
)
def test_a_line_that_is_no_entry_is_named(tmp_path, line):
    path = tmp_path / "ledger.jsonl"
    filled(Ledger(path), ENTRIES[:1])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(RunError, match=r"ledger\.jsonl:2: is no"):
        read_ledger(path)


def test_an_absent_ledger_is_named(tmp_path):
    with pytest.raises(RunError, match="cannot be read"):
        read_ledger(tmp_path / "ledger.jsonl")
