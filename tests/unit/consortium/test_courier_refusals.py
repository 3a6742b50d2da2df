"""`coplms.consortium.courier`: what it was not sent as agreed never reaches the mean."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from coplms.consortium.aggregate import weighted_mean
from coplms.consortium.messages import write_report, write_upload
from coplms.consortium.report import DeviceReport, Sizes
from coplms.errors import QuorumError
from coplms.transport.feedback import Sender
from coplms.transport.ledger import read_ledger
from coplms.transport.link import FailureCode, Reply
from coplms.transport.packing import Form, Layout, layout_of, pack

INVALID = FailureCode.INVALID.sentence
REPORT = DeviceReport(sizes=Sizes(train=1000, dev=0, test=0))
FAR = 1e6


def poisoned(office: Any, **changes: Any) -> bytes:
    """An upload of law that would ruin the mean, as agreed but for the changes."""
    layout: Layout = office.layout
    values = {name: value + FAR for name, value in office.initial.items()}
    fields: dict[str, Any] = {
        "run": office.terms.run,
        "number": 1,
        "device": "law",
        "packed": Sender("x", layout).pack(values, office.initial),
        "report": REPORT,
        "layout": layout,
    }
    fields |= changes
    return write_upload(*fields.values())


def damaged(office: Any) -> bytes:
    packed = Sender("x", office.layout).pack(office.initial, office.initial)
    packed[-4:] = torch.tensor([0, 0, 0xC0, 0x7F], dtype=torch.uint8)  # a NaN
    return poisoned(office, packed=packed)


def of_other_size(office: Any) -> bytes:
    values = {"w": torch.zeros(4), "b": torch.tensor(0.0)}
    layout = layout_of(values, "lossless")
    return poisoned(office, packed=pack(values, layout), layout=layout)


REFUSED: dict[str, Callable[[Any], bytes]] = {
    "NaN": damaged,
    "other size": of_other_size,
    "other round": lambda office: poisoned(office, number=2),
    "round 0": lambda office: poisoned(office, number=0),
    "other run": lambda office: poisoned(office, run="f" * 32),
    "other name": lambda office: poisoned(office, device="bank"),
    "other report": lambda office: poisoned(
        office,
        report=REPORT.model_copy(update={"sizes": Sizes.model_construct(train=0, dev=0, test=0)}),
    ),
    "huge weight": lambda office: poisoned(
        office,
        report=REPORT.model_copy(
            update={"sizes": Sizes.model_construct(train=10**400, dev=0, test=0)}
        ),
    ),
    "no weights": lambda office: write_report("ready", office.terms.run, 1, "law", REPORT),
    "no message": lambda _: b"GET / HTTP/1.1\r\n\r\n",
    "nothing": lambda _: b"",
    "cut": lambda office: poisoned(office)[:-1],
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refused_upload_is_noticed_and_not_in_the_mean(what: str, office: Any) -> None:
    office.rules = replace(office.rules, quorum=0.5)
    courier = office.courier()
    courier.greet()
    bad = REFUSED[what](office)
    office.link.spoil = lambda device, _, data: [Reply(device, bad if device == "law" else data)]
    uploads = courier.exchange(office.download(1))
    assert [upload.device for upload in uploads] == ["bank", "tax"]
    assert weighted_mean(uploads)["w"].tolist() == [3.0, 4.0, 5.0]
    assert office.failed() == [("law", INVALID)]
    last = [entry for entry in read_ledger(office.folder / "ledger.jsonl") if entry.device == "law"]
    assert (last[-1].direction, last[-1].bytes) == ("up", len(bad))


def test_a_poisoned_upload_that_is_as_agreed_would_be_in_the_mean(office: Any) -> None:
    office.link.spoil = lambda device, kind, data: [
        Reply(device, poisoned(office) if (device, kind) == ("law", "download") else data)
    ]
    uploads = office.courier().exchange(office.download(1))
    assert weighted_mean(uploads)["w"][0] > FAR / 2
    assert office.failed() == []


@pytest.mark.parametrize("form", ["lossless", "bfloat16", "int8"])
def test_a_refused_upload_misses_the_quorum_in_every_form(
    form: Form, office: Any, make_layout: Callable[[Form], Layout]
) -> None:
    office.travel_in(make_layout(form))
    packed = Sender("x", office.layout).pack(office.initial, office.initial)
    nan = {"lossless": [0, 0, 0xC0, 0x7F], "bfloat16": [0xC0, 0x7F], "int8": [0, 0, 0xC0, 0x7F]}
    packed[: len(nan[form])] = torch.tensor(nan[form], dtype=torch.uint8)
    bad = poisoned(office, packed=packed)
    courier = office.courier()
    courier.greet()
    office.link.spoil = lambda device, _, data: [Reply(device, bad if device == "law" else data)]
    with pytest.raises(QuorumError):
        courier.exchange(office.download(1))
    office.link.spoil = lambda device, _, data: [Reply(device, data)]
    assert weighted_mean(courier.exchange(office.download(1)))["w"].tolist() == [3.0, 4.0, 5.0]


def test_a_devices_second_answer_is_dropped(office: Any) -> None:
    courier = office.courier()
    courier.greet()
    office.link.spoil = lambda device, _, data: [
        Reply(device, data),
        *([Reply("law", poisoned(office))] if device == "law" else []),
    ]
    uploads = courier.exchange(office.download(1))
    assert weighted_mean(uploads)["w"].tolist() == [3.0, 4.0, 5.0]
    assert [upload.num_examples for upload in uploads] == [1, 3, 4]
    assert office.failed() == [("law", INVALID)]


@pytest.mark.parametrize("is_known", [True, False])
def test_an_answer_of_a_device_that_was_not_asked_is_dropped(is_known: bool, office: Any) -> None:
    office.rules = replace(office.rules, participation=0.34)
    drawn = office.rules.chosen(list(office.devices), 1)
    known = next(name for name in office.devices if name not in drawn)
    stranger = known if is_known else "nobody"
    courier = office.courier()
    courier.greet()
    bad = poisoned(office, device=stranger)
    office.link.spoil = lambda device, _, data: [Reply(device, data), Reply(stranger, bad)]
    uploads = courier.exchange(office.download(1))
    assert [upload.device for upload in uploads] == drawn
    assert office.failed() == [(stranger, INVALID)]


def spoiled_report(kind: str, number: int) -> Callable[[Any], bytes]:
    def make(office: Any) -> bytes:
        return write_report(kind, office.terms.run, number, "law", REPORT)  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize(
    "bad", [spoiled_report("finished", 0), spoiled_report("ready", 1), lambda _: b"hello"]
)
def test_a_refused_first_contact_is_none(bad: Callable[[Any], bytes], office: Any) -> None:
    office.rules = replace(office.rules, quorum=0.5)
    data_of_law = bad(office)
    office.link.spoil = lambda device, _, data: [
        Reply(device, data_of_law if device == "law" else data)
    ]
    courier = office.courier()
    assert list(courier.greet()) == ["bank", "tax"]
    assert office.failed() == [("law", INVALID)]
    office.link.spoil = lambda device, _, data: [Reply(device, data)]
    office.asked()
    courier.exchange(office.download(1))
    assert office.asked()["law"] == ["welcome 0", "download 1"]


def test_a_logged_refusal_says_why(office: Any, caplog: pytest.LogCaptureFixture) -> None:
    office.rules = replace(office.rules, quorum=0.5)
    bad = damaged(office)
    office.link.spoil = lambda device, kind, data: [
        Reply(device, bad if (device, kind) == ("law", "download") else data)
    ]
    office.courier().exchange(office.download(1))
    assert "round 1, law: values of 'w' are not finite" in caplog.text


def tensor_of(office: Any) -> Tensor:
    values: Tensor = office.initial["w"]
    return values


def test_the_servers_own_values_stay_as_they_were(office: Any) -> None:
    before = tensor_of(office).clone()
    office.courier().exchange(office.download(1))
    assert torch.equal(tensor_of(office), before)
