"""The only thing of a server that devices reach: TLS, a few paths, and a list of who may use them.

`/v1/coplms/enrol` lets devices in, `/v1/coplms/blobs/` hands out offered files, `/v1/fleet/` is
passed on to a SuperLink on loopback, `/health` says that the gate is there. Other paths are 404.
"""

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

from coplms.config.network import split_address
from coplms.errors import RunError
from coplms.runtimes.network.audit import LOGGER, Audit
from coplms.runtimes.network.blobs import Blobs
from coplms.runtimes.network.certificates import Certificates, server_context
from coplms.runtimes.network.connections import BoundedListener, BoundedLoop, bounded_protocol
from coplms.runtimes.network.dispatch import Dispatcher
from coplms.runtimes.network.enrolment import Enrolment, OnEnrol
from coplms.runtimes.network.extra import flower_extra
from coplms.runtimes.network.fleet import Fleet, Upstream, open_client
from coplms.runtimes.network.limits import Limits
from coplms.runtimes.network.meter import Meter
from coplms.runtimes.network.registry import Registry
from coplms.runtimes.network.signing import SignatureCheck

if TYPE_CHECKING:
    import httpx
    import uvicorn

_START_SECONDS = 10.0
_GRACE_SECONDS = 0.3
_END_SECONDS = 5.0
_MAX_HEAD_BYTES = 16384


class Gate:
    """A TLS server on a thread of its own."""

    def __init__(
        self,
        *,
        listen: str,
        certificates: Certificates,
        registry: Registry,
        consortium: str,
        upstream: Upstream,
        on_enrol: OnEnrol,
        limits: Limits | None = None,
    ) -> None:
        """Prepares a gate; `start` opens it.

        Args:
            listen: `host:port` to listen at; port 0 takes a free one.
            certificates: The server's.
            registry: Who is let in.
            consortium: Its name, for devices.
            upstream: The SuperLink behind it.
            on_enrol: See `OnEnrol`. If it raises, the device is told to try again.
            limits: Absent: the defaults.
        """
        self.listen = listen
        self.certificates = certificates
        self.upstream = upstream
        self.limits = limits or Limits()
        self._registry = registry
        self._meter = Meter()
        self._audit = Audit()
        check = SignatureCheck()
        self._blobs = Blobs(registry, check)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="coplms-enrol")
        self._enrolment = Enrolment(
            consortium, registry, on_enrol, self._executor, check, self._audit, self.limits
        )
        self._socket: socket.socket | None = None
        self._address: str | None = None
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None

    @property
    def address(self) -> str:
        """`host:port` at which the gate listens, or did."""
        if self._address is None:
            raise RuntimeError("the gate is not started")
        return self._address

    def start(self) -> None:
        """Listen; returns when devices can connect.

        Raises:
            RunError: If the address is taken or not this machine's.
            ConfigError: If the certificate does not fit its key.
            MissingExtraError: If the extra `flower` is not installed.
        """
        context = server_context(self.certificates)
        with flower_extra():
            import uvicorn
        client = open_client(self.upstream, self.limits)
        self._socket = _bind(self.listen, self.limits)
        host, port = self._socket.getsockname()[:2]
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        fleet = Fleet(self.upstream, self._registry, self.limits, client)
        dispatcher = Dispatcher(
            enrol=self._enrolment.answer,
            blob=self._blobs.answer,
            fleet=fleet.answer,
            audit=self._audit,
            meter=self._meter,
            limits=self.limits,
        )
        config = uvicorn.Config(
            dispatcher,
            interface="asgi3",
            http=bounded_protocol(self.limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=self.limits.idle_seconds,
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
            ssl_context_factory=lambda _config, _default: context,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._run, args=(self._server, client), name="coplms-gate", daemon=True
        )
        self._thread.start()
        self._wait_until_started(self._server, self._thread)

    def offer(self, blobs: Mapping[str, Path]) -> None:
        """Let devices fetch these files, too, by the SHA-256 of their content.

        Raises:
            ConsortiumError: If a file is missing.
        """
        self._blobs.offer(blobs)

    def wire_bytes(self, device: str) -> tuple[int, int]:
        """Bytes to and from a device since the gate was made, bodies and heads."""
        return self._meter.wire_bytes(device)

    def fetched(self, device: str) -> dict[str, int]:
        """Digest -> bytes of offered files that were sent to a device."""
        return self._meter.fetched(device)

    def close(self) -> None:
        """Stop within about half a second; what is under way is cut off. May be called twice."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_GRACE_SECONDS)
            if self._thread.is_alive() and self._loop is not None:
                self._loop.call_soon_threadsafe(self._cut_off)
            self._thread.join(_END_SECONDS)
        if self._socket is not None:
            self._socket.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, server: "uvicorn.Server", client: "httpx.AsyncClient") -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            async with client:
                await server.serve(sockets=[self._socket] if self._socket else [])

        def make_loop() -> BoundedLoop:
            loop = BoundedLoop()
            loop.handshake_seconds = self.limits.handshake_seconds
            return loop

        try:
            with asyncio.Runner(loop_factory=make_loop) as runner:
                runner.run(serve())
        except Exception as error:
            self._failure = error
            LOGGER.error("the gate has ended", exc_info=error)
        finally:
            self._loop = None

    def _wait_until_started(self, server: "uvicorn.Server", thread: threading.Thread) -> None:
        end = time.monotonic() + _START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > end:
                self.close()
                raise RunError(
                    f"{self.listen}: the gate did not start: {self._failure or 'it took too long'}."
                ) from self._failure
            time.sleep(0.005)

    def _cut_off(self) -> None:
        """End connections that are still open, on the loop's thread."""
        if self._server is not None:
            self._server.force_exit = True
            for connection in list(self._server.server_state.connections):
                transport = connection.transport
                if isinstance(transport, asyncio.WriteTransport):
                    transport.abort()


def _bind(listen: str, limits: Limits) -> socket.socket:
    host, port = split_address(listen)
    try:
        return BoundedListener(host, port, limits)
    except OSError as error:
        remedy = (
            "Another process listens there: end it, or give another port with network.listen"
            if error.errno == errno.EADDRINUSE
            else "Give an address of this machine and a port above 1023 with network.listen"
        )
        raise RunError(f"{listen}: the gate cannot listen: {error.strerror}. {remedy}.") from error
