"""Flower's Fleet API through the gate, and that nothing else of Flower can be reached."""

import base64
import socket

import pytest

from coplms.runtimes.network import fleet
from coplms.runtimes.network.fleet import CALLS, FLEET
from coplms.runtimes.network.limits import Limits

PULL = FLEET + "pull-messages"


def call(site, headers: dict[str, str], path: str = PULL, body: bytes = b"pull"):
    with site.client() as client:
        return client.post(path, content=body, headers=headers)


def test_names_are_those_of_flower():
    pytest.importorskip("flwr", reason="the extra `flower` is not installed")
    from flwr.common.constant import TIMESTAMP_HEADER
    from flwr.supercore import constant
    from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

    assert fleet.PUBLIC_KEY == constant.FLEET_HTTP_PUBLIC_KEY_HEADER
    assert fleet.SIGNATURE == constant.FLEET_HTTP_SIGNATURE_HEADER
    assert fleet.TIMESTAMP == TIMESTAMP_HEADER
    for name in (
        constant.FLWR_PACKAGE_NAME_METADATA_KEY,
        constant.FLWR_PACKAGE_VERSION_METADATA_KEY,
        constant.FLWR_COMPONENT_NAME_METADATA_KEY,
    ):
        assert name in fleet.TO_SUPERLINK
    assert constant.VERSION_INCOMPATIBILITY_MESSAGE_METADATA_KEY in fleet.FROM_SUPERLINK
    offered = {path for _, path in PROTOBUF_REQUEST_TYPES if path.startswith(FLEET)}
    assert offered - CALLS == {FLEET + "register-node", FLEET + "unregister-node"}
    assert offered >= CALLS


def test_a_supernodes_own_headers_pass(site):
    pytest.importorskip("flwr", reason="the extra `flower` is not installed")
    import httpx
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key
    from flwr.supercore.protobuf.client import ProtobufRequestContext
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    private = load_ssh_private_key(site.join().path.read_bytes(), password=None)
    request = httpx.Request("POST", f"https://{site.address}{PULL}", content=b"x")
    context = ProtobufRequestContext(rpc_method="", message=None, request=request)
    with site.client() as client:
        answer = NodeAuthHttpInterceptor(private, private.public_key()).intercept(
            context, lambda asked: client.send(asked.request)
        )
    assert answer.content == b"from the superlink"


def test_a_call_of_an_admitted_device_is_passed_on(site, signed_by):
    headers = {**signed_by(site.join()), "content-type": "application/protobuf"}
    body = bytes(range(256)) * 4096
    answer = call(site, headers, FLEET + "push-object", body)
    assert (answer.status_code, answer.content) == (200, b"from the superlink")
    assert answer.headers["content-type"] == "application/protobuf"
    method, path, passed, received = site.superlink.requests[0]
    assert (method, path, received) == ("POST", FLEET + "push-object", body)
    assert {name: passed[name] for name in headers} == headers


def test_only_headers_that_flower_reads_are_passed_on(site, signed_by):
    secret = {
        "flwr-superexec-signature": "x",
        "flwr-task-token": "x",
        "x-flwr-client": "x",
        "authorization": "x",
        "cookie": "x",
        "x-forwarded-for": "9.9.9.9",
        "te": "trailers",
        "upgrade": "h2c",
    }
    answer = call(site, {**signed_by(site.join()), **secret})
    assert answer.status_code == 200
    passed = site.superlink.requests[0][2]
    assert not set(secret) & set(passed)
    assert passed["host"] == site.superlink.address
    assert "set-cookie" not in answer.headers
    assert "location" not in answer.headers


def test_a_superlinks_refusal_reaches_the_device(site, signed_by):
    key = site.join()
    site.superlink.status = 401
    assert call(site, signed_by(key)).status_code == 401


def test_a_superlinks_redirect_does_not_reach_the_device(site, signed_by):
    key = site.join()
    site.superlink.status = 307
    assert call(site, signed_by(key)).status_code == 502


def test_strangers_are_refused_before_the_superlink_hears_of_them(site, signed_by):
    site.join()
    answer = call(site, signed_by(site.key("stranger")))
    assert (answer.status_code, answer.json()) == (401, {"reason": "unknown"})
    assert call(site, {}).status_code == 401
    assert not site.superlink.requests


def test_another_keys_signature_is_refused(site, signed_by):
    key, thief = site.join(), site.key("thief")
    headers = {**signed_by(thief), "flwr-public-key": signed_by(key)["flwr-public-key"]}
    assert call(site, headers).json() == {"reason": "signature"}
    assert call(site, {**headers, "flwr-signature": "*"}).json() == {"reason": "signature"}
    assert not site.superlink.requests


def test_a_revoked_device_ends(site, signed_by):
    key = site.join()
    assert call(site, signed_by(key)).status_code == 200
    site.registry.revoke("law")
    answer = call(site, signed_by(key))
    assert (answer.status_code, answer.json()) == (401, {"reason": "revoked"})


def test_a_key_that_is_too_old_ends(make_site, signed_by):
    site = make_site(key_days=1)
    key = site.join()
    site.clock.ahead = 90000
    assert call(site, signed_by(key)).json() == {"reason": "expired"}


def test_a_key_in_another_spelling_is_refused(site, signed_by):
    """Two readers could take two keys from it."""
    key, other = site.join(), site.key("other")
    for text in (
        key.public.pem + other.public.pem,
        b"x" + key.public.pem,
        key.public.pem.rstrip(b"\n"),
        key.public.openssh.encode(),
    ):
        headers = {**signed_by(key), "flwr-public-key": base64.b64encode(text).decode()}
        assert call(site, headers).status_code == 401
    assert not site.superlink.requests


def test_a_long_push_is_refused(make_site, signed_by):
    site = make_site(limits=Limits(push_bytes=1000))
    key = site.join()
    assert call(site, signed_by(key), body=b"x" * 1000).status_code == 200
    assert call(site, signed_by(key), body=b"x" * 1001).status_code == 413
    assert len(site.superlink.requests) == 1


def test_a_superlink_that_is_down_is_waited_for(make_site, signed_by):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = f"127.0.0.1:{taken.getsockname()[1]}"
    site = make_site(upstream=free)
    assert call(site, signed_by(site.join())).status_code == 503


def test_a_superlink_that_cuts_off_is_tried_again(make_site, signed_by):
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            listening.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        site = make_site(upstream=f"127.0.0.1:{listening.getsockname()[1]}")
        assert call(site, signed_by(site.join())).status_code in (502, 503)
        thread.join()


def test_a_superlink_with_a_foreign_certificate_hears_nothing(
    make_site, signed_by, tmp_path, superlink
):
    """`localhost` and 127.0.0.1 are in the certificate, this address is not."""
    port = superlink.address.rpartition(":")[2]
    site = make_site(upstream=f"127.0.0.2:{port}")
    assert call(site, signed_by(site.join())).status_code == 503
    assert not superlink.requests


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(site, signed_by, audit_log):
    import httpx

    headers, site.superlink.announced = signed_by(site.join()), 1000
    with pytest.raises(httpx.RemoteProtocolError):
        call(site, headers)


TRICKS = [
    "/v1/control/run",
    "/v1/runtime/pull-task",
    "/v1/fleet/../control/run",
    "/v1/fleet/..%2fcontrol/run",
    "/v1/fleet/%2e%2e/control/run",
    "/v1/fleet/%2e%2e%2fcontrol%2frun",
    "/v1/fleet/pull-messages/../../control/run",
    "/v1/fleet//../control/run",
    "/v1//fleet/pull-messages",
    "//v1/fleet/pull-messages",
    "//127.0.0.1/v1/control/run",
    "/v1/fleet/pull-messages/",
    "/v1/fleet/pull-messages;a=b",
    "/v1/fleet/pull-messages%00",
    "/v1/fleet/pull-messages%3f",
    "/v1/fleet/pull-messages?next=/v1/control/run",
    "/v1/fleet/pull%2dmessages",
    "/v1/fleet/PULL-MESSAGES",
    "/V1/FLEET/pull-messages",
    "/v1/fleet",
    "/v1/fleet/",
    "/v1/fleet/\\..\\control",
    "/v1/fleet/register-node",
    "/v1/fleet/unregister-node",
    "/./v1/control/run",
    "/health/../v1/control/run",
    "/docs",
    "/openapi.json",
    "/api/v1/fleet/pull-messages",
    "https://127.0.0.1/v1/control/run",
    "https://localhost/v1/fleet/pull-messages",
    "http://127.0.0.1:8711/v1/fleet/pull-messages",
    "127.0.0.1:8711",
    "*",
    "",
]


@pytest.mark.parametrize("method", ["POST", "GET", "CONNECT", "OPTIONS"])
def test_no_trick_with_the_path_reaches_the_superlink(site, signed_by, method):
    headers = "".join(f"{name}: {value}\r\n" for name, value in signed_by(site.join()).items())
    for path in TRICKS:
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"
        status = site.raw(head.encode()).split(b" ", 2)[1:2]
        assert status in ([b"404"], [b"400"], [b"405"]), path
    assert not site.superlink.requests


def test_no_trick_with_the_host_reaches_the_superlink(site, signed_by):
    key = site.join()
    answer = call(site, {**signed_by(key), "host": "evil.example"})
    assert answer.status_code == 200
    assert site.superlink.requests[0][2]["host"] == site.superlink.address


def test_other_methods_are_refused(site, signed_by):
    headers = signed_by(site.join())
    with site.client() as client:
        for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD"):
            assert client.request(method, PULL, headers=headers).status_code in (400, 405)
    assert not site.superlink.requests


AMBIGUOUS = [
    "content-length: 4\r\ncontent-length: 5\r\n",
    "content-length: 4\r\ntransfer-encoding: chunked\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: identity\r\n",
    "transfer-encoding: chunked, identity\r\n",
    "transfer-encoding: xchunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "transfer-encoding:\x0bchunked\r\n",
    "content-length: +4\r\n",
    "content-length: 4_0\r\n",
    "content-length: -1\r\n",
    "content-length: 0x4\r\n",
    "content-length: 9999999999999999999999\r\n",
    " folded: x\r\n",
    "a\x00b: x\r\n",
    "x: a\x00b\r\n",
    "x: a\nhost: b\r\n",
    "accept: \xe9\r\n",
]


@pytest.mark.parametrize("extra", AMBIGUOUS)
def test_requests_that_two_readers_understand_differently_are_refused(site, signed_by, extra):
    headers = "".join(f"{name}: {value}\r\n" for name, value in signed_by(site.join()).items())
    hidden = "POST /v1/control/run HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
    head = f"POST {PULL} HTTP/1.1\r\nhost: localhost\r\n{headers}{extra}\r\n0\r\n\r\n{hidden}"
    answer = site.raw(head.encode("latin-1"), seconds=1)
    assert answer.split(b" ", 2)[1] in (b"400", b"401", b"404", b"411", b"413", b"501")
    assert not site.superlink.requests


@pytest.mark.parametrize("name", ["flwr-public-key", "flwr-signature", "flwr-timestamp", "host"])
def test_a_header_twice_is_refused(site, signed_by, name):
    headers = [*signed_by(site.join()).items(), ("host", "localhost")]
    doubled = [*headers, (name.upper(), dict(headers)[name])]
    lines = "".join(f"{key}: {value}\r\n" for key, value in doubled)
    head = f"POST {PULL} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n{lines}\r\n"
    assert site.raw(head.encode()).split(b" ", 2)[1] == b"400"
    assert not site.superlink.requests


def test_what_follows_a_body_is_not_part_of_it(site, signed_by):
    """Pipelined requests are answered one by one, each by its own rules."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in signed_by(site.join()).items())
    first = f"POST {PULL} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: 4\r\n\r\npull"
    second = "POST /v1/control/run HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    answer = site.raw((first + second).encode())
    assert answer.count(b"HTTP/1.1 200") == 1
    assert answer.count(b"HTTP/1.1 404") == 1
    assert [request[3] for request in site.superlink.requests] == [b"pull"]


def test_bytes_of_a_device_are_counted(site, signed_by):
    key = site.join()
    before = site.gate.wire_bytes("law")
    site.superlink.answer = b"y" * 50_000
    call(site, signed_by(key), body=b"x" * 100_000)
    down, up = (now - then for now, then in zip(site.gate.wire_bytes("law"), before, strict=True))
    assert 50_000 < down < 51_000
    assert 100_000 < up < 101_500
    assert site.gate.wire_bytes("nobody") == (0, 0)
