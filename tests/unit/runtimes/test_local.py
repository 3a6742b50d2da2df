from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn

from coplms.config.method import OptimizerConfig
from coplms.consortium.journal import Journal, Result
from coplms.consortium.members import SHARED, Device, Server
from coplms.consortium.messages import (
    Download,
    PublicText,
    Upload,
    Welcome,
    upload_message,
    upload_schema,
    welcome_message,
)
from coplms.data.example import Example
from coplms.data.members import MemberData
from coplms.errors import ConsortiumError
from coplms.models.language_model import LanguageModel
from coplms.runtimes.local import LocalRuntime, carry, welcome
from coplms.training.encoding import Encoder
from coplms.training.learner import Learner
from coplms.training.pair import Pairing
from coplms.training.part import Part
from coplms.transport.codec import encode
from coplms.transport.ledger import Ledger

PUBLIC = PublicText((Example("Name it.", "pay", ("x",), "d", "d", "o"),), (), ())


class Silent:
    def phase_started(self, name: str) -> None: ...

    def phase_logged(self, name: str, row: dict[str, float]) -> None: ...

    def phase_finished(self, row: Result, *, again: bool) -> None: ...


def make_device(name: str) -> Device:
    """A device whose proxy is three numbers; its models are of no concern to a runtime."""
    part = Part(f"{name}/dpm-shared", {"w": nn.Parameter(torch.zeros(3))}, OptimizerConfig(), 1, 1)
    dpm = Learner(cast("LanguageModel", None), cast("Encoder", None), {SHARED: part})
    return Device(name, dpm, dpm, MemberData((), (), ()), PUBLIC, cast("Pairing", None))


class AddOne:
    """Every device adds one to what it got."""

    def __init__(self) -> None:
        self.finished: list[tuple[str, Download]] = []

    def device_round(self, device: Device, download: Download, journal: Journal) -> Upload:
        part = device.dpm.parts[SHARED]
        part.load_values({"w": download.shared["w"] + 1})
        download.shared["w"].zero_()  # what a device does with its copy is its own business
        return Upload(download.round_number, device.name, part.values(), 5, {"loss": 0.5})

    def device_finish(self, device: Device, download: Download, journal: Journal) -> None:
        self.finished.append((device.name, download))

    def download(self, server: Server, round_number: int) -> Download:
        raise AssertionError("a runtime asks devices only")

    def server_round(self, server: Server, uploads: Sequence[Upload], journal: Journal) -> None:
        raise AssertionError("a runtime asks devices only")

    def server_finish(self, server: Server, round_number: int, journal: Journal) -> None:
        raise AssertionError("a runtime asks devices only")


@pytest.fixture
def runtime(tmp_path: Path) -> LocalRuntime:
    devices = [make_device("bank"), make_device("law")]
    return LocalRuntime(AddOne(), devices, Journal(tmp_path, 0, Silent()), Ledger())


def test_a_message_arrives_as_it_was_and_is_counted() -> None:
    ledger, shared = Ledger(), {"w": torch.randn(4, 5), "b": torch.randn(5)}
    sent = upload_message(Upload(3, "bank", shared, 7, {"loss": 0.25}))
    found = carry(sent, upload_schema(shared), ledger, "bank", "up")
    assert (found.kind, found.round_number, found.sender) == ("upload", 3, "bank")
    assert found.info == sent.info
    assert torch.equal(found.tensors["w"], shared["w"])
    (entry,) = ledger.entries
    assert entry.bytes == len(encode(sent))
    assert entry.tensor_bytes == 4 * 25
    assert entry.content == {"shared": 100, "info": len('7{"loss": 0.25}')}
    assert (entry.round_number, entry.device, entry.direction) == (3, "bank", "up")


def test_what_arrives_shares_no_memory_with_what_was_sent() -> None:
    shared = {"w": torch.zeros(2)}
    found = carry(
        upload_message(Upload(1, "bank", shared, 1)), upload_schema(shared), Ledger(), "bank", "up"
    )
    found.tensors["w"].fill_(9)
    assert shared["w"].tolist() == [0.0, 0.0]


def test_the_first_contact_is_counted_file_by_file() -> None:
    ledger, content = (
        Ledger(),
        Welcome({"config.json": b"{}", "model.safetensors": b"12345"}, PUBLIC),
    )
    assert welcome(content, "bank", ledger) == content
    (entry,) = ledger.entries
    assert (entry.round_number, entry.device, entry.direction) == (0, "bank", "down")
    assert entry.content["file/config.json"] == 2
    assert entry.content["file/model.safetensors"] == 5
    assert entry.content["text/dev"] == len("[]")
    assert entry.bytes == len(encode(welcome_message(content)))


def test_every_device_answers_in_its_order(runtime: LocalRuntime) -> None:
    sent = Download(2, {"w": torch.tensor([1.0, 2.0, 3.0])})
    uploads = runtime.exchange(sent)
    assert [upload.device for upload in uploads] == ["bank", "law"]
    assert [upload.shared["w"].tolist() for upload in uploads] == [[2.0, 3.0, 4.0]] * 2
    assert [upload.num_examples for upload in uploads] == [5, 5]
    assert sent.shared["w"].tolist() == [1.0, 2.0, 3.0]
    rows = [(e.round_number, e.device, e.direction) for e in runtime.ledger.entries]
    assert rows == [(2, "bank", "down"), (2, "bank", "up"), (2, "law", "down"), (2, "law", "up")]


def test_the_last_download_reaches_every_device(runtime: LocalRuntime) -> None:
    runtime.finish(Download(3, {"w": torch.ones(3)}))
    finished = cast("AddOne", runtime.method).finished
    assert [(name, download.round_number) for name, download in finished] == [
        ("bank", 3),
        ("law", 3),
    ]
    assert [entry.direction for entry in runtime.ledger.entries] == ["down", "down"]


def test_a_download_of_another_shape_does_not_reach_the_device(runtime: LocalRuntime) -> None:
    with pytest.raises(ConsortiumError, match="expected float32"):
        runtime.exchange(Download(1, {"w": torch.zeros(4)}))
    assert runtime.devices[0].dpm.parts[SHARED].values()["w"].tolist() == [0.0, 0.0, 0.0]


def test_an_upload_with_private_tensors_does_not_reach_the_server(runtime: LocalRuntime) -> None:
    class Leaking(AddOne):
        def device_round(self, device: Device, download: Download, journal: Journal) -> Upload:
            upload = super().device_round(device, download, journal)
            return replace(upload, shared={**upload.shared, "domain": torch.zeros(3)})

    runtime.method = Leaking()
    with pytest.raises(ConsortiumError, match="with the unknown 'domain'"):
        runtime.exchange(Download(1, {"w": torch.zeros(3)}))
