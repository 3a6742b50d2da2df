"""A child process that dies with us, whatever we die of, and whose output goes to a file."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from coplms.errors import RunError

MAX_LOG_BYTES = 10 * 2**20
"""A log that is longer when a child starts is set aside, once."""


class Child:
    """One of Flower's servers, through `launch`. Safe to use from any thread.

    Attributes:
        name: What it is for people, as in "the SuperLink".
        log: Where its output goes.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, home: Path) -> None:
        """Takes what to start; starts nothing.

        Args:
            name: For messages.
            command: Arguments of `coplms.runtimes.flower.launch`.
            log: A file to append to.
            home: Flower's private folder for this process (`FLWR_HOME`).
        """
        self.name = name
        self.log = log
        self._command = [sys.executable, "-m", "coplms.runtimes.flower.launch", *command]
        self._home = home
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start it; does nothing while it runs.

        Raises:
            RunError: If the system refuses.
        """
        with self._lock:
            if self.pid is not None:
                return
            self._let_go()
            try:
                self._start()
            except OSError as error:
                raise RunError(
                    f"{self.name} could not be started: {error.strerror}. Its log is {self.log}."
                ) from error

    def stop(self, seconds: float = 5.0) -> None:
        """End it: asked first, and forced after so many seconds."""
        with self._lock:
            if self._process is None:
                return
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._let_go()

    def _start(self) -> None:
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,  # never written to: it ends when we do
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(self._home),
                start_new_session=True,  # Ctrl-C is ours to answer
            )

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.wait()
            self._process.stdin.close()
        self._process = None


def _environment(home: Path) -> dict[str, str]:
    bin_folder = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }
