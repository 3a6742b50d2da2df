"""The gate as a server: TLS, connections, its beginning and end."""

import socket
import ssl
import threading
import time
import warnings
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from coplms.errors import RunError
from coplms.runtimes.network.certificates import device_context, own_certificates
from coplms.runtimes.network.client import (
    AccessRefusedError,
    ServerAbsentError,
    ServerIdentityError,
    enrol,
)
from coplms.runtimes.network.fleet import Upstream
from coplms.runtimes.network.gate import Gate
from coplms.runtimes.network.limits import Limits


def connect(site, context: ssl.SSLContext) -> str | None:
    with (
        socket.create_connection(("127.0.0.1", site.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return secure.version()


def test_health(site):
    with site.client() as client:
        answer = client.get("/health")
        assert (answer.status_code, answer.content) == (200, b"ok\n")
        assert "server" not in answer.headers
        assert client.head("/health").status_code == 200
        assert client.post("/health").status_code == 405
        assert client.get("/").status_code == 404


def test_old_tls_is_refused(site):
    for version, accepted in (
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ):
        context = ssl.create_default_context(cafile=str(site.certificates.ca))
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        if accepted:
            assert connect(site, context) == version.name.replace("_", ".")
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                connect(site, context)


def test_plain_http_gets_no_answer(site):
    with socket.create_connection(("127.0.0.1", site.port), timeout=5) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"200" not in plain.recv(1000)


def test_strict_clients_accept_the_certificate(site):
    context = ssl.create_default_context(cafile=str(site.certificates.ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert connect(site, context) == "TLSv1.3"


def test_a_server_of_another_ca_gets_no_token(make_site, tmp_path):
    foreign = own_certificates(tmp_path / "foreign", ["localhost"])
    site = make_site(tls=foreign)
    bundle = site.bundle()  # carries the CA that the device expects
    with pytest.raises(ServerIdentityError, match="is not by the expected CA"):
        enrol(bundle, site.key())
    assert not site.calls


def test_an_expired_certificate_is_named(make_site, tmp_path):
    long_ago = datetime.now(UTC) - timedelta(days=500)
    expired = own_certificates(tmp_path / "tls", ["localhost"], long_ago)
    site = make_site(tls=expired)
    site.certificates = expired
    with pytest.raises(ServerIdentityError, match=r"has expired\. Nothing was sent"):
        enrol(site.bundle(), site.key())


def test_a_certificate_for_another_host_is_named(site):
    bundle = site.registry.issue(
        "law",
        consortium="lab",
        address=f"127.0.0.2:{site.port}",
        ca=site.certificates.ca_pem,
        days=1,
    )
    with socket.create_server(("127.0.0.2", 0)) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=relay, args=(listening, site.port))
        thread.start()
        invitation = bundle.invitation.model_copy(update={"address": f"127.0.0.2:{port}"})
        with pytest.raises(ServerIdentityError, match=r"is not made for '127\.0\.0\.2'"):
            enrol(bundle.model_copy(update={"invitation": invitation}), site.key())
        thread.join()


def relay(listening: socket.socket, port: int) -> None:
    """Carries one handshake over."""
    near = listening.accept()[0]
    with near, socket.create_connection(("127.0.0.1", port)) as far:
        for source, sink in ((near, far), (far, near)):
            source.settimeout(0.3)
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
            except OSError:
                continue


def test_a_server_that_is_not_up_is_waited_for(site):
    site.gate.close()
    with pytest.raises(ServerAbsentError, match="may not be up yet"):
        enrol(site.bundle(), site.key())


def test_another_kind_of_server_is_no_coplms_server(make_site, superlink):
    site = make_site()
    bundle = site.registry.issue(
        "law", consortium="lab", address=superlink.address, ca=site.certificates.ca_pem, days=1
    )
    superlink.status = 404
    with pytest.raises(AccessRefusedError, match="Check the address"):
        enrol(bundle, site.key())


def test_a_port_that_is_taken_is_named(site, tmp_path):
    second = Gate(
        listen=f"127.0.0.1:{site.port}",
        certificates=site.certificates,
        registry=site.registry,
        consortium="lab",
        upstream=Upstream("127.0.0.1:1", site.certificates.ca),
        on_enrol=lambda name, key: None,
    )
    with pytest.raises(RunError, match=rf"127\.0\.0\.1:{site.port}: .*another port"):
        second.start()
    second.close()


def test_an_address_of_another_machine_is_named(site):
    gate = Gate(
        listen="192.0.2.1:8710",
        certificates=site.certificates,
        registry=site.registry,
        consortium="lab",
        upstream=Upstream("127.0.0.1:1", site.certificates.ca),
        on_enrol=lambda name, key: None,
    )
    with pytest.raises(RunError, match="an address of this machine"):
        gate.start()


def test_a_gate_closes_quickly_whatever_is_under_way(make_site, tmp_path):
    release = threading.Event()
    site = make_site(on_enrol=lambda name, key: release.wait(20) and None)
    bundle, key = site.bundle(), site.key()

    def try_to_enrol() -> None:
        with pytest.raises(ServerAbsentError):
            enrol(bundle, key)

    waiting = threading.Thread(target=try_to_enrol)
    waiting.start()
    idle = socket.create_connection(("127.0.0.1", site.port))
    with site.client() as client:
        client.get("/health")
        time.sleep(0.1)
        start = time.monotonic()
        site.gate.close()
        assert time.monotonic() - start < 2
    waiting.join()
    release.set()
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", site.port))
    site.gate.close()


def drip(secure: ssl.SSLSocket) -> None:
    for byte in b"GET /health HTTP/1.1\r\n" * 10:
        secure.send(bytes([byte]))
        time.sleep(0.02)


def test_a_connection_that_dawdles_is_cut(make_site):
    site = make_site(limits=Limits(head_seconds=0.3))
    context = device_context(site.certificates.ca_pem)
    with (
        socket.create_connection(("127.0.0.1", site.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        start = time.monotonic()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            drip(secure)
        assert time.monotonic() - start < 2


def test_a_connection_between_requests_is_kept(make_site):
    site = make_site(limits=Limits(head_seconds=0.1))
    with site.client() as client:
        for _ in range(3):
            assert client.get("/health").status_code == 200
            time.sleep(0.15)
            (connection,) = client._transport._pool.connections
        assert connection.info().endswith("Request Count: 3")


def test_a_body_that_stalls_is_given_up(make_site):
    site = make_site(limits=Limits(stall_seconds=0.2))
    head = b"POST /v1/coplms/enrol HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n12"
    start = time.monotonic()
    answer = site.raw(head)
    assert time.monotonic() - start < 3
    assert not answer.startswith(b"HTTP/1.1 200")


def test_an_address_has_a_share_of_the_connections(make_site):
    site = make_site(limits=Limits(connections_per_host=2))
    context = device_context(site.certificates.ca_pem)
    held = []
    for _ in range(2):
        plain = socket.create_connection(("127.0.0.1", site.port), timeout=5)
        held.append(context.wrap_socket(plain, server_hostname="localhost"))
    time.sleep(0.05)
    with pytest.raises(ServerAbsentError):
        enrol(site.bundle(), site.key())
    for connection in held:
        connection.close()
    time.sleep(0.05)
    assert enrol(site.bundle(), site.key()).device == "law"


def test_connections_without_tls_are_bounded(make_site):
    site = make_site(limits=Limits(accepts=3, accepts_per_second=0.001, handshake_seconds=0.3))
    held = [socket.create_connection(("127.0.0.1", site.port), timeout=5) for _ in range(4)]
    start = time.monotonic()
    with suppress(ConnectionError):
        assert held[3].recv(1) == b""  # one too many
    assert time.monotonic() - start < 0.2
    with suppress(ConnectionError):
        assert held[0].recv(1) == b""  # no TLS in time
    assert 0.1 < time.monotonic() - start < 2
    for connection in held:
        connection.close()


def test_a_long_head_is_refused(site):
    head = b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 40_000
    assert site.raw(head).split(b" ", 2)[1:2] in ([b"400"], [])


def test_a_broken_registry_lets_nobody_in(site, signed_by, audit_log):
    bundle, key = site.bundle(), site.key()
    enrol(bundle, key)
    site.registry.path.write_text("{")
    with site.client() as client:
        answer = client.post("/v1/fleet/pull-messages", content=b"", headers=signed_by(key))
    assert answer.status_code == 503
    assert "registry of devices is missing or broken" in audit_log.text
    with pytest.raises(ServerAbsentError, match="server's own error"):
        enrol(bundle, key)


def test_refusals_of_strangers_are_logged_without_what_they_wrote(site, audit_log):
    site.raw(b"GET /a\r\nfake-log-line HTTP/1.1\r\n\r\n")
    with site.client() as client:
        client.get("/" + "z" * 500)
    assert "404 no such path '/zzz" in audit_log.text
    assert "z" * 100 not in audit_log.text
