"""How a command ends when the system asks it to."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_sigterm(before: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C would, with exit code 0; a second one is ignored.

    Args:
        before: Called first, in the main thread.
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        before()
        raise SystemExit(0)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
