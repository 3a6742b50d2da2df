"""Flower's Fleet API, passed on to a SuperLink that listens on loopback.

Only the calls that a SuperNode with a key makes are passed on, by exact path, and of their headers
only those that Flower reads. Its Control and Runtime APIs share the SuperLink's port and stay
out of reach.
"""

import base64
import binascii
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coplms.runtimes.network.blobs import admitted
from coplms.runtimes.network.exchange import RefusedError, Request, Response
from coplms.runtimes.network.extra import flower_extra
from coplms.runtimes.network.keys import MAX_KEY_CHARS, PublicKey, parse_public_key
from coplms.runtimes.network.limits import Limits
from coplms.runtimes.network.registry import Registry
from coplms.runtimes.network.signing import verify_flower

if TYPE_CHECKING:
    import httpx

FLEET = "/v1/fleet/"
CALLS = frozenset(
    FLEET + name
    for name in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)
"""What a SuperNode with a key calls. Registering and unregistering are the server's own task."""

PUBLIC_KEY = "flwr-public-key"
TIMESTAMP = "flwr-timestamp"
SIGNATURE = "flwr-signature"
TO_SUPERLINK = (
    "accept",
    "content-length",
    "content-type",
    PUBLIC_KEY,
    TIMESTAMP,
    SIGNATURE,
    "flwr-component-name",
    "flwr-package-name",
    "flwr-package-version",
)
FROM_SUPERLINK = ("content-length", "content-type", "flwr-version-incompatibility-message")

_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Upstream:
    """A SuperLink.

    Attributes:
        address: `host:port`, a name of its certificate.
        ca: PEM file of the root by which it is known.
    """

    address: str
    ca: Path


class Fleet:
    """Passes on the Fleet API's calls of admitted devices."""

    def __init__(
        self, upstream: Upstream, registry: Registry, limits: Limits, client: "httpx.AsyncClient"
    ) -> None:
        self.upstream = upstream
        self.registry = registry
        self.limits = limits
        self.client = client

    async def answer(self, request: Request) -> Response:
        """What the SuperLink answers.

        A refusal of the device is always a 401: it makes a SuperNode end itself, while it takes
        others for a run's end. 502 and 503 make it try again.

        Raises:
            RefusedError: If the device is not let in, the request is none of its calls, or the
                SuperLink does not answer.
        """
        if request.path not in CALLS or request.query:
            raise RefusedError(404, "no such path", detail=request.path)
        if request.method != "POST":
            raise RefusedError(405, "the call is a POST")
        device = self._device(request)
        if request.length > self.limits.push_bytes:
            raise RefusedError(413, "too large", device=device, detail=f"{request.length} bytes")
        return await self._pass_on(request, device)

    def _device(self, request: Request) -> str:
        key = _read_key(request)
        try:
            device = admitted(self.registry, key)
        except RefusedError as refusal:
            refusal.status = 401
            raise
        headers = request.headers
        if not verify_flower(key, headers.get(TIMESTAMP, ""), headers.get(SIGNATURE, "")):
            raise RefusedError(401, "signature", device=device, fingerprint=key.fingerprint)
        return device

    async def _pass_on(self, request: Request, device: str) -> Response:
        import httpx

        headers = {name: request.headers[name] for name in TO_SUPERLINK if name in request.headers}
        passed = self.client.build_request(
            "POST",
            f"https://{self.upstream.address}{request.path}",
            headers={**headers, "content-length": str(request.length)},
            content=request.chunks(),
        )
        try:
            response = await self.client.send(passed, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise RefusedError(503, "SuperLink down", device=device) from error
        except httpx.TransportError as error:
            raise RefusedError(502, "SuperLink cut off", device=device) from error
        if response.is_redirect:
            await response.aclose()
            raise RefusedError(502, "SuperLink redirects", device=device)
        kept = {name: response.headers[name] for name in FROM_SUPERLINK if name in response.headers}
        return Response(response.status_code, _body(response), kept, device)


def open_client(upstream: Upstream, limits: Limits) -> "httpx.AsyncClient":
    """Connections to a SuperLink, which is known by its root only; no proxy, no redirects."""
    with flower_extra():
        import httpx
    context = ssl.create_default_context(cafile=str(upstream.ca))
    return httpx.AsyncClient(
        verify=context,
        trust_env=False,
        follow_redirects=False,
        headers={"accept-encoding": "identity"},
        timeout=httpx.Timeout(limits.upstream_seconds, connect=_CONNECT_SECONDS),
        limits=httpx.Limits(
            max_connections=limits.connections,
            max_keepalive_connections=0,  # an idle one would hold up a SuperLink that ends
        ),
    )


def _read_key(request: Request) -> PublicKey:
    """The key that a SuperNode names, in the one form in which Flower writes it."""
    text = request.headers.get(PUBLIC_KEY, "")
    if len(text) > 2 * MAX_KEY_CHARS:
        raise RefusedError(401, "no public key")
    try:
        pem = base64.b64decode(text, validate=True)
        key = parse_public_key(pem.decode("ascii"))
    except (ValueError, binascii.Error) as error:
        raise RefusedError(401, "no public key", detail=str(error)) from error
    if key.pem != pem:
        raise RefusedError(401, "no public key", fingerprint=key.fingerprint)
    return key


async def _body(response: "httpx.Response") -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    finally:
        await response.aclose()
