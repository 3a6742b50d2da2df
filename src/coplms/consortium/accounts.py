"""What travelled, entered in the ledger message by message."""

from coplms.config.terms import Terms
from coplms.transport.ledger import Ledger, LedgerEntry
from coplms.transport.link import Link


class Accounts:
    """Counts the messages of a run, and the files that devices fetch."""

    def __init__(self, link: Link, ledger: Ledger, terms: Terms) -> None:
        self._link = link
        self._ledger = ledger
        self._names = {blob.sha256: f"file/{name}" for name, blob in terms.files.items()}
        self._names |= {blob.sha256: f"text/{name}" for name, blob in terms.texts.items()}
        self._wire: dict[str, tuple[int, int]] = {}
        self._fetched: dict[str, dict[str, int]] = {}

    def enter(
        self,
        round_number: int,
        device: str,
        down: tuple[bytes, int],
        up: tuple[bytes, int] | None,
    ) -> None:
        """Two lines: what a device was sent, and what it answered, if it did.

        Args:
            round_number: 0 at first contact.
            device: The device.
            down: The message to it, and how many bytes the tensors in it have by themselves.
            up: Likewise, its answer.
        """
        files = self._new_files(device)
        wire = self._new_wire(device)
        sent = len(down[0]) + sum(files.values())
        tensor_bytes = down[1] or sum(files.values())
        content = {**files, **_content(*down)}
        entry = LedgerEntry(round_number, device, "down", sent, tensor_bytes, content, wire[0])
        self._ledger.append(entry)
        if up is not None:
            size = len(up[0])
            entry = LedgerEntry(round_number, device, "up", size, up[1], _content(*up), wire[1])
            self._ledger.append(entry)

    def _new_files(self, device: str) -> dict[str, int]:
        """What of the offered files the device has fetched since its last entry, by name."""
        before, now = self._fetched.get(device, {}), dict(self._link.fetched(device))
        self._fetched[device] = now
        return {
            self._names.get(digest, "file/other"): count - before.get(digest, 0)
            for digest, count in now.items()
            if count > before.get(digest, 0)
        }

    def _new_wire(self, device: str) -> tuple[int | None, int | None]:
        """Bytes on the wire since the device's last entry, down and up."""
        now = self._link.wire_bytes(device)
        if now is None:
            return None, None
        before = self._wire.get(device, (0, 0))
        self._wire[device] = now
        return now[0] - before[0], now[1] - before[1]


def _content(message: bytes, tensor_bytes: int) -> dict[str, int]:
    """What of a message is weights, and what is words and numbers."""
    if not tensor_bytes:
        return {"info": len(message)}
    header = 8 + int.from_bytes(message[:8], "little")
    return {"shared": len(message) - header, "info": header}
