"""Flower's SuperLink on this machine's loopback interface, kept running."""

import contextlib
import secrets
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from coplms.errors import RunError
from coplms.runtimes.flower.calls import EngineLost
from coplms.runtimes.flower.child import Child
from coplms.runtimes.flower.control import Control
from coplms.runtimes.flower.engine import TaskType, httpx
from coplms.runtimes.flower.logs import close_logger, file_logger
from coplms.runtimes.flower.loopback import HOST, bypass_proxy, free_port
from coplms.runtimes.flower.run import Run
from coplms.runtimes.flower.task import RuntimeApi, Task

START_SECONDS = 60.0
"""A SuperLink that does not answer after this long is reported."""
WATCH_SECONDS = 0.5
HEALTH_SECONDS = 5.0
DEAF_CHECKS = 6
"""A SuperLink that lets so many health checks go by is started anew."""


@dataclass(frozen=True)
class LoopbackTls:
    """TLS files of the SuperLink.

    Attributes:
        ca: Certificate of the authority that signed it.
        certificate: For 127.0.0.1, as an IP address among its alternative names.
        key: Its private key.
    """

    ca: Path
    certificate: Path
    key: Path


class SuperLink:
    """A SuperLink that is started anew whenever it dies, and the run that we have in it.

    It starts with an empty database each time (payloads stay in a database, and a run that nobody
    owns any more would go on), so devices are registered anew; within its life it keeps its
    database, so that a SuperLink that was killed knows its devices again.

    Attributes:
        address: Where it listens; on this machine only. Devices come through a gate.
        log: What happened to it, beside `superlink.log`, which holds its own words.
    """

    def __init__(self, state: Path, tls: LoopbackTls, port: int | None = None) -> None:
        """Takes what to start; starts nothing.

        Args:
            state: A folder of its own, made if absent.
            tls: Its TLS files.
            port: Where to listen; any free one by default.
        """
        self.address = f"{HOST}:{port or free_port()}"
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
        self._state = state
        self._tls = tls
        self._secret = secrets.token_hex(32).encode("ascii")
        self.log = file_logger(state / "transport.log")
        self._child = Child(
            "the SuperLink", self._command(), state / "superlink.log", state / "superlink-home"
        )
        bypass_proxy()
        ca = tls.ca.read_bytes()
        self._control = Control(self.address, ca)
        self._runtime = RuntimeApi(self.address, ca, self._secret)
        context = ssl.create_default_context(cadata=ca.decode("ascii"))
        self._health = httpx.Client(verify=context, trust_env=False, timeout=HEALTH_SECONDS)
        self._nodes_lock = threading.Lock()
        self._nodes: dict[str, int] = {}
        self._run: Run | None = None
        self._run_lock = threading.Lock()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    @property
    def pid(self) -> int | None:
        """The SuperLink's process id while it runs."""
        return self._child.pid

    @property
    def nodes(self) -> Mapping[str, int]:
        """Names of the registered devices -> their node ids."""
        return MappingProxyType(self._nodes)

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            RunError: If it does not.
        """
        for old in self._state.glob("state.db*"):
            old.unlink()
        secret = self._state / "executor.secret"
        secret.touch(mode=0o600)
        secret.write_bytes(self._secret)
        self._child.start()
        self._watcher.start()
        try:
            self._wait_until_healthy()
        except RunError:
            self.close()
            raise

    def register(self, public_key: bytes, name: str) -> int:
        """Let a device in; its node id. The same key gets the same id.

        Args:
            public_key: A line in OpenSSH's format.
            name: The device's name, which its replies will bear.

        Raises:
            ConsortiumError: If it is not such a key.
            RunError: If the SuperLink does not answer.
        """
        with self._nodes_lock:
            self._wait_until_healthy()
            try:
                node_id = self._control.register(public_key, name)
            except EngineLost as error:
                raise self._failure(f"device '{name}' could not be registered: {error}") from error
            self._nodes = {**self._nodes, name: node_id}
            return node_id

    def run(self) -> Run:
        """The run to send messages in; a new one if the last is lost.

        Raises:
            RunError: If the SuperLink does not answer.
        """
        with self._run_lock:
            if self._run is not None and not self._run.is_lost:
                return self._run
            deadline = time.monotonic() + START_SECONDS
            while True:
                self._wait_until_healthy()
                try:
                    self._run = self._start_run()
                except EngineLost as error:
                    self.log.warning("no run: %s", error)
                    if time.monotonic() > deadline or self._closing.wait(WATCH_SECONDS):
                        raise self._failure(f"no run could be started: {error}") from error
                else:
                    return self._run

    def close(self) -> None:
        """End it and all that belongs to it; within seconds."""
        self._closing.set()
        if self._watcher.is_alive():
            self._watcher.join()
        if self._run is not None:
            self._run.drop()
        for client in (self._control, self._runtime, self._health):
            client.close()
        self._child.stop()
        close_logger(self.log)

    def _command(self) -> list[str]:
        host, _, port = self.address.partition(":")
        return [
            *["superlink", "--host", host, "--port", port],
            *["--ssl-ca-certfile", str(self._tls.ca), "--ssl-certfile", str(self._tls.certificate)],
            *["--ssl-keyfile", str(self._tls.key), "--enable-supernode-auth"],
            *["--disable-runtime-dependency-installation", "--isolation", "process"],
            *["--superexec-auth-secret-file", str(self._state / "executor.secret")],
            *["--database", str(self._state / "state.db")],
        ]

    def _start_run(self) -> Run:
        if self._run is not None:
            self._run.drop()
            self._control.stop_run(self._run.run_id)
            self._run = None
        run_id = self._control.start_run()
        task = self._acquire(run_id)
        self.log.info("run %d started", run_id)
        return Run(task)

    def _acquire(self, run_id: int) -> Task:
        while (task := self._runtime.acquire(TaskType.SERVER_APP)) is not None:
            if task.run_id == run_id:
                return task
            task.drop()
        raise EngineLost(f"the task of run {run_id} is gone")

    def _is_healthy(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return bool(self._health.get(f"https://{self.address}/health").status_code == 200)
        return False

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_healthy():
            if time.monotonic() > deadline or self._closing.wait(0.2):
                raise self._failure(f"the SuperLink does not answer at {self.address}")

    def _watch(self) -> None:
        deaf, checked, pause = 0, time.monotonic(), WATCH_SECONDS
        while not self._closing.wait(pause):
            pause = WATCH_SECONDS
            if self._child.pid is None:
                self.log.warning("the SuperLink has died; it is started anew")
                with contextlib.suppress(RunError):  # tried again after the pause
                    self._child.start()
                deaf, pause = 0, 4 * WATCH_SECONDS
            elif time.monotonic() - checked > HEALTH_SECONDS:
                deaf = 0 if self._is_healthy() else deaf + 1
                checked = time.monotonic()
            if deaf >= DEAF_CHECKS:
                self.log.warning("the SuperLink does not answer; it is ended")
                self._child.stop()

    def _failure(self, what: str) -> RunError:
        return RunError(f"{what}. What it said is in {self._child.log}.")
