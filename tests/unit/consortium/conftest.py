"""A run's terms, a shared part of four numbers, and a post with toy devices."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from coplms.config.run import RunConfig
from coplms.config.terms import Blob, Terms, terms_of
from coplms.consortium.courier import Courier
from coplms.consortium.journal import Journal, Result
from coplms.consortium.messages import (
    Download,
    read_order,
    read_welcome,
    write_failure,
    write_report,
    write_upload,
)
from coplms.consortium.post import Notice, Post, Rules
from coplms.consortium.report import DeviceReport, PhaseRow, Sizes
from coplms.transport.codec import peek
from coplms.transport.feedback import Sender, receive
from coplms.transport.ledger import Ledger
from coplms.transport.link import FailureCode, Link, Reply
from coplms.transport.packing import Form, Layout, layout_of

RUN = "0123456789abcdef" * 2
OTHER_RUN = "f" * 32

MakeReport = Callable[..., DeviceReport]


class Quiet:
    """Watches phases and says nothing."""

    def phase_started(self, name: str) -> None: ...

    def phase_logged(self, name: str, row: dict[str, float]) -> None: ...

    def phase_finished(self, row: Result, *, again: bool) -> None: ...


@pytest.fixture
def quiet() -> Quiet:
    return Quiet()


@pytest.fixture
def run() -> str:
    return RUN


@pytest.fixture
def other_run() -> str:
    return OTHER_RUN


@pytest.fixture
def terms() -> Terms:
    config = RunConfig.model_validate(
        {
            "llm": {"model": "mini/llm"},
            "devices": [{"name": "bank", "slm": {"model": "mini/slm"}}],
            "data": {"pool": {"train": {"path": "demo", "format": "demo"}}},
            "zoo": None,
        }
    )
    files = {"config.json": Blob(sha256="a" * 64, size=100)}
    return terms_of(config, RUN, files, {"dev": Blob(sha256="b" * 64, size=7)})


@pytest.fixture
def shared() -> dict[str, Tensor]:
    return {"w": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor(-1.0)}


@pytest.fixture
def make_layout(shared: dict[str, Tensor]) -> Callable[[Form], Layout]:
    return lambda form: layout_of(shared, form, 8)


@pytest.fixture
def layout(shared: dict[str, Tensor]) -> Layout:
    return layout_of(shared, "lossless")


@pytest.fixture
def make_report() -> MakeReport:
    def make(device: str = "bank", train: int = 5, round_number: int = 1) -> DeviceReport:
        name = f"round-{round_number}/{device}/dst"
        row = PhaseRow(
            phase=name,
            round=round_number,
            member=device,
            kind="dst",
            seconds=1.25,
            metrics={"loss": 0.5},
        )
        return DeviceReport(sizes=Sizes(train=train, dev=1, test=0), phases=(row,))

    return make


class ToyDevice:
    """Adds one to whatever it gets; done rounds are remembered as a real device's are."""

    def __init__(self, name: str, layout: Layout, initial: dict[str, Tensor], train: int) -> None:
        self.name = name
        self.layout = layout
        self.initial = initial
        self.sizes = Sizes(train=train, dev=0, test=0)
        self.run: str | None = None
        self.asked: list[str] = []
        self.sender = Sender(f"{name}/dpm-upload", layout)
        self.scored: list[bool] = []

    def __call__(self, message: bytes) -> bytes:
        envelope = peek(message)
        self.asked.append(f"{envelope.kind} {envelope.round_number}")
        number, report = envelope.round_number, DeviceReport(sizes=self.sizes)
        if envelope.kind == "welcome":
            self.run = read_welcome(message).run
            return write_report("ready", self.run, 0, self.name, report)
        if self.run is None:
            return write_failure(number, self.name, FailureCode.UNKNOWN)
        if envelope.kind == "finish":
            self.scored.append(read_order(message, "finish", self.run, self.layout).score)
            return write_report("finished", self.run, number, self.name, report)
        order = read_order(message, "download", self.run, self.layout)
        reference = receive(order.packed, self.layout, self.initial)
        values = {name: value + 1 for name, value in reference.items()}
        packed = self.sender.pack(values, reference)
        return write_upload(self.run, number, self.name, packed, report, self.layout)


class ToyLink:
    """Asks toy devices one by one; `spoil` may change what comes home."""

    def __init__(self, devices: dict[str, ToyDevice]) -> None:
        self.devices = devices
        self.spoil: Callable[[str, str, bytes], list[Reply]] = lambda device, _, data: [
            Reply(device, data)
        ]
        self.limits: list[tuple[str, float, int]] = []
        self.away: set[str] = set()
        self.files: dict[str, dict[str, int]] = {}
        self.wire: dict[str, tuple[int, int]] = {}

    def present(self) -> frozenset[str]:
        return frozenset(self.devices) - self.away

    def offer(self, blobs: Mapping[str, Path]) -> None:
        raise AssertionError("a courier offers nothing")

    def exchange(
        self, message: bytes, devices: Sequence[str], seconds: float, max_bytes: int
    ) -> Iterator[Reply]:
        kind = peek(message).kind
        if devices:
            self.limits.append((kind, seconds, max_bytes))
        for name in devices:
            yield from self.spoil(name, kind, self.devices[name](message))

    def fetched(self, device: str) -> Mapping[str, int]:
        return self.files.get(device, {})

    def wire_bytes(self, device: str) -> tuple[int, int] | None:
        return self.wire.get(device)


class Office:
    """A run's post with toy devices; `courier()` is a server's process."""

    def __init__(
        self, folder: Path, terms: Terms, layout: Layout, initial: dict[str, Tensor]
    ) -> None:
        self.folder = folder
        self.terms = terms
        self.layout = layout
        self.initial = initial
        sizes = {"bank": 1, "law": 3, "tax": 4}
        self.devices = {
            name: ToyDevice(name, layout, initial, train) for name, train in sizes.items()
        }
        self.link = ToyLink(self.devices)
        self.notices: list[Notice] = []
        self.rules = Rules(
            seed=0,
            participation=1.0,
            quorum=1.0,
            greet_seconds=11.0,
            round_seconds=22.0,
            finish_seconds=33.0,
        )
        self.scored = frozenset(self.devices)

    def travel_in(self, layout: Layout) -> None:
        """Let everyone pack in another form."""
        self.layout = layout
        for device in self.devices.values():
            device.layout = layout
            device.sender = Sender(f"{device.name}/dpm-upload", layout)

    def courier(self, link: Link | None = None) -> Courier:
        post = Post(
            link or self.link,
            tuple(self.devices),
            self.scored,
            self.terms,
            self.rules,
            Ledger(self.folder / "ledger.jsonl"),
            self.folder,
            self.notices.append,
        )
        self.journal = Journal(self.folder / "checkpoints", 0, Quiet())
        return Courier(post, self.layout, self.initial, self.journal)

    def download(self, number: int) -> Download:
        return Download(number, {name: value + number for name, value in self.initial.items()})

    def failed(self) -> list[tuple[str, str]]:
        return [(notice.device, notice.what) for notice in self.notices if notice.failed]

    def asked(self) -> dict[str, list[str]]:
        """Device -> what it was asked since the last call."""
        asked = {name: device.asked for name, device in self.devices.items()}
        for device in self.devices.values():
            device.asked = []
        return asked


@pytest.fixture
def office(tmp_path: Path, terms: Terms, layout: Layout, shared: dict[str, Tensor]) -> Office:
    return Office(tmp_path, terms, layout, shared)
