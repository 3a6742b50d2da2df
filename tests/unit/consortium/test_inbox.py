"""`coplms.consortium.inbox`: a round's uploads on disk."""

from collections.abc import Callable, Mapping
from pathlib import Path
from weakref import ReferenceType, ref

import pytest
import torch
from torch import Tensor

from coplms.consortium import inbox as inbox_module
from coplms.consortium.aggregate import weighted_mean
from coplms.consortium.inbox import Envelopes, Inbox, Uploads
from coplms.consortium.messages import write_upload
from coplms.consortium.report import DeviceReport
from coplms.errors import ConsortiumError
from coplms.transport.feedback import Sender
from coplms.transport.packing import Form, Layout, pack

MakeReport = Callable[..., DeviceReport]
Open = Callable[..., Inbox]
Write = Callable[..., bytes]


@pytest.fixture
def open_inbox(tmp_path: Path, run: str, layout: Layout, shared: dict[str, Tensor]) -> Open:
    def make(number: int = 1, form: Layout = layout) -> Inbox:
        return Inbox(tmp_path / "inbox", number, Envelopes(run, form), shared)

    return make


@pytest.fixture
def write(run: str, layout: Layout, shared: dict[str, Tensor], make_report: MakeReport) -> Write:
    def make(device: str, add: float, train: int = 5, number: int = 1) -> bytes:
        packed = pack({name: value + add for name, value in shared.items()}, layout)
        return write_upload(run, number, device, packed, make_report(device, train), layout)

    return make


def uploads_of(inbox: Inbox) -> Uploads:
    return Uploads(inbox, {name: inbox.returned(name).report.sizes.train for name in inbox.devices})


def test_what_was_put_is_read_in_alphabetical_order(open_inbox: Open, write: Write) -> None:
    inbox = open_inbox()
    for device, add in (("law", 2.0), ("bank", 1.0), ("a.b-c", 3.0)):
        inbox.put(device, write(device, add))
    assert inbox.devices == ["a.b-c", "bank", "law"]
    found = list(uploads_of(inbox))
    assert [(each.device, each.round_number, each.num_examples) for each in found] == [
        ("a.b-c", 1, 5),
        ("bank", 1, 5),
        ("law", 1, 5),
    ]
    assert [each.shared["w"].tolist() for each in found] == [
        [4.0, 5.0, 6.0],
        [2.0, 3.0, 4.0],
        [3.0, 4.0, 5.0],
    ]
    assert [each.shared["b"].tolist() for each in found] == [2.0, 0.0, 1.0]
    assert len(uploads_of(inbox)) == 3
    assert uploads_of(inbox).round_number == 1


def test_an_inbox_is_found_again_after_a_restart(open_inbox: Open, write: Write) -> None:
    open_inbox().put("bank", write("bank", 1.0))
    again = open_inbox()
    assert again.devices == ["bank"]
    assert not again.is_closed
    again.close()
    assert open_inbox().is_closed
    assert open_inbox().devices == ["bank"]


def test_rounds_have_inboxes_of_their_own(open_inbox: Open, write: Write) -> None:
    open_inbox(1).put("bank", write("bank", 1.0))
    open_inbox(1).close()
    assert open_inbox(2).devices == []
    assert not open_inbox(2).is_closed
    open_inbox(1).remove()
    assert open_inbox(1).devices == []
    assert not open_inbox(1).is_closed


def test_what_a_killed_process_had_half_written_is_removed(
    open_inbox: Open, write: Write, tmp_path: Path
) -> None:
    open_inbox().put("bank", write("bank", 1.0))
    torn = tmp_path / "inbox" / "round-1" / "law.tmp"
    torn.write_bytes(write("law", 1.0)[:50])
    assert open_inbox().devices == ["bank"]
    assert not torn.exists()


def test_a_later_message_replaces_an_earlier_one(open_inbox: Open, write: Write) -> None:
    inbox = open_inbox()
    inbox.put("bank", write("bank", 1.0))
    inbox.put("bank", write("bank", 2.0))
    (upload,) = uploads_of(inbox)
    assert upload.shared["w"].tolist() == [3.0, 4.0, 5.0]


def test_a_message_is_checked_again_when_it_is_read(open_inbox: Open, write: Write) -> None:
    inbox = open_inbox(2)
    inbox.put("bank", write("bank", 1.0, number=1))
    with pytest.raises(ConsortiumError, match="answered for round 1 in round 2"):
        inbox.read("bank")


@pytest.mark.parametrize("form", ["lossless", "bfloat16", "int8"])
def test_uploads_count_from_the_reference(
    form: Form,
    open_inbox: Open,
    make_layout: Callable[[Form], Layout],
    shared: dict[str, Tensor],
    run: str,
    make_report: MakeReport,
) -> None:
    layout = make_layout(form)
    values = {name: value + 1 for name, value in shared.items()}
    packed = Sender("bank/dpm-upload", layout).pack(values, shared)
    inbox = open_inbox(1, layout)
    inbox.put("bank", write_upload(run, 1, "bank", packed, make_report(), layout))
    (upload,) = uploads_of(inbox)
    assert upload.shared["w"].tolist() == [2.0, 3.0, 4.0]
    assert upload.shared["b"].item() == 0.0


def test_the_mean_reads_one_upload_at_a_time(
    open_inbox: Open, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = open_inbox()
    for device, add, train in (("bank", 1.0, 1), ("law", 5.0, 3), ("tax", 9.0, 4)):
        inbox.put(device, write(device, add, train))
    alive: list[ReferenceType[Tensor]] = []
    really = inbox_module.receive

    def receive(
        packed: Tensor, layout: Layout, reference: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        assert not any(each() is not None for each in alive)
        values = really(packed, layout, reference)
        alive.extend(ref(value) for value in values.values())
        return values

    monkeypatch.setattr(inbox_module, "receive", receive)
    mean = weighted_mean(uploads_of(inbox))
    add = (1.0 * 1 + 5.0 * 3 + 9.0 * 4) / 8
    assert torch.equal(mean["w"], torch.tensor([1.0, 2.0, 3.0]) + add)
    assert len(alive) == 2 * 3
