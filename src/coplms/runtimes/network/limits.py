"""Bounds on what strangers may cost a gate."""

import time
from collections.abc import Callable
from dataclasses import dataclass

_MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """How much a gate takes, and how long it waits.

    Attributes:
        push_bytes: Longest body that a device may push in a request.
        enrol_bytes: Longest body of an enrolment.
        connections: Open connections in all.
        connections_per_host: Open connections from one address.
        accepts: Connections that one address may open at once, TLS or not.
        accepts_per_second: How fast an address earns further ones.
        handshake_seconds: How long TLS may take to begin.
        enrolments: Enrolments that one address may try at once.
        enrolments_per_second: How fast an address earns further tries.
        head_seconds: Until a connection's next request must have come whole, but for its body.
        stall_seconds: Longest pause within a body, in either direction.
        idle_seconds: How long a connection without a request is kept.
        upstream_seconds: How long the upstream may take to begin its answer.
    """

    push_bytes: int = 64 * _MIB
    enrol_bytes: int = 16384
    connections: int = 512
    connections_per_host: int = 128
    accepts: int = 256
    accepts_per_second: float = 20.0
    handshake_seconds: float = 10.0
    enrolments: int = 60
    enrolments_per_second: float = 1.0
    head_seconds: float = 15.0
    stall_seconds: float = 60.0
    idle_seconds: int = 75
    upstream_seconds: float = 120.0


class Buckets:
    """A bucket of tries for each key, refilled over time.

    >>> now = 0.0
    >>> buckets = Buckets(2, 1.0, clock=lambda: now)
    >>> [buckets.take("a"), buckets.take("a"), buckets.take("a"), buckets.take("b")]
    [True, True, False, True]
    >>> now = 1.0
    >>> buckets.take("a")
    True
    """

    def __init__(
        self,
        capacity: int,
        per_second: float,
        max_keys: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = capacity
        self.per_second = per_second
        self.max_keys = max_keys
        self.clock = clock
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> bool:
        """Whether the key has a try left, which is then used."""
        now = self.clock()
        level, since = self._levels.pop(key, (float(self.capacity), now))
        level = min(self.capacity, level + (now - since) * self.per_second)
        self._levels[key] = (level - 1, now) if level >= 1 else (level, now)
        if len(self._levels) > self.max_keys:  # the one that was asked about longest ago
            del self._levels[next(iter(self._levels))]
        return level >= 1
