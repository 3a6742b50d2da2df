"""The server's post: a run's messages out to the devices and their answers home."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from coplms.consortium.accounts import Accounts
from coplms.consortium.inbox import Envelopes, Inbox, Uploads
from coplms.consortium.journal import Journal, Label
from coplms.consortium.messages import (
    SERVER,
    SMALL,
    Asked,
    Download,
    Order,
    Told,
    read_failure,
    read_told,
    read_upload,
    write_order,
    write_welcome,
)
from coplms.consortium.post import Notice, Post
from coplms.consortium.report import DeviceReport
from coplms.errors import ConsortiumError, QuorumError
from coplms.training.phases import Phase
from coplms.transport.feedback import Sender, receive
from coplms.transport.link import DeviceFailure, FailureCode
from coplms.transport.packing import Layout

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Sent:
    """A message on its way.

    Attributes:
        data: Its bytes.
        round_number: 0 at first contact.
        tensor_bytes: Of the tensors in it by themselves.
        answer_bytes: Of the tensors in the answer that is due.
    """

    data: bytes
    round_number: int
    tensor_bytes: int = 0
    answer_bytes: int = 0


class Courier:
    """Sends what the server has to say, and checks, counts and keeps what comes back."""

    def __init__(
        self, post: Post, layout: Layout, initial: Mapping[str, Tensor], journal: Journal
    ) -> None:
        """Take over the run's post.

        Args:
            post: Whom and by what.
            layout: Of the DPM's shared part.
            initial: The shared part before round 1.
            journal: The server's; knows which round's answers are in.
        """
        self.post = post
        self.layout = layout
        self.initial = initial
        self.journal = journal
        self.sender = Sender(f"{SERVER}/dpm-download", layout)
        journal.restore(self.sender)
        self._greeted: set[str] = set()
        self._accounts = Accounts(post.link, post.ledger, post.terms)

    def greet(self) -> dict[str, DeviceReport]:
        """Tell every device the run's terms; what those that understood tell of themselves.

        Raises:
            QuorumError: If too few are there.
        """
        reports = self._greet(self.post.devices)
        self._check_quorum(len(reports), self.post.devices, "first contact")
        return reports

    def exchange(self, download: Download) -> Uploads:
        """Send a round's download to the devices that take part, and collect what they answer.

        Raises:
            QuorumError: If too few answered; their answers are kept for the next start.
        """
        number = download.round_number
        packed = self._packed(download)
        reference = receive(packed, self.layout, self.initial)
        form = Envelopes(self.post.terms.run, self.layout)
        inbox = Inbox(self.post.folder / "inbox", number, form, reference)
        chosen = self.post.rules.chosen(self.post.devices, number)
        taken: dict[str, DeviceReport] = {}
        if not inbox.is_closed:
            there = set(inbox.devices)
            missing = [device for device in chosen if device not in there]
            sent = self._sent("download", number, packed, score=False)
            for device, data in self._answers(missing, sent, self.post.rules.round_seconds):
                taken |= self._take_upload(inbox, device, data, number)
                del data  # before the next one is made
            self._check_quorum(len(inbox.devices), chosen, f"round {number}")
            inbox.close()
        reports = {name: taken.get(name) or inbox.returned(name).report for name in inbox.devices}
        ordered = [reports[device] for device in chosen if device in reports]
        self._record(Label(number, SERVER, "replies"), ordered, len(chosen))
        return Uploads(inbox, {name: report.sizes.train for name, report in reports.items()})

    def close_round(self, round_number: int) -> None:
        """Forget a round's answers, which are aggregated."""
        form = Envelopes(self.post.terms.run, self.layout)
        Inbox(self.post.folder / "inbox", round_number, form, {}).remove()

    def finish(self, download: Download) -> None:
        """Send the last download; the devices finish on their own.

        Raises:
            QuorumError: If too few did; start again when they are back.
        """
        number = download.round_number
        label = Label(number, SERVER, "replies")
        if self.journal.is_done(label):
            return
        packed = self._packed(download)
        reports: dict[str, DeviceReport] = {}
        scored = [device for device in self.post.devices if device in self.post.scored]
        others = [device for device in self.post.devices if device not in self.post.scored]
        for devices, score in ((scored, True), (others, False)):
            sent = self._sent("finish", number, packed, score=score)
            for device, data in self._answers(devices, sent, self.post.rules.finish_seconds):
                report = self._told(device, data, number, "finished")
                if report is not None:
                    reports[device] = report
        self._check_quorum(len(reports), self.post.devices, "the end")
        ordered = [reports[device] for device in self.post.devices if device in reports]
        self._record(label, ordered, len(self.post.devices))

    # Out and home --------------------------------------------------------------------------

    def _greet(self, devices: Sequence[str]) -> dict[str, DeviceReport]:
        """First contact with the devices that this process has not greeted yet."""
        new = [device for device in devices if device not in self._greeted]
        sent = _Sent(write_welcome(self.post.terms), 0)
        reports: dict[str, DeviceReport] = {}
        for device, data in self._replies(new, sent, self.post.rules.greet_seconds):
            report = self._told(device, data, 0, "ready")
            if report is not None:
                self._greeted.add(device)
                reports[device] = report
        return reports

    def _answers(
        self, devices: Sequence[str], sent: _Sent, seconds: float
    ) -> Iterator[tuple[str, bytes]]:
        """What the devices answer; those that joined late are greeted first.

        A device that was never there is not waited for, in round after round.
        """
        if not devices:
            return
        present = self.post.link.present()
        self._greet([device for device in devices if device in present])
        known = [device for device in devices if device in self._greeted]
        for device in [each for each in devices if each not in {*known, *present}]:
            self._notice(sent.round_number, device, FailureCode.ABSENT.sentence, failed=True)
        yield from self._replies(known, sent, seconds)

    def _replies(
        self, devices: Sequence[str], sent: _Sent, seconds: float
    ) -> Iterator[tuple[str, bytes]]:
        """The first answer of each device that was asked, and of nobody else."""
        awaited = set(devices)
        for reply in self.post.link.exchange(
            sent.data, devices, seconds, SMALL + sent.answer_bytes
        ):
            if reply.device not in awaited:
                error = ConsortiumError("it was not asked, or has answered. The answer is dropped.")
                self._refuse(sent.round_number, reply.device, error)
                continue
            awaited.remove(reply.device)
            content = self._counted(reply.device, reply.content, sent)
            if content is not None:
                yield reply.device, content
            del reply, content  # before the next one is made

    def _counted(self, device: str, content: bytes | DeviceFailure, sent: _Sent) -> bytes | None:
        """The content of a reply, after both messages are in the ledger; None for a failure."""
        failure = content if isinstance(content, DeviceFailure) else None
        if isinstance(content, bytes):
            code = self._failure_in(device, content, sent.round_number)
            failure = None if code is None else DeviceFailure(device, code)
        number, down = sent.round_number, (sent.data, sent.tensor_bytes)
        if isinstance(content, bytes):
            answer_bytes = sent.answer_bytes if failure is None else 0
            self._accounts.enter(number, device, down, (content, answer_bytes))
        else:
            self._accounts.enter(number, device, down, None)
        if failure is None:
            return content if isinstance(content, bytes) else None
        if failure.code is FailureCode.UNKNOWN:
            self._greeted.discard(device)
        self._notice(sent.round_number, device, failure.code.sentence, failed=True)
        return None

    def _failure_in(self, device: str, content: bytes, round_number: int) -> FailureCode | None:
        try:
            return read_failure(content, device, round_number)
        except ConsortiumError as error:
            _LOG.warning("%s: %s", device, error)
            return FailureCode.INVALID

    def _take_upload(
        self, inbox: Inbox, device: str, data: bytes, round_number: int
    ) -> dict[str, DeviceReport]:
        """Keep an upload that is what was agreed; its values are tried once. Who told what."""
        try:
            found = read_upload(data, device, self.post.terms.run, round_number, self.layout)
            receive(found.packed, self.layout, self.initial)
        except ConsortiumError as error:
            self._refuse(round_number, device, error)
            return {}
        inbox.put(device, data)
        self._notice(round_number, device, "upload", num_bytes=len(data), report=found.report)
        return {device: found.report}

    def _told(self, device: str, data: bytes, round_number: int, kind: Told) -> DeviceReport | None:
        """The report in an answer without weights; None where it is refused."""
        try:
            report = read_told(data, kind, device, self.post.terms.run, round_number)
        except ConsortiumError as error:
            self._refuse(round_number, device, error)
            return None
        self._notice(round_number, device, kind, num_bytes=len(data), report=report)
        return report

    def _refuse(self, round_number: int, device: str, error: ConsortiumError) -> None:
        _LOG.warning("round %s, %s: %s", round_number, device, error)
        self._notice(round_number, device, FailureCode.INVALID.sentence, failed=True)

    # What is kept --------------------------------------------------------------------------

    def _packed(self, download: Download) -> Tensor:
        """The download as it travels; packed once, for packing changes what the next one holds."""
        label = Label(download.round_number, SERVER, "send")

        def pack(_: Phase) -> dict[str, float]:
            self.sender.pack(download.shared, self.initial)
            return {}

        self.journal.phase(label, pack, [self.sender])
        assert self.sender.packed is not None
        return self.sender.packed

    def _sent(self, kind: Asked, number: int, packed: Tensor, *, score: bool) -> _Sent:
        order = Order(kind, self.post.terms.run, number, packed, score)
        tensor_bytes = self.layout.tensor_bytes
        answer_bytes = tensor_bytes if kind == "download" else 0
        return _Sent(write_order(order, self.layout), number, tensor_bytes, answer_bytes)

    def _record(self, label: Label, reports: Sequence[DeviceReport], num_asked: int) -> None:
        """Let the server's journal, and so the run's record, know what the devices reported."""
        rows = [report.model_dump() for report in reports]
        counts = {"num_devices": len(reports), "num_asked": num_asked}
        self.journal.phase(label, lambda _: {**counts, "reports": rows})

    def _check_quorum(self, num_answers: int, chosen: Sequence[str], when: str) -> None:
        least = self.post.rules.least(len(chosen))
        if num_answers < least:
            raise QuorumError(
                f"{when}: {num_answers} of {len(chosen)} devices answered, and network.quorum "
                f"{self.post.rules.quorum:g} asks for {least}. What is done is kept: see to the "
                "devices that failed, or lower network.quorum, and run the same command again."
            )

    def _notice(
        self,
        round_number: int,
        device: str,
        what: str,
        *,
        failed: bool = False,
        num_bytes: int = 0,
        report: DeviceReport | None = None,
    ) -> None:
        self.post.watch(Notice(round_number, device, what, failed, num_bytes, report))
