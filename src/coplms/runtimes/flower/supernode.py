"""Flower's SuperNode on a device, kept running and connected."""

import contextlib
import logging
import secrets
import threading
import time
from pathlib import Path

from coplms.errors import RunError
from coplms.runtimes.flower.calls import EngineLost, call, connect
from coplms.runtimes.flower.child import Child
from coplms.runtimes.flower.engine import (
    DeactivateNodeRequest,
    FleetHttpClient,
    NodeAuthHttpInterceptor,
    ec,
    load_ssh_private_key,
)
from coplms.runtimes.flower.loopback import HOST, accepts, free_port
from coplms.runtimes.flower.task import RuntimeApi

OUTAGE_SECONDS = 10
"""A SuperNode that misses its server for longer ends, and a new one waits for the server. Left
alone it would pause up to 20 seconds between attempts."""
STEADY_SECONDS = 30.0
FIRST_PAUSE = 1.0
LAST_PAUSE = 10.0
PROBE_SECONDS = 2.0


class SuperNode:
    """A SuperNode that is started anew whenever it ends and its server can be reached."""

    def __init__(
        self, state: Path, address: str, ca: Path, private_key: Path, log: logging.Logger
    ) -> None:
        """Takes what to start; starts nothing.

        Args:
            state: The device's folder; holds the log and Flower's own files.
            address: Of the server: 'host:port'.
            ca: Certificate of the authority that signed the server's.
            private_key: The device's, in OpenSSH's format.
            log: For what happens to it.
        """
        self._state = state
        self._address = address
        self._ca = ca
        self._private_key = private_key
        self._log = log
        self._secret = secrets.token_hex(32).encode("ascii")
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._runtime: RuntimeApi | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._supervise, daemon=True)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        child = self._child
        return None if child is None else child.pid

    @property
    def runtime(self) -> RuntimeApi | None:
        """Where it gives out its tasks; None before its first start."""
        return self._runtime

    def start(self) -> None:
        """Keep it running from now on."""
        secret = self._state / "executor.secret"
        secret.touch(mode=0o600)
        secret.write_bytes(self._secret)
        self._thread.start()

    def restart(self) -> None:
        """End it, so that it is started anew."""
        if self._child is not None:
            self._child.stop(seconds=1.0)

    def close(self) -> None:
        """End it for good."""
        self._closing.set()
        self._thread.join()
        if self._child is not None:
            self._child.stop(seconds=2.0)
        if self._runtime is not None:
            self._runtime.close()

    def remember(self, node_id: int) -> None:
        """Note what Flower calls this device: see `_part`."""
        if not self._node_file.exists() or self._node_file.read_text() != str(node_id):
            self._node_file.write_text(str(node_id))

    @property
    def _node_file(self) -> Path:
        return self._state / "node-id"

    def _supervise(self) -> None:
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            if not accepts(self._address):
                self._closing.wait(PROBE_SECONDS)
                continue
            self._part()
            started = time.monotonic()
            self._start_child()
            while self.pid is not None and not self._closing.wait(0.2):
                pass
            if self._closing.is_set():
                return
            self._log.warning("the SuperNode has ended; supernode.log says why")
            steady = time.monotonic() - started > STEADY_SECONDS
            pause = FIRST_PAUSE if steady else min(2 * pause, LAST_PAUSE)
            self._closing.wait(pause)

    def _start_child(self) -> None:
        port = str(free_port())
        command = [
            *["supernode", "--superlink", self._address, "--root-certificates", str(self._ca)],
            *["--auth-supernode-private-key", str(self._private_key)],
            *["--host", HOST, "--port", port, "--isolation", "process"],
            *["--superexec-auth-secret-file", str(self._state / "executor.secret")],
            *["--max-wait-time", str(OUTAGE_SECONDS)],
        ]
        home = self._state / "supernode-home"
        self._child = Child("the SuperNode", command, self._state / "supernode.log", home)
        try:
            self._child.start()
        except RunError as error:
            self._log.error("%s", error)
            return
        self._runtime = RuntimeApi(f"{HOST}:{port}", None, self._secret)
        self._log.info("the SuperNode is started")

    def _part(self) -> None:
        """Say goodbye for a SuperNode that was killed.

        A server does not let a device connect that it believes to be connected, which it does for
        up to a minute after the last it heard of it.
        """
        if not self._node_file.exists():
            return
        with contextlib.suppress(EngineLost, OSError, ValueError):
            node_id = int(self._node_file.read_text())
            key = load_ssh_private_key(self._private_key.read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            signer = NodeAuthHttpInterceptor(key, key.public_key())
            client = connect(FleetHttpClient, self._address, self._ca.read_bytes(), [signer])
            with contextlib.closing(client):
                call(client.DeactivateNode, DeactivateNodeRequest(node_id=node_id), tries=1)
