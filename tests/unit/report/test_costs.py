"""Bytes and seconds add up."""

from collections.abc import Callable

import pytest

from coplms.consortium.record import Json, RunHistory
from coplms.report.costs import size_text, time_rows, time_text, traffic_content, traffic_rows

History = Callable[..., RunHistory]


def message(round_number: int, device: str, direction: str, **content: int) -> Json:
    size = sum(content.values())
    return {
        "round": round_number,
        "device": device,
        "direction": direction,
        "bytes": size,
        "content": content,
    }


def test_messages_of_one_round_add_up(history: History) -> None:
    ledger = [
        message(1, "bank", "up", shared=5),
        message(0, "bank", "down", base=100, transfer=20),
        message(1, "bank", "down", shared=3),
        message(1, "bank", "down", shared=4),
    ]
    down, up = traffic_rows(history(ledger=ledger))
    assert (down.device, down.direction, down.by_round) == ("bank", "down", {0: 120, 1: 7})
    assert (down.once, down.in_rounds, down.total) == (120, 7, 127)
    assert (up.direction, up.by_round, up.once) == ("up", {1: 5}, 0)


def test_content_is_told_largest_first(history: History) -> None:
    ledger = [message(1, "bank", "up", shared=5), message(0, "bank", "down", base=9, shared=1)]
    assert traffic_content(history(ledger=ledger)) == {"base": 9, "shared": 6}


def test_seconds_add_up_by_kind_and_member(history: History) -> None:
    phases = [
        {"phase": "distill", "member": "server", "kind": "distill", "seconds": 2.0},
        {"phase": "round-1/bank/dst", "member": "bank", "kind": "dst", "seconds": 1.0},
        {"phase": "round-2/bank/dst", "member": "bank", "kind": "dst", "seconds": 0.5},
        {"phase": "round-2/law/dst", "member": "law", "kind": "dst", "seconds": 4.0},
    ]
    distill, dst = time_rows(history(phases=phases))
    assert (distill.kind, distill.by_member) == ("distill", {"server": 2.0})
    assert (dst.by_member, dst.total) == ({"bank": 1.5, "law": 4.0}, 5.5)


def test_scoring_is_one_kind_and_what_took_no_time_is_left_out(history: History) -> None:
    phases = [
        {"member": "server", "kind": "evaluate-dpm", "seconds": 2.0},
        {"member": "server", "kind": "alone-evaluate", "seconds": 1.0},
        {"member": "server", "kind": "end", "seconds": 0.001},
    ]
    (row,) = time_rows(history(phases=phases))
    assert (row.kind, row.by_member) == ("evaluate", {"server": 3.0})


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (2.5e12, "2.5 TB")],
)
def test_sizes_have_a_fitting_unit(num_bytes: float, text: str) -> None:
    assert size_text(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 0 s"),
        (3599.7, "1 h 0 min"),
        (7260, "2 h 1 min"),
    ],
)
def test_times_have_two_fitting_units(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
