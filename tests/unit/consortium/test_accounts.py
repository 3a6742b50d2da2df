"""`coplms.consortium.accounts`: what travelled, by what it was."""

from typing import Any

import pytest

from coplms.config.terms import Terms
from coplms.consortium.accounts import Accounts
from coplms.transport.codec import Message, encode
from coplms.transport.ledger import Ledger, LedgerEntry, read_ledger

MODEL, DEV = "a" * 64, "b" * 64
"""The digests that the terms have."""


def header_bytes(message: bytes) -> int:
    return 8 + int.from_bytes(message[:8], "little")


@pytest.fixture
def note() -> bytes:
    return encode(Message("ready", 0, "bank", {}, {"report": "{}"}))


def accounts_of(office: Any, terms: Terms) -> tuple[Accounts, Ledger]:
    ledger = Ledger()
    return Accounts(office.link, ledger, terms), ledger


def test_fetched_files_count_once_under_their_names(office: Any, terms: Terms, note: bytes) -> None:
    accounts, ledger = accounts_of(office, terms)
    office.link.files["bank"] = {MODEL: 100, DEV: 7, "c" * 64: 5}
    accounts.enter(0, "bank", (b"12345678", 0), (note, 0))
    accounts.enter(1, "bank", (b"12345678", 0), (note, 0))
    names = {"file/config.json": 100, "text/dev": 7, "file/other": 5}
    assert ledger.entries == [
        LedgerEntry(0, "bank", "down", 8 + 112, 112, {**names, "info": 8}),
        LedgerEntry(0, "bank", "up", len(note), 0, {"info": len(note)}),
        LedgerEntry(1, "bank", "down", 8, 0, {"info": 8}),
        LedgerEntry(1, "bank", "up", len(note), 0, {"info": len(note)}),
    ]


def test_a_file_that_is_fetched_in_two_goes_counts_as_much_as_it_is(
    office: Any, terms: Terms
) -> None:
    accounts, ledger = accounts_of(office, terms)
    office.link.files["bank"] = {MODEL: 60}
    accounts.enter(0, "bank", (b"12345678", 0), None)
    office.link.files["bank"] = {MODEL: 100}
    accounts.enter(0, "bank", (b"12345678", 0), None)
    assert [entry.content["file/config.json"] for entry in ledger.entries] == [60, 40]
    assert ledger.total() == 100 + 2 * 8


def test_files_count_for_those_who_fetched_them(office: Any, terms: Terms) -> None:
    accounts, ledger = accounts_of(office, terms)
    office.link.files["bank"] = {MODEL: 100}
    for device in ("bank", "law"):
        accounts.enter(0, device, (b"12345678", 0), None)
    assert [entry.bytes for entry in ledger.entries] == [108, 8]


def test_bytes_on_the_wire_are_those_since_the_devices_last_entry(
    office: Any, terms: Terms, note: bytes
) -> None:
    accounts, ledger = accounts_of(office, terms)
    for wire in ((1000, 200), (1500, 900)):
        office.link.wire["bank"] = wire
        accounts.enter(1, "bank", (b"12345678", 0), (note, 0))
    accounts.enter(1, "law", (b"12345678", 0), (note, 0))
    assert [entry.wire_bytes for entry in ledger.entries] == [1000, 200, 500, 700, None, None]


def test_weights_and_words_of_a_message_are_told_apart(office: Any) -> None:
    courier = office.courier()
    courier.greet()
    courier.exchange(office.download(1))
    courier.finish(office.download(2))
    rows = [entry for entry in read_ledger(office.folder / "ledger.jsonl") if entry.device == "law"]
    assert [(entry.round_number, entry.direction) for entry in rows] == [
        *((0, "down"), (0, "up"), (1, "down"), (1, "up"), (2, "down"), (2, "up"))
    ]
    for entry in rows:
        assert sum(entry.content.values()) == entry.bytes
    assert [entry.content.get("shared", 0) for entry in rows] == [0, 0, 16, 16, 16, 0]
    assert [entry.tensor_bytes for entry in rows] == [0, 0, 16, 16, 16, 0]


@pytest.mark.parametrize(("form", "packed"), [("bfloat16", 8), ("int8", 4 + 4)])
def test_a_lossy_message_counts_as_sent_and_tells_what_it_stands_for(
    form: str, packed: int, office: Any, make_layout: Any
) -> None:
    office.travel_in(make_layout(form))
    office.courier().exchange(office.download(1))
    rows = read_ledger(office.folder / "ledger.jsonl")
    in_round = [entry for entry in rows if entry.round_number == 1]
    assert len(in_round) == 6
    assert {(entry.content["shared"], entry.tensor_bytes) for entry in in_round} == {(packed, 16)}


def test_a_restarted_server_counts_nothing_twice(office: Any) -> None:
    for _ in range(2):
        courier = office.courier()
        courier.greet()
        courier.exchange(office.download(1))
    assert len(read_ledger(office.folder / "ledger.jsonl")) == 3 * 4


def test_a_message_without_an_answer_counts_too(office: Any, terms: Terms) -> None:
    accounts, ledger = accounts_of(office, terms)
    data = encode(Message("download", 1, "server", {}, {}))
    accounts.enter(1, "bank", (data, 16), None)
    (entry,) = ledger.entries
    assert (entry.direction, entry.bytes, entry.tensor_bytes) == ("down", len(data), 16)
    assert entry.content == {"shared": 0, "info": header_bytes(data)}
