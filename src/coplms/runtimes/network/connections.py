"""Connections of a gate: how many, and how long one may dawdle before its request is read.

By itself uvicorn waits for ever for the first request of a connection, and a minute for TLS.
"""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coplms.runtimes.network.extra import flower_extra
from coplms.runtimes.network.limits import Buckets, Limits

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol

LOGGER = logging.getLogger("coplms.gate.http")

_BACKLOG = 128


class BoundedListener(socket.socket):
    """A listening socket that takes so many connections from an address and closes the others.

    It sees connections before TLS, which `Hosts` does not.
    """

    def __init__(self, host: str, port: int, limits: Limits) -> None:
        """Listens.

        Raises:
            OSError: If it cannot.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # asyncio sends small answers at once only where the protocol is named
        super().__init__(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._opened = Buckets(limits.accepts, limits.accepts_per_second)
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind((host, port))
            self.listen(_BACKLOG)
        except OSError:
            self.close()
            raise

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection; asyncio goes on after the error that stands for a closed one."""
        connection, address = super().accept()
        if not self._opened.take(str(address[0])):
            connection.close()
            raise ConnectionAbortedError("too many connections")
        return connection, address


class BoundedLoop(asyncio.SelectorEventLoop):
    """An event loop whose servers wait a bounded time for TLS."""

    handshake_seconds = 60.0

    def create_server(self, *args: Any, **kwargs: Any) -> Any:  # uvicorn passes no such bound
        """As everywhere, with the bound."""
        return super().create_server(*args, ssl_handshake_timeout=self.handshake_seconds, **kwargs)


class Hosts:
    """Counts open connections by address."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open: Counter[str] = Counter()

    def enter(self, host: str) -> bool:
        """Note a new connection; whether there is room for it."""
        self._open[host] += 1
        in_all = self._open.total()
        return (
            self._open[host] <= self.limits.connections_per_host
            and in_all <= self.limits.connections
        )

    def leave(self, host: str) -> None:
        """Note that a connection has ended."""
        self._open[host] -= 1
        if self._open[host] <= 0:
            del self._open[host]


class Patience:
    """Cuts a connection off that has no request under way for too long after it began to send."""

    def __init__(
        self, seconds: float, is_busy: Callable[[], bool], cut: Callable[[], None]
    ) -> None:
        self.seconds = seconds
        self.is_busy = is_busy
        self.cut = cut
        self._timer: asyncio.TimerHandle | None = None

    def renew(self) -> None:
        """Begin to wait, or go on waiting, unless a request is under way."""
        if self.is_busy():
            self.end()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.seconds, self._expire)

    def end(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if not self.is_busy():
            self.cut()


def bounded_protocol(limits: Limits) -> "type[H11Protocol]":
    """HTTP/1.1 as uvicorn speaks it by h11, the strict way, with bounds on connections."""
    with flower_extra():
        from uvicorn.protocols.http.h11_impl import H11Protocol
    hosts = Hosts(limits)
    LOGGER.setLevel(logging.ERROR)  # it warns of each malformed request

    class BoundedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.logger = LOGGER
            self._host = self.client[0] if self.client else ""
            self._patience = Patience(limits.head_seconds, self._is_busy, transport.abort)
            if hosts.enter(self._host):
                self._patience.renew()
            else:
                transport.abort()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._patience.renew()

        def connection_lost(self, exc: Exception | None) -> None:
            self._patience.end()
            hosts.leave(self._host)
            super().connection_lost(exc)

        def _is_busy(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

    return BoundedProtocol
