"""What travelled: bytes by device, round and direction."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from coplms.errors import RunError

Direction = Literal["up", "down"]
"""`up`: device to server; `down`: server to device."""


@dataclass(frozen=True)
class LedgerEntry:
    """One message.

    Attributes:
        round_number: From 1; 0 for what is sent once, before the rounds.
        device: The device's name; the other end is the server.
        direction: Seen from the device.
        bytes: The whole message.
        tensor_bytes: Its tensors' values alone.
        content: Bytes by what they are, such as `{"shared": 4096}`.
        wire_bytes: What went over the wire since the device's last entry, with all that a
            transport adds: framing, polling, encryption apart. None in-process.
    """

    round_number: int
    device: str
    direction: Direction
    bytes: int
    tensor_bytes: int
    content: dict[str, int]
    wire_bytes: int | None = None


class Ledger:
    """The messages of a run, kept in memory and, given a path, in a file line by line.

    A file that exists is continued. A resumed run sends again what its last process had sent
    after the newest checkpoint; each such message is matched with its old line and not counted
    twice, so that the ledger equals that of a run that was never interrupted.
    """

    def __init__(self, path: Path | None = None):
        self._path = path
        self.entries: list[LedgerEntry] = []
        if path is not None and path.exists():
            _cut_torn_line(path)
            self.entries = read_ledger(path)
        self._sent_before = Counter(_without_wire(entry) for entry in self.entries)

    def append(self, entry: LedgerEntry) -> None:
        """Record one message."""
        message = _without_wire(entry)
        if self._sent_before[message] > 0:
            self._sent_before[message] -= 1
            return
        self.entries.append(entry)
        line = _to_line(entry)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def total(
        self,
        direction: Direction | None = None,
        device: str | None = None,
        round_number: int | None = None,
    ) -> int:
        """Bytes of all messages that match; None matches everything."""
        wanted = (direction, device, round_number)
        return sum(
            entry.bytes
            for entry in self.entries
            if all(
                want in (None, is_)
                for want, is_ in zip(
                    wanted, (entry.direction, entry.device, entry.round_number), strict=True
                )
            )
        )


def read_ledger(path: Path) -> list[LedgerEntry]:
    """The entries of a `ledger.jsonl`, without a last line that is still being written.

    Raises:
        RunError: If the file is absent or a line is not an entry.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({error}). Name the folder of a run.") from error
    lines = text.split("\n")[:-1]
    return [_from_line(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def _to_line(entry: LedgerEntry) -> str:
    wire = {} if entry.wire_bytes is None else {"wire_bytes": entry.wire_bytes}
    return json.dumps(
        {
            "round": entry.round_number,
            "device": entry.device,
            "direction": entry.direction,
            "bytes": entry.bytes,
            "tensor_bytes": entry.tensor_bytes,
            "content": entry.content,
            **wire,
        }
    )


def _without_wire(entry: LedgerEntry) -> str:
    """What tells two messages apart; the wire's bytes differ from time to time."""
    return _to_line(replace(entry, wire_bytes=None))


def _from_line(line: str, where: str) -> LedgerEntry:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise RunError(f"{where}: is no JSON ({error}). Delete the line.") from error
    match fields:
        case {
            "round": int(round_number),
            "device": str(device),
            "direction": "up" | "down" as direction,
            "bytes": int(num_bytes),
            "tensor_bytes": int(tensor_bytes),
            "content": dict(content),
        }:
            wire = fields.get("wire_bytes")
            return LedgerEntry(
                round_number, device, direction, num_bytes, tensor_bytes, content, wire
            )
    raise RunError(
        f"{where}: is no ledger entry: {line[:120]}. It needs round, device, direction (up or "
        "down), bytes, tensor_bytes and content. Delete the line."
    )


def _cut_torn_line(path: Path) -> None:
    """Drop what a killed process had written of its last line."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
