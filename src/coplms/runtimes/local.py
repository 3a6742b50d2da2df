"""Devices in this process, one after another, through the messages that a network would carry."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from coplms.transport.link import Answer, DeviceFailure, FailureCode, Reply

_LOG = logging.getLogger(__name__)


class LocalLink:
    """A link without a network; deadlines do not pass here."""

    def __init__(
        self, answer_of: Callable[[str], Answer], devices: Sequence[str], *, strict: bool
    ) -> None:
        """Connect to devices in this process.

        Args:
            answer_of: Device -> its side of the link, asked anew for every message.
            devices: Their names.
            strict: Let a device's error out as it is, in place of a failure; there is nobody else
                to look after it.
        """
        self._answer_of = answer_of
        self._devices = frozenset(devices)
        self._strict = strict
        self._offered: dict[str, int] = {}
        self._asked: set[str] = set()

    def present(self) -> frozenset[str]:
        """All devices."""
        return self._devices

    def offer(self, blobs: Mapping[str, Path]) -> None:
        """Files that devices find on this machine; they count as sent."""
        self._offered = {digest: path.stat().st_size for digest, path in blobs.items()}

    def exchange(
        self, message: bytes, devices: Sequence[str], seconds: float, max_bytes: int
    ) -> Iterator[Reply]:
        """Each device's answer, in the order in which they are named."""
        for device in devices:
            yield Reply(device, self._ask(device, message, max_bytes))

    def fetched(self, device: str) -> Mapping[str, int]:
        """All that is offered, once a device was asked anything."""
        return self._offered if device in self._asked else {}

    def wire_bytes(self, device: str) -> tuple[int, int] | None:
        """None: there is no wire."""

    def _ask(self, device: str, message: bytes, max_bytes: int) -> bytes | DeviceFailure:
        if device not in self._devices:
            return DeviceFailure(device, FailureCode.ABSENT)
        self._asked.add(device)
        try:
            answer = self._answer_of(device)(message)
        except Exception:
            if self._strict:
                raise
            _LOG.exception("device '%s' failed", device)
            return DeviceFailure(device, FailureCode.ERROR)
        if len(answer) > max_bytes:
            return DeviceFailure(device, FailureCode.INVALID)
        return answer
