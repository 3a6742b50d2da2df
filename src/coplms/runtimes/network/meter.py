"""Bytes to and from each device."""

import threading
from collections import Counter


class Meter:
    """Counts by device. Safe for several threads.

    Bodies and the text of heads are counted; what TLS and TCP add is not.
    """

    def __init__(self) -> None:
        self._down: Counter[str] = Counter()
        self._up: Counter[str] = Counter()
        self._fetched: dict[str, Counter[str]] = {}
        self._lock = threading.Lock()

    def add_down(self, device: str, num_bytes: int, digest: str | None = None) -> None:
        """Bytes were sent to a device, of an offered file where a digest is given."""
        with self._lock:
            self._down[device] += num_bytes
            if digest is not None:
                self._fetched.setdefault(device, Counter())[digest] += num_bytes

    def add_up(self, device: str, num_bytes: int) -> None:
        """Bytes came from a device."""
        with self._lock:
            self._up[device] += num_bytes

    def wire_bytes(self, device: str) -> tuple[int, int]:
        """Bytes to and from a device."""
        with self._lock:
            return self._down[device], self._up[device]

    def fetched(self, device: str) -> dict[str, int]:
        """Digest -> bytes of offered files that were sent to a device."""
        with self._lock:
            return dict(self._fetched.get(device, {}))
