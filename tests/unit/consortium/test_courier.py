"""`coplms.consortium.courier`: who is asked what, when, and how often."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from coplms.consortium.aggregate import weighted_mean
from coplms.consortium.journal import Label
from coplms.consortium.messages import write_failure
from coplms.errors import QuorumError
from coplms.transport.codec import peek
from coplms.transport.link import DeviceFailure, FailureCode, Reply

NAMES = ["bank", "law", "tax"]
REPLIES = Label(1, "server", "replies")


def only(number: int, *kinds: str) -> dict[str, list[str]]:
    return {name: [f"{kind} {number}" for kind in kinds] for name in NAMES}


def test_a_round_brings_every_devices_upload(office: Any) -> None:
    courier = office.courier()
    assert list(courier.greet()) == NAMES
    uploads = courier.exchange(office.download(1))
    assert [(each.device, each.num_examples) for each in uploads] == [
        ("bank", 1),
        ("law", 3),
        ("tax", 4),
    ]
    assert weighted_mean(uploads)["w"].tolist() == [3.0, 4.0, 5.0]
    assert office.asked() == {name: ["welcome 0", "download 1"] for name in NAMES}
    assert [(n.round_number, n.device, n.what) for n in office.notices] == [
        *((0, name, "ready") for name in NAMES),
        *((1, name, "upload") for name in NAMES),
    ]
    assert all(n.num_bytes > 0 and n.report is not None for n in office.notices)
    small = 2 * 2**20
    assert office.link.limits == [("welcome", 11.0, small), ("download", 22.0, small + 16)]


def test_what_devices_report_is_in_the_servers_journal(office: Any) -> None:
    office.courier().exchange(office.download(1))
    (row,) = [row for row in office.journal.rows if row["kind"] == "replies"]
    assert [each["sizes"]["train"] for each in row["result"]["reports"]] == [1, 3, 4]
    assert (row["result"]["num_devices"], row["result"]["num_asked"]) == (3, 3)


def test_a_device_that_joins_late_is_greeted_before_its_first_round(office: Any) -> None:
    office.rules = replace(office.rules, quorum=0.5)
    absent = {"tax"}

    def spoil(device: str, _: str, data: bytes) -> list[Reply]:
        if device in absent:
            return [Reply(device, DeviceFailure(device, FailureCode.ABSENT))]
        return [Reply(device, data)]

    office.link.spoil = spoil
    courier = office.courier()
    assert list(courier.greet()) == ["bank", "law"]
    assert len(courier.exchange(office.download(1))) == 2
    assert office.asked()["tax"] == ["welcome 0", "welcome 0"]
    absent.clear()
    assert len(courier.exchange(office.download(2))) == 3
    assert office.asked() == {
        "bank": ["download 2"],
        "law": ["download 2"],
        "tax": ["welcome 0", "download 2"],
    }


def test_a_device_that_was_never_there_is_not_waited_for(office: Any) -> None:
    office.rules = replace(office.rules, quorum=0.5)
    office.link.away = {"law"}
    office.link.spoil = lambda device, _, data: [
        Reply(device, DeviceFailure(device, FailureCode.ABSENT) if device == "law" else data)
    ]
    courier = office.courier()
    courier.greet()
    office.asked()
    office.notices.clear()
    assert len(courier.exchange(office.download(1))) == 2
    assert office.asked()["law"] == []
    assert office.failed() == [("law", FailureCode.ABSENT.sentence)]


def test_a_device_that_forgot_the_run_is_greeted_again_next_time(office: Any) -> None:
    office.rules = replace(office.rules, quorum=0.5)
    courier = office.courier()
    courier.greet()
    office.devices["law"].run = None
    assert len(courier.exchange(office.download(1))) == 2
    assert office.failed() == [("law", FailureCode.UNKNOWN.sentence)]
    office.asked()
    assert len(courier.exchange(office.download(2))) == 3
    assert office.asked()["law"] == ["welcome 0", "download 2"]


@pytest.mark.parametrize("code", [code for code in FailureCode if code != FailureCode.UNKNOWN])
def test_another_failure_does_not_make_a_stranger_of_a_device(
    code: FailureCode, office: Any
) -> None:
    office.rules = replace(office.rules, quorum=0.5)
    courier = office.courier()
    courier.greet()
    office.link.spoil = lambda device, _, data: [
        Reply(device, write_failure(1, device, code) if device == "law" else data)
    ]
    assert len(courier.exchange(office.download(1))) == 2
    assert office.failed() == [("law", code.sentence)]
    office.link.spoil = lambda device, _, data: [Reply(device, data)]
    office.asked()
    assert len(courier.exchange(office.download(2))) == 3
    assert office.asked()["law"] == ["download 2"]


def test_first_contact_needs_a_quorum(office: Any) -> None:
    office.link.spoil = lambda device, _, data: [
        Reply(device, DeviceFailure(device, FailureCode.ABSENT) if device == "law" else data)
    ]
    with pytest.raises(QuorumError, match=r"first contact: 2 of 3 devices answered, .* asks for 3"):
        office.courier().greet()
    office.rules = replace(office.rules, quorum=0.66)
    assert list(office.courier().greet()) == ["bank", "tax"]


def test_a_round_that_missed_its_quorum_goes_on_with_the_missing_devices(office: Any) -> None:
    courier = office.courier()
    courier.greet()
    office.link.spoil = lambda device, _, data: [
        Reply(device, DeviceFailure(device, FailureCode.LATE) if device == "law" else data)
    ]
    with pytest.raises(QuorumError, match=r"round 1: 2 of 3 devices answered, .* asks for 3"):
        courier.exchange(office.download(1))
    assert not office.journal.is_done(REPLIES)
    office.link.spoil = lambda device, _, data: [Reply(device, data)]
    office.asked()
    again = office.courier()
    again.greet()
    uploads = again.exchange(office.download(1))
    assert office.asked() == {
        "bank": ["welcome 0"],
        "law": ["welcome 0", "download 1"],
        "tax": ["welcome 0"],
    }
    assert weighted_mean(uploads)["w"].tolist() == [3.0, 4.0, 5.0]
    assert office.journal.is_done(REPLIES)


def test_a_round_whose_collection_has_ended_asks_nobody(office: Any) -> None:
    office.rules = replace(office.rules, quorum=0.5)
    courier = office.courier()
    office.link.spoil = lambda device, kind, data: [
        Reply(
            device,
            DeviceFailure(device, FailureCode.LATE)
            if (device, kind) == ("law", "download")
            else data,
        )
    ]
    first = weighted_mean(courier.exchange(office.download(1)))
    office.link.spoil = lambda device, _, data: [Reply(device, data)]
    office.asked()
    again = office.courier()
    uploads = again.exchange(office.download(1))
    assert [each.device for each in uploads] == ["bank", "tax"]
    assert torch.equal(weighted_mean(uploads)["w"], first["w"])
    assert office.asked() == {name: [] for name in NAMES}
    again.close_round(1)
    assert not (office.folder / "inbox" / "round-1").exists()


def test_a_download_is_packed_once_and_the_same_after_a_restart(office: Any) -> None:
    courier = office.courier()
    first = weighted_mean(courier.exchange(office.download(1)))
    again = office.courier()
    other = replace(office.download(1), shared={k: v + 50 for k, v in office.initial.items()})
    assert torch.equal(weighted_mean(again.exchange(other))["w"], first["w"])


def test_only_drawn_devices_are_asked_and_a_restart_draws_the_same(office: Any) -> None:
    office.rules = replace(office.rules, participation=0.34)
    drawn = []
    for _ in range(2):
        courier = office.courier()
        courier.greet()
        for number in range(1, 8):
            office.asked()
            courier.exchange(office.download(number))
            asked = {name for name, kinds in office.asked().items() if kinds}
            if asked:
                drawn.append(asked)
    assert all(len(each) == 1 for each in drawn)
    assert len(drawn) == 7  # the second process found all rounds collected
    assert set().union(*drawn) == set(NAMES)
    assert [office.rules.chosen(NAMES, n) for n in range(1, 8)] == [list(each) for each in drawn]


def test_the_end_is_told_once_with_who_is_scored(office: Any) -> None:
    office.scored = frozenset({"law"})
    courier = office.courier()
    courier.greet()
    courier.finish(office.download(3))
    courier.finish(office.download(3))
    office.courier().finish(office.download(3))
    assert office.asked() == {name: ["welcome 0", "finish 3"] for name in NAMES}
    assert {name: device.scored for name, device in office.devices.items()} == {
        "bank": [False],
        "law": [True],
        "tax": [False],
    }
    assert [(kind, seconds) for kind, seconds, _ in office.link.limits] == [
        *(("welcome", 11.0), ("finish", 33.0), ("finish", 33.0))
    ]
    (row,) = [row for row in office.journal.rows if row["kind"] == "replies"]
    assert [each["sizes"]["train"] for each in row["result"]["reports"]] == [1, 3, 4]


def test_the_end_needs_a_quorum_too(office: Any) -> None:
    courier = office.courier()
    courier.greet()
    office.link.spoil = lambda device, _, data: [
        Reply(device, write_failure(3, device, FailureCode.DISK) if device == "law" else data)
    ]
    with pytest.raises(QuorumError, match="the end: 2 of 3 devices answered"):
        courier.finish(office.download(3))
    office.link.spoil = lambda device, _, data: [Reply(device, data)]
    courier.finish(office.download(3))
    assert office.journal.is_done(Label(3, "server", "replies"))


class Tracked(bytes):
    """Bytes that are counted while anyone holds them."""

    alive = 0

    def __new__(cls, data: bytes) -> "Tracked":
        cls.alive += 1
        return super().__new__(cls, data)

    def __del__(self) -> None:
        Tracked.alive -= 1


def test_one_upload_is_held_at_a_time(office: Any) -> None:
    asked = []

    class OneByOne:
        def present(self) -> frozenset[str]:
            return frozenset(NAMES)

        def offer(self, blobs: Mapping[str, Path]) -> None: ...

        def exchange(
            self, message: bytes, devices: Sequence[str], seconds: float, max_bytes: int
        ) -> Iterator[Reply]:
            for device in devices:
                assert Tracked.alive == 0, "the last reply is held"
                asked.append(device)
                answer = office.devices[device](message)
                is_upload = peek(message).kind == "download"
                yield Reply(device, Tracked(answer) if is_upload else answer)

        def fetched(self, device: str) -> Mapping[str, int]:
            return {}

        def wire_bytes(self, device: str) -> tuple[int, int] | None:
            return None

    courier = office.courier(OneByOne())
    courier.greet()
    uploads = courier.exchange(office.download(1))
    assert Tracked.alive == 0
    assert len(uploads) == len(NAMES)
    assert asked == NAMES * 2
