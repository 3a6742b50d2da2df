"""From a path to who answers it; everything else is 404."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus

from coplms.errors import CoplmsError
from coplms.runtimes.network.audit import LOGGER, Audit, Who
from coplms.runtimes.network.blobs import BLOBS
from coplms.runtimes.network.enrolment import ENROL
from coplms.runtimes.network.exchange import (
    GoneError,
    Receive,
    RefusedError,
    Request,
    Response,
    Scope,
    Send,
    read_request,
)
from coplms.runtimes.network.fleet import FLEET
from coplms.runtimes.network.limits import Limits
from coplms.runtimes.network.meter import Meter

Answer = Callable[[Request], Awaitable[Response]]

HEALTH = "/health"

_DRAINED_BYTES = 2**20
_DRAIN_SECONDS = 2.0
_HEAD_BYTES = 60  # status line and date


class Dispatcher:
    """The gate's ASGI application."""

    def __init__(
        self, enrol: Answer, blob: Answer, fleet: Answer, audit: Audit, meter: Meter, limits: Limits
    ) -> None:
        self.enrol = enrol
        self.blob = blob
        self.fleet = fleet
        self.audit = audit
        self.meter = meter
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            await self._exchange(scope, receive, send)
        except (GoneError, asyncio.CancelledError):
            return  # the other side has gone, or the gate closes; so does uvicorn the connection

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        remote = scope["client"][0] if scope["client"] else "unknown"
        request: Request | None = None
        try:
            request = read_request(scope, receive, self.limits.stall_seconds)
            response = await self._answer(request)
        except RefusedError as refusal:
            who = Who(remote, refusal.device, refusal.fingerprint)
            self.audit.refused(who, f"{refusal.status} {refusal.reason}", refusal.detail)
            response = _refusal(refusal)
        except CoplmsError as error:
            self.audit.failed(str(error))
            response = _refusal(RefusedError(503, "server's own error"))
        if request is None:
            response = _last(response)
        else:
            response = await _drained(request, response)
            if response.device is not None:
                self.meter.add_up(response.device, request.head_bytes + request.received)
        await self._send(request, response, send)

    async def _answer(self, request: Request) -> Response:
        if request.path.startswith(FLEET):
            return await self.fleet(request)
        if request.path.startswith(BLOBS):
            return await self.blob(request)
        if request.path == ENROL:
            return await self.enrol(request)
        if request.path == HEALTH:
            return _health(request)
        raise RefusedError(404, "no such path", detail=request.path)

    async def _send(self, request: Request | None, response: Response, send: Send) -> None:
        headers = dict(response.headers)
        if isinstance(response.body, bytes):
            headers.setdefault("content-length", str(len(response.body)))
        pairs = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
        ]
        start = {"type": "http.response.start", "status": response.status, "headers": pairs}
        self._count(response, _HEAD_BYTES + sum(len(n) + len(v) + 4 for n, v in pairs))
        await self._within(send(start))
        if isinstance(response.body, bytes):
            self._count(response, len(response.body))
            await self._within(send({"type": "http.response.body", "body": response.body}))
        elif request is not None:
            await self._stream(request, response, response.body, send)

    async def _stream(
        self, request: Request, response: Response, body: AsyncGenerator[bytes, None], send: Send
    ) -> None:
        """Send a body as it is made, until the other side goes away."""
        gone = asyncio.ensure_future(request.gone())
        sent, due = 0, response.headers.get("content-length")
        try:
            async for chunk in body:
                if gone.done():
                    raise GoneError("closed the connection")
                sent += len(chunk)
                self._count(response, len(chunk), response.digest)
                await self._within(
                    send({"type": "http.response.body", "body": chunk, "more_body": True})
                )
        except Exception as error:
            if isinstance(error, GoneError):
                raise
            LOGGER.error("%s: the answer was cut off", request.path, exc_info=error)
            raise GoneError("the answer's source failed") from error
        finally:
            gone.cancel()
            await body.aclose()
        if due is not None and sent != int(due):
            raise GoneError("the answer is shorter than announced")
        await self._within(send({"type": "http.response.body", "body": b""}))

    async def _within(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self.limits.stall_seconds):
                await sending
        except TimeoutError as error:
            raise GoneError("stopped reading") from error

    def _count(self, response: Response, num_bytes: int, digest: str | None = None) -> None:
        if response.device is not None:
            self.meter.add_down(response.device, num_bytes, digest)


def _health(request: Request) -> Response:
    if request.method not in ("GET", "HEAD"):
        raise RefusedError(405, "health is a GET")
    return Response(200, b"ok\n", {"content-type": "text/plain"})


def _refusal(refusal: RefusedError) -> Response:
    status = HTTPStatus(refusal.status)
    answer = {"reason": refusal.reason, **refusal.extra}
    headers = {"content-type": "application/json"}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["retry-after"] = "5"
    return Response(status, json.dumps(answer).encode("utf-8"), headers)


async def _drained(request: Request, response: Response) -> Response:
    """The response; if a body is left unread, the connection closes after it.

    A short rest is read before, or its sender may never see the response.
    """
    left = request.length - request.received
    if left <= 0:
        return response
    if left <= _DRAINED_BYTES and isinstance(response.body, bytes):
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                async for _ in request.chunks():
                    pass
        except TimeoutError:
            pass
    return _last(response)


def _last(response: Response) -> Response:
    """The response, after which the connection closes."""
    return replace(response, headers={**response.headers, "connection": "close"})
