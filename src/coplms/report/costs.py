"""What a run cost: bytes by device and round, seconds by member and kind of phase."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from coplms.consortium.record import RunHistory
from coplms.report.tables import member_names, number, section


@dataclass(frozen=True)
class TrafficRow:
    """Bytes between one device and the server, in one direction.

    Attributes:
        device: The device's name.
        direction: `down` to the device, `up` to the server.
        by_round: Round to bytes; round 0 is what is sent once.
    """

    device: str
    direction: str
    by_round: dict[int, int]

    @property
    def once(self) -> int:
        """Bytes sent before round 1."""
        return self.by_round.get(0, 0)

    @property
    def in_rounds(self) -> int:
        """Bytes of rounds 1 and later."""
        return self.total - self.once

    @property
    def total(self) -> int:
        """Bytes of all rounds and of what is sent once."""
        return sum(self.by_round.values())


@dataclass(frozen=True)
class TimeRow:
    """Seconds that each member spent in one kind of phase."""

    kind: str
    by_member: dict[str, float]

    @property
    def total(self) -> float:
        """Seconds of all members together."""
        return sum(self.by_member.values())


def traffic_rows(history: RunHistory) -> list[TrafficRow]:
    """Two rows per device that exchanged anything: down, then up."""
    by_device: dict[tuple[str, str], dict[int, int]] = {}
    for row in history.ledger:
        key = str(row.get("device")), str(row.get("direction"))
        rounds = by_device.setdefault(key, defaultdict(int))
        rounds[int(number(row.get("round")) or 0)] += int(number(row.get("bytes")) or 0)
    return [
        TrafficRow(device, direction, dict(sorted(by_device[device, direction].items())))
        for device in member_names(history)
        for direction in ("down", "up")
        if (device, direction) in by_device
    ]


def traffic_sums(rows: Sequence[TrafficRow], name: str) -> list[TrafficRow]:
    """A row per direction for all devices together, which are called `name`."""
    sums: dict[str, dict[int, int]] = {}
    for row in rows:
        rounds = sums.setdefault(row.direction, defaultdict(int))
        for number_of_round, size in row.by_round.items():
            rounds[number_of_round] += size
    return [TrafficRow(name, direction, dict(rounds)) for direction, rounds in sums.items()]


def traffic_content(history: RunHistory) -> dict[str, int]:
    """Bytes by what they were (`shared`, `base`, ...), largest first."""
    totals: dict[str, int] = defaultdict(int)
    for row in history.ledger:
        for content, size in section(row, "content").items():
            totals[content] += int(number(size) or 0)
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))


def time_rows(history: RunHistory) -> list[TimeRow]:
    """One row per kind of phase that took time, in the order of their first appearance.

    All kinds of scoring (`evaluate-dpm`, `alone-evaluate`) are one.
    """
    kinds: dict[str, dict[str, float]] = {}
    for row in history.phases:
        member, kind = str(row.get("member", "server")), str(row.get("kind", row.get("phase")))
        kind = "evaluate" if "evaluate" in kind.split("-") else kind
        seconds = kinds.setdefault(kind, defaultdict(float))
        seconds[member] += number(row.get("seconds")) or 0.0
    rows = [TimeRow(kind, dict(by_member)) for kind, by_member in kinds.items()]
    return [row for row in rows if round(row.total, 1) > 0]


def size_text(num_bytes: float) -> str:
    """`3.4 MB`: a number of bytes in decimal units.

    >>> size_text(999), size_text(3_400_000)
    ('999 B', '3.4 MB')
    """
    if num_bytes < 1000:
        return f"{num_bytes:.0f} B"
    for unit in ("kB", "MB", "GB"):
        num_bytes /= 1000
        if num_bytes < 999.95:
            return f"{num_bytes:.1f} {unit}"
    return f"{num_bytes / 1000:.1f} TB"


def time_text(seconds: float) -> str:
    """`2 min 5 s`: a duration in its two largest units.

    >>> time_text(0.42), time_text(59.96), time_text(7500)
    ('0.4 s', '1 min 0 s', '2 h 5 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"
