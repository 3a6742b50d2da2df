"""Servers and devices as processes of their own, that a test starts, watches, and always ends."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

PATIENCE = 300.0
"""Seconds in which anything that must happen does, on a busy machine."""
LONG = 900.0
"""Seconds in which a whole run ends there."""
MARK = "COPLMS_TEST_MARK"
COMMAND = ("-m", "coplms.cli.main")


class Running:
    """A `coplms` process."""

    def __init__(self, arguments: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        """Start `python ARGUMENTS` in a group of its own, its output going to the log's end."""
        self.log = log
        self._begin = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
                cwd=log.parent,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """What it has printed."""
        with self.log.open("rb") as file:
            file.seek(self._begin)
            return file.read().decode("utf-8", "replace")

    def wait_for(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """The first match of the pattern in what it prints."""
        end = time.monotonic() + seconds
        while True:
            ended = self.process.poll() is not None
            found = re.search(pattern, self.text, re.MULTILINE)
            if found:
                return found
            if ended or time.monotonic() > end:
                state = "ended" if ended else f"ran {seconds} s"
                raise AssertionError(f"{state} without saying {pattern!r}:\n{self.text[-3000:]}")
            time.sleep(0.05)

    def says(self, pattern: str) -> bool:
        """Whether the pattern is in what it has printed."""
        return re.search(pattern, self.text, re.MULTILINE) is not None

    def end(self, seconds: float = LONG) -> int:
        """Its exit status, once it ends by itself."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"ran {seconds} s:\n{self.text[-3000:]}") from None

    def finish(self) -> None:
        """Wait until it has ended, and make sure that it has done so well."""
        assert self.end() == 0, self.text[-3000:]

    def kill(self) -> None:
        """End it as abruptly as the system can; its children are left alone."""
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL

    def terminate(self) -> tuple[int, float]:
        """Ask it to end; its exit status, and the seconds that it took."""
        start = time.monotonic()
        self.process.terminate()
        return self.end(), time.monotonic() - start


def wait_until(
    claim: Callable[[], object],
    what: str,
    *running: Running,
    seconds: float = PATIENCE,
) -> float:
    """Wait until the claim holds; how long that took.

    Args:
        claim: Asked again and again.
        what: The claim, in words.
        running: Processes that must not end before.
        seconds: How long.
    """
    start = time.monotonic()
    while not claim():
        ended = [each.text[-3000:] for each in running if each.process.poll() is not None]
        if ended or time.monotonic() - start > seconds:
            raise AssertionError("\n".join([f"{what}: not within {seconds} s", *ended]))
        time.sleep(0.05)
    return time.monotonic() - start


def marked(mark: str) -> Iterator[psutil.Process]:
    """The living processes that were started, by whatever way, with this mark."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.environ().get(MARK) == mark:
                yield process


def kill_marked(mark: str) -> None:
    """End all that is left of a test."""
    for process in marked(mark):
        with suppress(psutil.Error):
            process.kill()
