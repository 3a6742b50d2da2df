"""Keys, their files, and requests that they sign."""

import random
import shutil
import stat
import subprocess

import pytest

from coplms.errors import ConfigError
from coplms.runtimes.network.keys import device_key, parse_public_key
from coplms.runtimes.network.signing import (
    BadSignatureError,
    SignatureCheck,
    StaleError,
    sign_request,
)


def test_a_key_is_made_once_and_private(tmp_path):
    path = tmp_path / "state" / "device.key"
    first = device_key(path)
    content = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert device_key(path).public == first.public
    assert path.read_bytes() == content
    assert b"BEGIN OPENSSH PRIVATE KEY" in content


def test_a_key_of_others_is_refused_and_kept(tmp_path):
    path = tmp_path / "key"
    for content in (b"", b"text", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="holds no ECDSA key on P-384"):
            device_key(path)
        assert path.read_bytes() == content


def test_a_key_that_others_may_read_is_refused(tmp_path):
    path = device_key(tmp_path / "key").path
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="mode 640"):
        device_key(path)


def test_other_kinds_of_keys_are_refused(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    for made in (ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()):
        text = made.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        (tmp_path / "key").write_bytes(text)
        (tmp_path / "key").chmod(0o600)
        with pytest.raises(ConfigError, match="P-384"):
            device_key(tmp_path / "key")
        line = made.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        with pytest.raises(ValueError, match="P-384"):
            parse_public_key(line.decode())


def test_a_public_key_has_one_spelling(tmp_path):
    key = device_key(tmp_path / "key").public
    assert parse_public_key(key.openssh + " me@home") == key
    assert parse_public_key(key.pem.decode()) == key
    for text in ("", "x", key.openssh[:-9], "é", "A" * 2000, key.openssh.replace("384", "256")):
        with pytest.raises(ValueError, match="key"):
            parse_public_key(text)


def test_damaged_public_keys_are_refused_and_nothing_worse(tmp_path):
    key = device_key(tmp_path / "key").public
    draw = random.Random(0)
    for whole in (key.openssh, key.pem.decode()) * 200:
        text = list(whole)
        for _ in range(draw.randint(1, 4)):
            text[draw.randrange(len(text))] = draw.choice("A/+= \n-\x00é")
        try:
            parse_public_key("".join(text))
        except ValueError:
            continue


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_a_fingerprint_is_that_of_ssh_keygen(tmp_path):
    key = device_key(tmp_path / "key")
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", key.path], capture_output=True, text=True, check=True
    ).stdout
    assert key.public.fingerprint in shown
    assert shown.startswith("384 ")


def test_a_signature_counts_once_within_minutes(tmp_path):
    key = device_key(tmp_path / "key")
    now = 1000.0
    check = SignatureCheck(clock=lambda: now)
    headers = sign_request(key, "GET", "/a", b"body", clock=lambda: 1000.0)
    check.accept(key.public, "GET", "/a", headers, b"body")
    with pytest.raises(BadSignatureError, match="before"):
        check.accept(key.public, "GET", "/a", headers, b"body")
    now = 1299.0
    with pytest.raises(BadSignatureError, match="before"):
        check.accept(key.public, "GET", "/a", headers, b"body")
    now = 1301.0
    with pytest.raises(StaleError):
        check.accept(key.public, "GET", "/a", headers, b"body")
    for number in range(100):
        now = 2000.0 + 100 * number
        fresh = sign_request(key, "GET", "/a", clock=lambda at=now: at)
        check.accept(key.public, "GET", "/a", fresh)
    assert len(check._seen) <= 8  # what can no longer be replayed is forgotten


def test_a_malleable_signature_does_not_count_twice(tmp_path):
    """(r, n - s) is valid where (r, s) is."""
    import base64

    from cryptography.hazmat.primitives.asymmetric.utils import (
        decode_dss_signature,
        encode_dss_signature,
    )

    order = int(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf"
        "581a0db248b0a77aecec196accc52973",
        16,
    )
    key, check = device_key(tmp_path / "key"), SignatureCheck()
    headers = sign_request(key, "GET", "/a")
    check.accept(key.public, "GET", "/a", headers)
    r, s = decode_dss_signature(base64.b64decode(headers["coplms-signature"]))
    twin = base64.b64encode(encode_dss_signature(r, order - s)).decode()
    with pytest.raises(BadSignatureError, match="before"):
        check.accept(key.public, "GET", "/a", {**headers, "coplms-signature": twin})


def test_what_is_no_signature_is_refused(tmp_path):
    key, check = device_key(tmp_path / "key"), SignatureCheck()
    good = sign_request(key, "GET", "/a")
    changes = [
        {"coplms-signature": ""},
        {"coplms-signature": "é"},
        {"coplms-signature": "AAAA"},
        {"coplms-timestamp": ""},
        {"coplms-timestamp": "1e9"},
        {"coplms-timestamp": "9" * 5000},
    ]
    for change in changes:
        with pytest.raises(BadSignatureError):
            check.accept(key.public, "GET", "/a", {**good, **change})
    with pytest.raises(BadSignatureError):
        check.accept(key.public, "GET", "/a", {})
