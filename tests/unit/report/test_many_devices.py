"""A report on more devices than anyone reads one by one."""

from collections.abc import Callable

from coplms.consortium.record import Json, RunHistory
from coplms.report.costs import TrafficRow, traffic_sums
from coplms.report.html import render
from coplms.report.tables import MAX_DEVICES, hidden_sentence, shown_members

MakeHistory = Callable[..., RunHistory]
NAMES = [f"phone-{number:04}" for number in range(1, 301)]


def many(history: MakeHistory) -> RunHistory:
    """300 devices that were scored, trained and sent a message each."""
    devices = [{"name": name, "slm": {"model": "mini/slm"}} for name in NAMES]
    phases: list[Json] = [
        {"phase": f"round-1/{name}/dst", "member": name, "kind": "dst", "seconds": 2.0}
        for name in NAMES
    ]
    ledger: list[Json] = [
        {"round": 1, "device": name, "direction": way, "bytes": 1000, "content": {}}
        for name in NAMES
        for way in ("down", "up")
    ]
    metrics = [{"phase": f"round-1/{name}/dst", "step": 1, "loss": 1.0} for name in NAMES]
    scores = {"exact_match": 1.0, "rougeL": 2.0, "num_examples": 3}
    evaluations: list[Json] = [
        {"when": when, "member": name, "model": "slm", "scope": "all", "by_domain": {"d": scores}}
        | scores
        for name in NAMES
        for when in ("before", "after")
    ]
    return history(
        {"devices": devices},
        phases=phases,
        metrics=metrics,
        evaluations=evaluations,
        ledger=ledger,
    )


def test_few_devices_are_all_shown(history: MakeHistory) -> None:
    devices = [{"name": name} for name in NAMES[:MAX_DEVICES]]
    few = history({"devices": devices})
    assert shown_members(few) == ["server", *NAMES[:MAX_DEVICES]]
    assert hidden_sentence(few) == ""


def test_of_many_the_first_are_shown_and_the_page_says_so(history: MakeHistory) -> None:
    run = many(history)
    page = render(run)
    sentence = f"Of 300 devices the first {MAX_DEVICES} are shown."
    assert hidden_sentence(run) == sentence
    # The header, domains, traffic and time.
    assert page.count(sentence) == 4
    body = page[: page.index("Run it again")]
    assert NAMES[MAX_DEVICES - 1] in body
    assert NAMES[MAX_DEVICES] not in body
    assert len(page) < 500_000


def test_sums_are_of_all_devices(history: MakeHistory) -> None:
    page = render(many(history))
    assert "All devices together exchanged 600.0 kB with the server" in page
    assert "all devices" in page
    assert page.count("300.0 kB") >= 2  # down and up
    assert "10 min 0 s" in page  # 300 phases of 2 seconds


def test_traffic_is_summed_by_direction_and_round() -> None:
    rows = [
        TrafficRow("a", "down", {0: 5, 1: 1}),
        TrafficRow("a", "up", {1: 2}),
        TrafficRow("b", "down", {0: 5, 2: 3}),
    ]
    assert traffic_sums(rows, "all") == [
        TrafficRow("all", "down", {0: 10, 1: 1, 2: 3}),
        TrafficRow("all", "up", {1: 2}),
    ]
