"""`coplms.consortium.messages`: each kind arrives as it was sent, and only where it belongs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from coplms.config.terms import Terms
from coplms.consortium.messages import (
    SMALL,
    Asked,
    Order,
    Told,
    read_failure,
    read_order,
    read_told,
    read_upload,
    read_welcome,
    write_failure,
    write_order,
    write_report,
    write_upload,
    write_welcome,
)
from coplms.consortium.report import DeviceReport
from coplms.errors import ConsortiumError
from coplms.transport.codec import Message, encode, peek
from coplms.transport.link import FailureCode
from coplms.transport.packing import Layout, layout_of, pack

MakeReport = Callable[..., DeviceReport]


@pytest.fixture
def packed(shared: dict[str, Tensor], layout: Layout) -> Tensor:
    return pack(shared, layout)


@pytest.fixture
def upload(run: str, packed: Tensor, layout: Layout, make_report: MakeReport) -> bytes:
    """Of bank, in round 2."""
    return write_upload(run, 2, "bank", packed, make_report(), layout)


def upload_fields(run: str, layout: Layout, report: DeviceReport) -> dict[str, str]:
    return {"run": run, "layout": layout.digest, "report": report.model_dump_json()}


def test_a_welcome_arrives_as_it_was_sent(terms: Terms) -> None:
    data = write_welcome(terms)
    assert read_welcome(data) == terms
    envelope = peek(data)
    assert (envelope.kind, envelope.round_number, envelope.sender) == ("welcome", 0, "server")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"run": "short"}, "'run'"),
        ({"files": {"../../.ssh/authorized_keys": {"sha256": "a" * 64, "size": 1}}}, "'files"),
        ({"files": {"pytorch_model.bin": {"sha256": "a" * 64, "size": 1}}}, "'files"),
        ({"files": {"modeling_x.py": {"sha256": "a" * 64, "size": 1}}}, "'files"),
        ({"files": {"config.json": {"sha256": "../x", "size": 1}}}, "'files.config.json.sha256'"),
        ({"files": {"config.json": {"sha256": "a" * 64, "size": -1}}}, "'files.config.json.size'"),
        ({"texts": {"secret": {"sha256": "a" * 64, "size": 1}}}, "'texts"),
        ({"path": "/etc/passwd"}, "'path'"),
    ],
)
def test_terms_of_another_form_are_refused(
    terms: Terms, change: dict[str, Any], place: str
) -> None:
    text = Terms.model_construct(**{**terms.model_dump(), **change}).model_dump_json(warnings=False)
    if "path" in change:
        text = text[:-1] + ', "path": "/etc/passwd"}'
    data = encode(Message("welcome", 0, "server", {}, {"terms": text}))
    with pytest.raises(ConsortiumError, match="the server's terms have another form") as refused:
        read_welcome(data)
    assert place in str(refused.value)


def test_a_welcome_that_is_too_long_or_holds_more_is_refused(terms: Terms) -> None:
    text = terms.model_dump_json()
    for info in ({"terms": text, "more": "x"}, {}, {"more": text}):
        with pytest.raises(ConsortiumError, match="with info"):
            read_welcome(encode(Message("welcome", 0, "server", {}, info)))
    more = encode(Message("welcome", 0, "server", {"w": torch.zeros(1)}, {"terms": text}))
    with pytest.raises(ConsortiumError, match="with the unknown 'w'"):
        read_welcome(more)
    with pytest.raises(ConsortiumError, match=f"has at most {SMALL}"):
        read_welcome(write_welcome(terms) + bytes(SMALL))


@pytest.mark.parametrize("kind", ["download", "finish"])
@pytest.mark.parametrize("score", [True, False])
def test_an_order_arrives_as_it_was_sent(
    kind: Asked, score: bool, run: str, packed: Tensor, layout: Layout
) -> None:
    found = read_order(write_order(Order(kind, run, 3, packed, score), layout), kind, run, layout)
    assert torch.equal(found.packed, packed)
    assert replace(found, packed=packed) == Order(kind, run, 3, packed, score)


def test_an_order_holds_one_array_and_three_words(run: str, packed: Tensor, layout: Layout) -> None:
    data = write_order(Order("download", run, 3, packed, False), layout)
    assert len(data) < layout.packed_bytes + 400
    assert data.endswith(packed.numpy().tobytes())


@pytest.fixture
def other_layout() -> Layout:
    """Of as many bytes."""
    return layout_of({"w": torch.zeros(3), "c": torch.tensor(0.0)}, "lossless")


def test_an_order_of_another_run_kind_or_dpm_is_refused(
    run: str, other_run: str, packed: Tensor, layout: Layout, other_layout: Layout
) -> None:
    data = write_order(Order("download", run, 3, packed, False), layout)
    with pytest.raises(ConsortiumError, match="'server' sent a message of another run"):
        read_order(data, "download", other_run, layout)
    with pytest.raises(ConsortiumError, match="'download' where 'finish' was due"):
        read_order(data, "finish", run, layout)
    assert other_layout.packed_bytes == layout.packed_bytes
    with pytest.raises(ConsortiumError, match="'server' has another DPM"):
        read_order(data, "download", run, other_layout)


def test_an_upload_arrives_as_it_was_sent(
    upload: bytes, run: str, packed: Tensor, layout: Layout, make_report: MakeReport
) -> None:
    found = read_upload(upload, "bank", run, 2, layout)
    assert torch.equal(found.packed, packed)
    assert (found.round_number, found.device) == (2, "bank")
    assert found.report == make_report()


def test_an_upload_belongs_to_one_device_round_run_and_dpm(
    upload: bytes, run: str, other_run: str, layout: Layout, other_layout: Layout
) -> None:
    with pytest.raises(ConsortiumError, match="'law' sent a message in the name of 'bank'"):
        read_upload(upload, "law", run, 2, layout)
    for number in (1, 3):
        with pytest.raises(ConsortiumError, match=f"answered for round 2 in round {number}"):
            read_upload(upload, "bank", run, number, layout)
    with pytest.raises(ConsortiumError, match="'bank' sent a message of another run"):
        read_upload(upload, "bank", other_run, 2, layout)
    with pytest.raises(ConsortiumError, match="'bank' has another DPM"):
        read_upload(upload, "bank", run, 2, other_layout)


@pytest.mark.parametrize("key", ["run", "layout", "report"])
def test_an_upload_without_one_of_its_words_is_refused(
    key: str, run: str, packed: Tensor, layout: Layout, make_report: MakeReport
) -> None:
    info = upload_fields(run, layout, make_report())
    del info[key]
    data = encode(Message("upload", 2, "bank", {"shared": packed}, info))
    with pytest.raises(ConsortiumError, match="sent a 'upload' with info"):
        read_upload(data, "bank", run, 2, layout)


def test_an_upload_with_one_word_more_is_refused(
    run: str, packed: Tensor, layout: Layout, make_report: MakeReport
) -> None:
    info = upload_fields(run, layout, make_report()) | {"text": "pay"}
    data = encode(Message("upload", 2, "bank", {"shared": packed}, info))
    with pytest.raises(ConsortiumError, match="and 1 more instead of 'layout'"):
        read_upload(data, "bank", run, 2, layout)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({}, "without 'shared'"),
        ({"shared": torch.zeros(15, dtype=torch.uint8)}, r"uint8 \[15\], expected uint8 \[16\]"),
        ({"shared": torch.zeros(17, dtype=torch.uint8)}, r"uint8 \[17\], expected uint8 \[16\]"),
        ({"shared": torch.zeros(4)}, r"float32 \[4\], expected uint8 \[16\]"),
        ({"shared": torch.zeros(2, 8, dtype=torch.uint8)}, r"uint8 \[2, 8\], expected"),
        (
            {"shared": torch.zeros(16, dtype=torch.uint8), "domain": torch.zeros(1)},
            "with the unknown 'domain'",
        ),
    ],
)
def test_an_upload_of_other_tensors_is_refused(
    tensors: dict[str, Tensor],
    reason: str,
    run: str,
    layout: Layout,
    make_report: MakeReport,
) -> None:
    info = upload_fields(run, layout, make_report())
    data = encode(Message("upload", 2, "bank", tensors, info))
    with pytest.raises(ConsortiumError, match=reason):
        read_upload(data, "bank", run, 2, layout)


def test_an_upload_that_is_too_long_is_refused(upload: bytes, run: str, layout: Layout) -> None:
    with pytest.raises(ConsortiumError, match=f"at most {layout.packed_bytes + SMALL}"):
        read_upload(upload + bytes(SMALL), "bank", run, 2, layout)


def test_an_upload_with_a_report_of_another_is_refused(
    run: str, packed: Tensor, layout: Layout, make_report: MakeReport
) -> None:
    data = write_upload(run, 2, "bank", packed, make_report("law"), layout)
    with pytest.raises(ConsortiumError, match="it speaks of 'law'"):
        read_upload(data, "bank", run, 2, layout)


@pytest.mark.parametrize("kind", ["ready", "finished"])
def test_an_answer_without_weights_arrives_as_it_was_sent(
    kind: Told, run: str, make_report: MakeReport
) -> None:
    data = write_report(kind, run, 4, "bank", make_report())
    assert read_told(data, kind, "bank", run, 4) == make_report()


def test_an_answer_without_weights_belongs_to_one_kind_device_round_and_run(
    run: str, other_run: str, make_report: MakeReport
) -> None:
    data = write_report("ready", run, 4, "bank", make_report())
    with pytest.raises(ConsortiumError, match="'ready' where 'finished' was due"):
        read_told(data, "finished", "bank", run, 4)
    with pytest.raises(ConsortiumError, match="in the name of 'bank'"):
        read_told(data, "ready", "law", run, 4)
    with pytest.raises(ConsortiumError, match="answered for round 4 in round 0"):
        read_told(data, "ready", "bank", run, 0)
    with pytest.raises(ConsortiumError, match="'bank' answered for another run"):
        read_told(data, "ready", "bank", other_run, 4)
    with pytest.raises(ConsortiumError, match=f"has at most {SMALL}"):
        read_told(data + bytes(SMALL), "ready", "bank", run, 4)
    bare = encode(Message("ready", 4, "bank", {}, {"run": run}))
    with pytest.raises(ConsortiumError, match="with info"):
        read_told(bare, "ready", "bank", run, 4)


@pytest.mark.parametrize("code", FailureCode)
def test_a_failure_is_its_code_and_nothing_else(code: FailureCode) -> None:
    data = write_failure(3, "bank", code)
    assert read_failure(data, "bank", 3) == code
    assert len(data) < 250
    for device, number in (("law", 3), ("bank", 2)):
        with pytest.raises(ConsortiumError):
            read_failure(data, device, number)


def test_another_answer_is_no_failure(upload: bytes) -> None:
    assert read_failure(upload, "bank", 2) is None


@pytest.mark.parametrize("info", [{"code": "tired"}, {}, {"code": "error", "text": "/home/me"}])
def test_a_failure_for_no_known_reason_is_refused(info: dict[str, str]) -> None:
    with pytest.raises(ConsortiumError):
        read_failure(encode(Message("failure", 3, "bank", {}, info)), "bank", 3)


@pytest.mark.parametrize("data", [b"", b"x", bytes(100), b"\xff" * 100])
def test_what_is_no_message_is_refused_by_every_reader(
    data: bytes, run: str, layout: Layout
) -> None:
    readers: list[Callable[[], object]] = [
        lambda: read_welcome(data),
        lambda: read_order(data, "download", run, layout),
        lambda: read_upload(data, "bank", run, 1, layout),
        lambda: read_told(data, "ready", "bank", run, 0),
        lambda: read_failure(data, "bank", 1),
    ]
    for reader in readers:
        with pytest.raises(ConsortiumError, match="bytes arrived that are no message"):
            reader()
