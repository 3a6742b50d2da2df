"""A request as a gate reads it, strictly, and its response."""

import asyncio
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    MutableMapping,
)
from dataclasses import dataclass, field
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_LENGTH = re.compile(r"[0-9]{1,15}")


class RefusedError(Exception):
    """A request that is turned away.

    Attributes:
        status: Of the response.
        reason: A word for the device and the log.
        device: Name, where known or claimed.
        fingerprint: Of the key, where shown.
        detail: For the log.
        extra: Beside `reason` in the response.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        *,
        device: str | None = None,
        fingerprint: str | None = None,
        detail: str = "",
        extra: Mapping[str, str | int | float] | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.device = device
        self.fingerprint = fingerprint
        self.detail = detail
        self.extra = extra or {}


class GoneError(Exception):
    """The other side has closed the connection, or stopped reading or writing."""


@dataclass
class Request:
    """A request whose head was read.

    Attributes:
        method: In capitals.
        path: As on the wire, nothing decoded; without a query.
        query: What follows the question mark.
        headers: Names in lower case, each once.
        remote: Address of the other side.
        length: Of the body, in bytes.
        head_bytes: Of the head, about.
        received: Bytes of the body that were read so far.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    remote: str
    length: int
    head_bytes: int
    stall_seconds: float
    receive: Receive = field(repr=False)
    received: int = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, as it comes.

        Raises:
            GoneError: If the rest does not come.
        """
        more = self.length > 0
        while more:
            try:
                async with asyncio.timeout(self.stall_seconds):
                    message = await self.receive()
            except TimeoutError as error:
                raise GoneError("stopped sending") from error
            if message["type"] != "http.request":
                raise GoneError("closed the connection")
            more = message.get("more_body", False)
            self.received += len(message["body"])
            yield message["body"]

    async def body(self, limit: int, seconds: float) -> bytes:
        """The whole body.

        Raises:
            RefusedError: If it is longer than `limit` bytes or takes too long.
        """
        if self.length > limit:
            raise RefusedError(413, "too large", detail=f"{self.length} bytes")
        try:
            async with asyncio.timeout(seconds):
                return b"".join([chunk async for chunk in self.chunks()])
        except TimeoutError as error:
            raise RefusedError(408, "too slow") from error

    async def gone(self) -> None:
        """Returns when the other side has closed the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            continue


@dataclass(frozen=True)
class Response:
    """What is sent back.

    Attributes:
        status: Of HTTP.
        body: At once, or as it is made.
        headers: Names in lower case.
        device: Whose bytes these are.
        digest: Of the offered file that the body is part of.
    """

    status: int
    body: bytes | AsyncGenerator[bytes, None] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    device: str | None = None
    digest: str | None = None


def read_request(scope: Scope, receive: Receive, stall_seconds: float) -> Request:
    """The request of an ASGI scope.

    Refused is whatever two readers could understand differently: a header twice, a body of unknown
    length, a length that is no number.

    Raises:
        RefusedError: If the head is not unambiguous.
    """
    pairs: list[tuple[bytes, bytes]] = scope["headers"]
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
    raw_path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    request = Request(
        method=scope["method"],
        path=raw_path.decode("latin-1"),
        query=query.decode("latin-1"),
        headers=headers,
        remote=scope["client"][0] if scope["client"] else "unknown",
        length=0,
        head_bytes=len(raw_path) + len(query) + 20 + sum(len(n) + len(v) + 4 for n, v in pairs),
        stall_seconds=stall_seconds,
        receive=receive,
    )
    if len(headers) != len(pairs):
        raise RefusedError(400, "a header occurs twice")
    if not all(value.isascii() for value in headers.values()):
        raise RefusedError(400, "a header is not ASCII")
    if "transfer-encoding" in headers:
        raise RefusedError(411, "the body's length is not given")
    length = headers.get("content-length", "0")
    if not _LENGTH.fullmatch(length):
        raise RefusedError(400, "content-length is no number")
    request.length = int(length)
    return request
