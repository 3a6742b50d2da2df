"""A gate on loopback with real TLS, and behind it something that answers like a SuperLink."""

import asyncio
import base64
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coplms.runtimes.network.audit import LOGGER
from coplms.runtimes.network.bundle import JoinBundle
from coplms.runtimes.network.certificates import (
    Certificates,
    device_context,
    own_certificates,
    server_context,
)
from coplms.runtimes.network.client import enrol
from coplms.runtimes.network.fetch import Source
from coplms.runtimes.network.fleet import Upstream
from coplms.runtimes.network.gate import Gate
from coplms.runtimes.network.keys import DeviceKey, device_key
from coplms.runtimes.network.limits import Limits
from coplms.runtimes.network.registry import Registry

if TYPE_CHECKING:
    import httpx


@pytest.fixture(autouse=True, scope="session")
def _extra() -> None:
    for name in ("cryptography", "httpx", "uvicorn"):
        pytest.importorskip(name, reason="the extra `flower` is not installed")


@dataclass
class FakeSuperLink:
    """Answers every path, and remembers what it was asked."""

    address: str = ""
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    status: int = 200
    answer: bytes = b"from the superlink"
    announced: int | None = None
    """Length in the answer's head, where that is not the answer's."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append((scope["method"], scope["raw_path"].decode(), headers, body))
        answer = [
            (b"content-type", b"application/protobuf"),
            (b"content-length", str(self.announced or len(self.answer)).encode()),
            (b"location", b"/v1/control/run"),
            (b"set-cookie", b"a=b"),
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": answer})
        await send({"type": "http.response.body", "body": self.answer})


@dataclass
class Clock:
    """The day, and by how much it was put forward."""

    ahead: float = 0.0

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self.ahead, UTC)


@dataclass
class Site:
    """A gate, what is behind it, and devices."""

    folder: Path
    gate: Gate
    registry: Registry
    superlink: FakeSuperLink
    certificates: Certificates
    clock: Clock
    calls: list[tuple[str, bytes]]

    @property
    def port(self) -> int:
        return int(self.gate.address.rpartition(":")[2])

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def bundle(self, name: str = "law", days: float = 7) -> JoinBundle:
        return self.registry.issue(
            name,
            consortium="lab",
            address=self.address,
            ca=self.certificates.ca_pem,
            days=days,
        )

    def key(self, name: str = "law") -> DeviceKey:
        return device_key(self.folder / "devices" / name)

    def join(self, name: str = "law") -> DeviceKey:
        key = self.key(name)
        enrol(self.bundle(name), key)
        return key

    def source(self, key: DeviceKey) -> Source:
        return Source(self.address, self.certificates.ca_pem, key)

    def client(self) -> "httpx.Client":
        import httpx

        context = device_context(self.certificates.ca_pem)
        return httpx.Client(base_url=f"https://{self.address}", verify=context, trust_env=False)

    def raw(self, content: bytes, seconds: float = 5) -> bytes:
        """What comes back for bytes that no client would send."""
        context = device_context(self.certificates.ca_pem)
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(content)
            answer = b""
            try:
                while chunk := secure.recv(65536):
                    answer += chunk
            except (TimeoutError, ConnectionError, ssl.SSLError):
                pass
            return answer


def flower_headers(key: DeviceKey, ahead: float = 0.0) -> dict[str, str]:
    """What a SuperNode sends to name itself."""
    stamp = datetime.fromtimestamp(time.time() + ahead, UTC).isoformat()
    return {
        "flwr-public-key": base64.b64encode(key.public.pem).decode(),
        "flwr-timestamp": stamp,
        "flwr-signature": base64.b64encode(key.sign(stamp.encode())).decode(),
    }


@pytest.fixture
def signed_by() -> Callable[[DeviceKey], dict[str, str]]:
    return flower_headers


@pytest.fixture(scope="session")
def certificates(_extra: None, tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return own_certificates(tmp_path_factory.mktemp("tls"), ["localhost"])


@pytest.fixture(scope="session")
def _superlink_server(certificates: Certificates) -> Iterator[FakeSuperLink]:
    import uvicorn

    fake = FakeSuperLink()
    context = server_context(certificates)
    config = uvicorn.Config(
        fake,
        interface="asgi3",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        ssl_context_factory=lambda _config, _default: context,
    )
    server = uvicorn.Server(config)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    fake.address = f"127.0.0.1:{listening.getsockname()[1]}"
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield fake
    server.should_exit = server.force_exit = True
    thread.join()
    listening.close()


@pytest.fixture
def superlink(_superlink_server: FakeSuperLink) -> FakeSuperLink:
    fake = _superlink_server
    fake.requests.clear()
    fake.status, fake.answer, fake.announced = 200, b"from the superlink", None
    return fake


@pytest.fixture(scope="session")
def _closing() -> Iterator[list[threading.Thread]]:
    """Gates close beside the next tests."""
    threads: list[threading.Thread] = []
    yield threads
    for thread in threads:
        thread.join()


@pytest.fixture
def make_site(
    tmp_path: Path,
    certificates: Certificates,
    superlink: FakeSuperLink,
    _closing: list[threading.Thread],
) -> Iterator[Callable[..., Site]]:
    gates = []

    def make(
        *,
        limits: Limits | None = None,
        key_days: float | None = None,
        on_enrol: Callable[[str, bytes], None] | None = None,
        tls: Certificates | None = None,
        upstream: str | None = None,
    ) -> Site:
        calls: list[tuple[str, bytes]] = []
        clock = Clock()
        registry = Registry(tmp_path / "server" / "registry.json", key_days, clock)
        gate = Gate(
            listen="127.0.0.1:0",
            certificates=tls or certificates,
            registry=registry,
            consortium="lab",
            upstream=Upstream(upstream or superlink.address, certificates.ca),
            on_enrol=on_enrol or (lambda name, key: calls.append((name, key))),
            limits=limits,
        )
        gate.start()
        gates.append(gate)
        return Site(tmp_path, gate, registry, superlink, certificates, clock, calls)

    yield make
    for gate in gates:
        _closing.append(threading.Thread(target=gate.close))
        _closing[-1].start()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


@pytest.fixture
def audit_log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger=LOGGER.name)
    return caplog
