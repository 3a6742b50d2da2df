"""`coplms.consortium.desk`: every message is answered, done once, and no error tells a secret."""

import errno
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

from coplms.config.terms import Terms
from coplms.consortium.desk import Desk, check_finite, code_of
from coplms.consortium.journal import Journal, Label, Observer
from coplms.consortium.messages import (
    Asked,
    Download,
    Order,
    Upload,
    read_failure,
    read_told,
    read_upload,
    write_order,
    write_welcome,
)
from coplms.consortium.report import DeviceReport, Sizes, report_of
from coplms.errors import (
    ConsortiumError,
    DataError,
    DivergenceError,
    QuorumError,
    RunError,
    UnknownRunError,
)
from coplms.training.phases import Phase
from coplms.transport.codec import Message, encode, peek
from coplms.transport.feedback import Sender, receive
from coplms.transport.link import FailureCode
from coplms.transport.packing import Form, Layout, pack

SECRET = "/home/doctor/patients.jsonl: Anna has a cold"


class Bench:
    """A workplace whose training adds one, and whose state is in a journal."""

    name = "bank"

    def __init__(
        self, run: str, layout: Layout, initial: dict[str, Tensor], folder: Path, quiet: Observer
    ) -> None:
        self.run = run
        self.layout = layout
        self.initial = initial
        self.journal = Journal(folder, 0, quiet)
        self.sender = Sender("bank/dpm-upload", layout)
        self.journal.restore(self.sender)
        self.trained: list[int] = []
        self.finished: list[tuple[list[float], bool]] = []
        self.step = 1.0
        self.error: BaseException | None = None

    @property
    def last_sent(self) -> int:
        return max((row["round"] for row in self.journal.rows if row["kind"] == "send"), default=0)

    def greet(self) -> DeviceReport:
        return self.report(())

    def round(self, download: Download) -> Upload:
        if self.error is not None:
            raise self.error

        def train(_: Phase) -> dict[str, float]:
            self.trained.append(download.round_number)
            return {"loss": 0.5}

        self.journal.phase(Label(download.round_number, "bank", "dst"), train)
        values = {name: value + self.step for name, value in download.shared.items()}
        return Upload(download.round_number, "bank", values, 5)

    def send(self, upload: Upload, reference: Mapping[str, Tensor]) -> Tensor:
        def pack_it(_: Phase) -> dict[str, float]:
            check_finite(upload)
            self.sender.pack(upload.shared, reference)
            return {}

        self.journal.phase(Label(upload.round_number, "bank", "send"), pack_it, [self.sender])
        assert self.sender.packed is not None
        return self.sender.packed

    def finish(self, download: Download, *, score: bool) -> None:
        def end(_: Phase) -> dict[str, float]:
            self.finished.append((download.shared["w"].tolist(), score))
            return {}

        self.journal.phase(Label(download.round_number, "bank", "transfer"), end)
        self.journal.phase(Label(0, "bank", "alone"), lambda _: {"loss": 0.25})

    def report(self, rounds: Collection[int]) -> DeviceReport:
        sizes = Sizes(train=5, dev=1, test=0)
        return report_of(self.journal, sizes, rounds, frozenset())


class Office:
    """A desk with one bench, and what went wrong at it."""

    def __init__(self, make_bench: Callable[[], Bench]) -> None:
        self.bench = make_bench()
        self.welcomed: list[Terms] = []
        self.errors: list[Exception] = []
        self.desk = Desk("bank", self._open, self.errors.append)
        self.answer = self.desk.answer

    def _open(self, terms: Terms | None) -> Bench:
        if terms is not None:
            self.welcomed.append(terms)
        return self.bench


MakeOffice = Callable[..., Office]


@pytest.fixture
def make_office(
    run: str,
    make_layout: Callable[[Form], Layout],
    shared: dict[str, Tensor],
    tmp_path: Path,
    quiet: Observer,
) -> MakeOffice:
    """A process of the device; another one finds the journal of the one before."""

    def make(form: Form = "lossless") -> Office:
        folder = tmp_path / "checkpoints"
        return Office(lambda: Bench(run, make_layout(form), shared, folder, quiet))

    return make


@pytest.fixture
def office(make_office: MakeOffice) -> Office:
    return make_office()


def order(bench: Bench, number: int, kind: Asked = "download", score: bool = False) -> bytes:
    packed = Sender("server/dpm-download", bench.layout).pack(bench.initial, bench.initial)
    return write_order(Order(kind, bench.run, number, packed, score), bench.layout)


def test_a_welcome_is_answered_with_sizes_alone(office: Office, terms: Terms) -> None:
    report = read_told(office.answer(write_welcome(terms)), "ready", "bank", terms.run, 0)
    assert report == DeviceReport(sizes=Sizes(train=5, dev=1, test=0))
    assert office.welcomed == [terms]


@pytest.mark.parametrize("form", ["lossless", "bfloat16", "int8"])
def test_a_download_is_answered_with_what_was_trained(form: Form, make_office: MakeOffice) -> None:
    office = make_office(form)
    bench = office.bench
    found = read_upload(office.answer(order(bench, 1)), "bank", bench.run, 1, bench.layout)
    assert receive(found.packed, bench.layout, bench.initial)["w"].tolist() == [2.0, 3.0, 4.0]
    assert [row.phase for row in found.report.phases] == ["round-1/bank/dst", "round-1/bank/send"]
    assert office.welcomed == office.errors == []


@pytest.mark.parametrize("form", ["lossless", "int8"])
def test_a_message_that_comes_twice_gets_the_same_bytes_and_no_work(
    form: Form, make_office: MakeOffice
) -> None:
    office = make_office(form)
    office.bench.step = 0.3
    first = office.answer(order(office.bench, 1))
    assert office.answer(order(office.bench, 1)) == first
    later = make_office(form)
    assert later.answer(order(later.bench, 1)) == first
    assert office.bench.trained == [1]
    assert later.bench.trained == []


def test_the_newest_upload_is_sent_again_after_a_restart_though_training_would_differ(
    office: Office, make_office: MakeOffice
) -> None:
    first = [office.answer(order(office.bench, number)) for number in (1, 2)]
    later = make_office()
    later.bench.step = 100.0
    assert later.answer(order(later.bench, 2)) == first[1]
    assert later.bench.trained == []


def test_an_older_round_is_refused(office: Office) -> None:
    for number in (1, 3):
        office.answer(order(office.bench, number))
    answer = office.answer(order(office.bench, 2))
    assert read_failure(answer, "bank", 2) is FailureCode.REFUSED
    assert "has answered round 3" in str(office.errors[0])
    assert office.bench.trained == [1, 3]


@pytest.mark.parametrize("answered", [False, True])
def test_a_message_of_another_run_is_refused_even_where_the_round_was_answered(
    answered: bool, office: Office, other_run: str
) -> None:
    bench = office.bench
    if answered:
        office.answer(order(bench, 1))
    packed = pack(bench.initial, bench.layout)
    foreign = write_order(Order("download", other_run, 1, packed, False), bench.layout)
    assert read_failure(office.answer(foreign), "bank", 1) is FailureCode.UNKNOWN
    assert bench.trained == ([1] if answered else [])


def test_the_end_is_done_once_and_told_with_what_was_before_the_rounds(office: Office) -> None:
    bench = office.bench
    office.answer(order(bench, 1))
    data = order(bench, 2, "finish", score=True)
    first = office.answer(data)
    assert office.answer(data) == first
    assert bench.finished == [([1.0, 2.0, 3.0], True)]
    report = read_told(first, "finished", "bank", bench.run, 2)
    names = [row.phase for row in report.phases]
    assert names == ["round-2/bank/transfer", "round-0/bank/alone"]


def test_an_unknown_kind_of_message_is_refused(office: Office) -> None:
    data = encode(Message("shell", 7, "server", {}, {"command": "ls"}))
    assert read_failure(office.answer(data), "bank", 7) is FailureCode.REFUSED
    assert "'shell', which no device knows" in str(office.errors[0])


@pytest.mark.parametrize("data", [b"", b"hello", bytes(200)])
def test_what_is_no_message_is_refused(data: bytes, office: Office) -> None:
    assert read_failure(office.answer(data), "bank", 0) is FailureCode.REFUSED


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


ERRORS = [
    (MemoryError(SECRET), FailureCode.MEMORY),
    (torch.cuda.OutOfMemoryError(SECRET), FailureCode.MEMORY),
    (OSError(errno.ENOSPC, SECRET), FailureCode.DISK),
    (OSError(errno.EDQUOT, SECRET), FailureCode.DISK),
    (OSError(errno.EROFS, SECRET), FailureCode.DISK),
    (caused(RunError(SECRET), OSError(errno.ENOSPC, SECRET)), FailureCode.DISK),
    (caused(RunError(SECRET), OSError(errno.EACCES, SECRET)), FailureCode.ERROR),
    (OSError(errno.EACCES, SECRET), FailureCode.ERROR),
    (FileNotFoundError(errno.ENOENT, SECRET), FailureCode.ERROR),
    (DivergenceError(SECRET), FailureCode.DIVERGED),
    (UnknownRunError(SECRET), FailureCode.UNKNOWN),
    (ConsortiumError(SECRET), FailureCode.REFUSED),
    (QuorumError(SECRET), FailureCode.REFUSED),
    (DataError(SECRET), FailureCode.ERROR),
    (RuntimeError(SECRET), FailureCode.ERROR),
    (RuntimeError(f"can't allocate memory: {SECRET}"), FailureCode.MEMORY),
    (caused(RunError(SECRET), SafetensorError("No space left on device")), FailureCode.DISK),
    (SafetensorError(SECRET), FailureCode.ERROR),
    (KeyError(SECRET), FailureCode.ERROR),
    (AssertionError(SECRET), FailureCode.ERROR),
]


@pytest.mark.parametrize(
    ("error", "code"), ERRORS, ids=lambda value: getattr(value, "value", type(value).__name__)
)
def test_an_error_becomes_its_code_and_its_text_stays(
    error: Exception, code: FailureCode, office: Office
) -> None:
    office.bench.error = error
    answer = office.answer(order(office.bench, 4))
    assert read_failure(answer, "bank", 4) is code is code_of(error)
    assert office.errors == [error]
    for word in ("Anna", "doctor", "cold", "Error"):
        assert word.encode() not in answer
    envelope = peek(answer)
    assert (envelope.kind, envelope.round_number, envelope.sender) == ("failure", 4, "bank")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_is_no_failure(stop: type[BaseException], office: Office) -> None:
    office.bench.error = stop()
    with pytest.raises(stop):
        office.answer(order(office.bench, 1))
    assert office.errors == []


def test_a_simulation_may_let_the_error_out(office: Office) -> None:
    def out(error: Exception) -> None:
        raise error

    desk = Desk("bank", lambda _: office.bench, out)
    office.bench.error = DataError("bank.jsonl:3")
    with pytest.raises(DataError, match=r"bank\.jsonl:3"):
        desk.answer(order(office.bench, 1))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_not_sent(value: float, office: Office) -> None:
    office.bench.step = value
    answer = office.answer(order(office.bench, 1))
    assert read_failure(answer, "bank", 1) is FailureCode.DIVERGED
    assert office.bench.last_sent == 0
    office.bench.step = 1.0
    assert read_failure(office.answer(order(office.bench, 1)), "bank", 1) is None
