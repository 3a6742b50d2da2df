"""A device's side of a run, message by message: bytes in, bytes out."""

import errno
import os
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from coplms.config.terms import Terms
from coplms.consortium.messages import (
    Download,
    Order,
    Upload,
    read_order,
    read_welcome,
    write_failure,
    write_report,
    write_upload,
)
from coplms.consortium.report import DeviceReport
from coplms.errors import ConsortiumError, DivergenceError, UnknownRunError
from coplms.transport.codec import peek
from coplms.transport.feedback import Sender, receive
from coplms.transport.link import FailureCode
from coplms.transport.packing import Layout


class Workplace(Protocol):
    """A device in a run: its models and text at hand, its state as its journal has it."""

    name: str
    run: str
    layout: Layout
    initial: Mapping[str, Tensor]
    """The shared part as it is before any message: what downloads are changes of."""
    sender: Sender
    """Packs uploads; its newest message is part of the device's state."""

    @property
    def last_sent(self) -> int:
        """The newest round whose upload is packed; 0 before the first."""

    def greet(self) -> DeviceReport:
        """What the device tells at first contact."""

    def round(self, download: Download) -> Upload:
        """DST and SAML; done once, then remembered."""

    def send(self, upload: Upload, reference: Mapping[str, Tensor]) -> Tensor:
        """The upload, packed; done once, then remembered."""

    def finish(self, download: Download, *, score: bool) -> None:
        """The device's work after the last round; done once."""

    def report(self, rounds: Collection[int]) -> DeviceReport:
        """What happened in these rounds, in the order in which it did."""


class Desk:
    """Answers the server's messages for one device.

    Every message may come twice, and a message may come to a process that has not seen the ones
    before it: what is done is in the device's journal, and is told again without being done again.
    """

    def __init__(
        self,
        name: str,
        open_workplace: Callable[[Terms | None], Workplace],
        on_error: Callable[[Exception], None],
    ) -> None:
        """Wait for messages.

        Args:
            name: The device's.
            open_workplace: Gives the workplace of the run with these terms, or, with None, of the
                run that the device was last welcomed to.
            on_error: Gets what went wrong; it may log it, or raise it again. Only a code is sent.
        """
        self.name = name
        self._open = open_workplace
        self._on_error = on_error

    def answer(self, message: bytes) -> bytes:
        """The reply to a message of the server."""
        round_number = 0
        try:
            envelope = peek(message)
            round_number = envelope.round_number
            if envelope.kind == "welcome":
                return self._greet(message)
            if envelope.kind == "download":
                return self._round(message)
            if envelope.kind == "finish":
                return self._finish(message)
            raise ConsortiumError(
                f"the server sent a message {envelope.kind!a:.100}, which no device knows. Use the "
                "same version of coplms on server and devices."
            )
        except Exception as error:
            self._on_error(error)
            return write_failure(round_number, self.name, code_of(error))

    def _greet(self, message: bytes) -> bytes:
        terms = read_welcome(message)
        work = self._open(terms)
        return write_report("ready", terms.run, 0, self.name, work.greet())

    def _round(self, message: bytes) -> bytes:
        work = self._open(None)
        order = read_order(message, "download", work.run, work.layout)
        number = order.round_number
        if number < work.last_sent:
            raise ConsortiumError(
                f"round {number}: the server asks again, and '{self.name}' has answered round "
                f"{work.last_sent}. The message is dropped."
            )
        if number == work.last_sent and work.sender.packed is not None:
            packed = work.sender.packed
        else:
            download = _download(work, order)
            packed = work.send(work.round(download), download.shared)
        report = work.report((number,))
        return write_upload(work.run, number, self.name, packed, report, work.layout)

    def _finish(self, message: bytes) -> bytes:
        work = self._open(None)
        order = read_order(message, "finish", work.run, work.layout)
        work.finish(_download(work, order), score=order.score)
        report = work.report((0, order.round_number))
        return write_report("finished", work.run, order.round_number, self.name, report)


def _download(work: Workplace, order: Order) -> Download:
    return Download(order.round_number, receive(order.packed, work.layout, work.initial))


def code_of(error: Exception) -> FailureCode:
    """What of an error may be told to the server."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return FailureCode.MEMORY
    if isinstance(error, DivergenceError):
        return FailureCode.DIVERGED
    if isinstance(error, UnknownRunError):
        return FailureCode.UNKNOWN
    if isinstance(error, ConsortiumError):
        return FailureCode.REFUSED
    if any(_is_about_disk(each) for each in (error, error.__cause__)):
        return FailureCode.DISK
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return FailureCode.MEMORY  # PyTorch on the CPU has no class of its own for it
    return FailureCode.ERROR


def _is_about_disk(error: BaseException | None) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    if isinstance(error, OSError):
        return error.errno in full
    return isinstance(error, SafetensorError) and os.strerror(errno.ENOSPC) in str(error)


def check_finite(upload: Upload) -> None:
    """Refuse to send what training made useless.

    Raises:
        DivergenceError: If a value is not finite.
    """
    for name, value in upload.shared.items():
        if not torch.isfinite(value).all():
            raise DivergenceError(
                f"round {upload.round_number}: '{upload.device}' trained {name} to values that are "
                "not finite. Lower optimizer.learning_rate, or use dtype float32."
            )
