"""The log of whom a gate turned away and let in, which a flood cannot fill."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from coplms.runtimes.network.limits import Buckets

LOGGER = logging.getLogger("coplms.gate")

_REPEAT_SECONDS = 60.0
_MAX_KINDS = 1024
_LINES = 60
_LINES_PER_SECOND = 1.0
_MAX_SHOWN = 80


@dataclass(frozen=True)
class Who:
    """What is known of somebody who was turned away.

    Attributes:
        remote: Address.
        device: Name, which may be a claim.
        fingerprint: Of the key that was shown.
    """

    remote: str
    device: str | None = None
    fingerprint: str | None = None


_SERVER = Who("the server")


class Audit:
    """Writes a line for a refusal, unless an equal one was written within a minute.

    All refusals together get one line per second, and 60 at once: whoever changes addresses or
    keys with every request cannot fill the disk either. What was left out is counted in the next
    line of its kind.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lines = Buckets(_LINES, _LINES_PER_SECOND, clock=clock)
        self._kinds: dict[tuple[Who, str], tuple[float, int]] = {}
        self._left_out = 0
        self._lock = threading.Lock()

    def refused(self, who: Who, reason: str, detail: str = "") -> None:
        """Note that a request was turned away."""
        more = self._more(who, reason)
        if more is not None:
            LOGGER.warning("refused %s: %s%s%s", _show(who), reason, _quoted(detail), more)

    def failed(self, message: str) -> None:
        """Note that a request could not be answered through the server's own fault."""
        more = self._more(_SERVER, message)
        if more is not None:
            LOGGER.error("%s%s", message, more)

    def enrolled(self, who: Who) -> None:
        """Note that a device was let in."""
        LOGGER.info("enrolled %s", _show(who))

    def _more(self, who: Who, reason: str) -> str | None:
        """What a line has to say of those left out before it; None: leave this out too."""
        with self._lock:
            repeated = self._repeated(who, reason)
            if repeated is None:
                return None
            left_out, self._left_out = self._left_out, 0
        more = f" ({repeated} more like this)" if repeated else ""
        return more + (f" ({left_out} other refusals not shown)" if left_out else "")

    def _repeated(self, who: Who, reason: str) -> int | None:
        """How many equal refusals were not shown since the last line; None: do not show this."""
        now = self.clock()
        kind = (who, reason)
        shown, count = self._kinds.pop(kind, (-_REPEAT_SECONDS, 0))
        if now - shown < _REPEAT_SECONDS:
            self._kinds[kind] = (shown, count + 1)
            return None
        if not self._lines.take(""):
            self._left_out += 1
            return None
        self._kinds[kind] = (now, 0)
        if len(self._kinds) > _MAX_KINDS:
            del self._kinds[next(iter(self._kinds))]
        return count


def _show(who: Who) -> str:
    device = "an unknown device" if who.device is None else f"device {_short(who.device)}"
    return f"{device} at {who.remote}, key {who.fingerprint or 'none'}"


def _quoted(detail: str) -> str:
    return f" {_short(detail)}" if detail else ""


def _short(text: str) -> str:
    """Quoted, without line breaks: it comes from strangers."""
    return ascii(text[:_MAX_SHOWN])
