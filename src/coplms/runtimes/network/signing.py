"""Requests that a device has signed: what is signed, and when a signature counts.

The signature binds method, path, body, key and time, so that it proves nothing for another
request, and counts once within a few minutes.
"""

import base64
import binascii
import hashlib
import threading
import time
from collections.abc import Callable, Mapping

from coplms.runtimes.network.keys import DeviceKey, PublicKey

PUBLIC_KEY = "coplms-public-key"
TIMESTAMP = "coplms-timestamp"
SIGNATURE = "coplms-signature"

WINDOW_SECONDS = 300
"""A signature counts this long, and may come from a clock that is this much ahead."""

Clock = Callable[[], float]
"""Seconds since 1970, as `time.time`."""


class StaleError(Exception):
    """The clocks differ, or the signature is old.

    Attributes:
        seconds: How far the signer's clock was ahead; negative if behind.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"signed {-seconds:.0f} s ago")
        self.seconds = seconds


class BadSignatureError(Exception):
    """Not signed by the key that it names, or used before."""


def sign_request(
    key: DeviceKey, method: str, path: str, body: bytes = b"", clock: Clock = time.time
) -> dict[str, str]:
    """The headers that prove who sends a request."""
    stamp = str(round(clock() * 1e6))
    signature = key.sign(_content(key.public, method, path, stamp, body))
    return {
        PUBLIC_KEY: key.public.openssh,
        TIMESTAMP: stamp,
        SIGNATURE: base64.b64encode(signature).decode("ascii"),
    }


class SignatureCheck:
    """Accepts each signed request once. Safe to use from several threads.

    What was accepted is remembered while it could be replayed; it costs memory for admitted keys
    only, since it is noted after the signature was checked.
    """

    def __init__(self, clock: Clock = time.time) -> None:
        self.clock = clock
        self._seen: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def accept(
        self, key: PublicKey, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> None:
        """Returns if the headers are a fresh signature of the request by the key.

        Raises:
            StaleError: If the time is not within the window.
            BadSignatureError: If the signature is wrong or was used before.
        """
        stamp = headers.get(TIMESTAMP, "")
        content = _content(key, method, path, stamp, body)
        if not _verify(key, headers.get(SIGNATURE, ""), content):
            raise BadSignatureError("the signature is wrong")
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 20):
            raise BadSignatureError("the time is no number")
        now = self.clock()
        ahead = int(stamp) / 1e6 - now
        if abs(ahead) > WINDOW_SECONDS:
            raise StaleError(ahead)
        self._note(hashlib.sha256(content).digest(), now)

    def _note(self, digest: bytes, now: float) -> None:
        with self._lock:
            if digest in self._seen:
                raise BadSignatureError("the signature was used before")
            oldest = now - 2 * WINDOW_SECONDS
            while self._seen:  # in the order of insertion, which is that of time
                first = next(iter(self._seen))
                if self._seen[first] >= oldest:
                    break
                del self._seen[first]
            self._seen[digest] = now


def verify_flower(key: PublicKey, stamp: str, signature: str) -> bool:
    """Whether a SuperNode's headers are signed by the key: Flower signs the time alone."""
    return _verify(key, signature, stamp.encode("utf-8"))


def _content(key: PublicKey, method: str, path: str, stamp: str, body: bytes) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    lines = ("coplms-request-1", method, path, key.openssh, stamp, digest)
    return "\n".join(lines).encode("utf-8")


def _verify(key: PublicKey, signature: str, content: bytes) -> bool:
    try:
        decoded = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    return key.verify(decoded, content)
