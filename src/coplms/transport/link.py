"""How messages travel between the server and its devices: in this process, or over a network.

Both ways pass the same tests (`tests/integration/test_link_contract.py`). A link carries bytes and
does not know what they mean.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

Answer = Callable[[bytes], bytes]
"""A device's side of a link: the server's message to the device's reply. It raises only what is a
mistake of ours: what it can name, it answers as a message."""


class FailureCode(StrEnum):
    """Why a device gave no usable reply.

    The code is all that crosses: texts of errors hold paths, and may hold private text.
    """

    ABSENT = "absent"
    LATE = "late"
    GONE = "gone"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    DIVERGED = "diverged"
    MEMORY = "memory"
    DISK = "disk"
    ERROR = "error"
    INVALID = "invalid"

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        return _SENTENCES[self]


_SENTENCES = {
    FailureCode.ABSENT: "was not connected",
    FailureCode.LATE: "did not answer before the deadline",
    FailureCode.GONE: "lost its connection and did not come back in time",
    FailureCode.UNKNOWN: "does not know the run (its folder is gone?)",
    FailureCode.REFUSED: "refused the server's message; its log says why",
    FailureCode.DIVERGED: "got values that are not finite; its log says where",
    FailureCode.MEMORY: "ran out of memory",
    FailureCode.DISK: "could not write to its disk; its log says where",
    FailureCode.ERROR: "failed; its log says why",
    FailureCode.INVALID: "sent an answer that was refused; the server's log says why",
}


@dataclass(frozen=True)
class DeviceFailure:
    """A device's missing reply.

    Attributes:
        device: Its name.
        code: Why.
    """

    device: str
    code: FailureCode

    def __str__(self) -> str:
        return f"'{self.device}' {self.code.sentence}"


@dataclass(frozen=True)
class Reply:
    """What came back from a device.

    Attributes:
        device: Whom the link knows it to be from, whatever the content says.
        content: Its message, not yet checked, or why there is none.
    """

    device: str
    content: bytes | DeviceFailure


class Link(Protocol):
    """The server's side of a link."""

    def present(self) -> frozenset[str]:
        """Names of the devices that can be reached now."""

    def offer(self, blobs: Mapping[str, Path]) -> None:
        """Let devices fetch these files by the SHA-256 of their content, in hexadecimal."""

    def exchange(
        self, message: bytes, devices: Sequence[str], seconds: float, max_bytes: int
    ) -> Iterator[Reply]:
        """Send a message, and yield each device's reply as it comes: one per device, in any order.

        Replies are not gathered, so that memory does not grow with the number of devices.

        Args:
            message: The same for all.
            devices: Names, each once.
            seconds: From now; whoever has not answered by then is `late`.
            max_bytes: Longest reply that is taken; a longer one is `invalid`.
        """

    def fetched(self, device: str) -> Mapping[str, int]:
        """Digest -> bytes of offered files that this process has sent to a device so far."""

    def wire_bytes(self, device: str) -> tuple[int, int] | None:
        """Bytes to and from a device on the wire so far, all overhead included; None in-process."""
