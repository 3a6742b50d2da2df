"""The server's own authority, and certificates made elsewhere."""

import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest

from coplms.errors import ConfigError
from coplms.runtimes.network.authority import make_authority, make_certificate, names_in
from coplms.runtimes.network.certificates import (
    device_context,
    explain,
    given_certificates,
    own_certificates,
    server_context,
)

NOW = datetime.now(UTC)


def handshake(files, host: str, strict: bool = True) -> None:
    device = device_context(files.ca_pem)
    if strict:
        device.verify_flags |= ssl.VERIFY_X509_STRICT
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        device.wrap_bio(back, there, server_hostname=host),
        server_context(files).wrap_bio(there, back, server_side=True),
    )
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].getpeercert()


def test_a_certificate_is_made_for_names_addresses_and_this_machine(tmp_path):
    files = own_certificates(tmp_path / "tls", ["Lab.example.org", "10.0.0.5", "2001:db8:0::1"])
    for host in ("lab.example.org", "10.0.0.5", "2001:db8::1", "localhost", "127.0.0.1"):
        handshake(files, host)
    for host in ("example.org", "10.0.0.6", "sub.lab.example.org"):
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            handshake(files, host)
        assert explain(caught.value, host) == f"is not made for '{host}'"


def test_only_the_owner_reads_the_folder(tmp_path):
    files = own_certificates(tmp_path / "tls", [])
    folder = files.ca.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_certificates_are_kept(tmp_path):
    first = own_certificates(tmp_path, ["lab", "2001:DB8:0::1"])
    before = first.certificate.read_bytes(), first.ca.read_bytes()
    own_certificates(tmp_path, ["2001:db8::1", "LAB"])
    assert (first.certificate.read_bytes(), first.ca.read_bytes()) == before


@pytest.mark.parametrize(
    ("names", "later"),
    [(["other"], timedelta(0)), (["lab"], timedelta(days=340)), (["lab"], timedelta(days=900))],
)
def test_a_certificate_is_renewed_and_its_ca_kept(tmp_path, names, later):
    first = own_certificates(tmp_path, ["lab"], NOW - later)
    before, ca = first.certificate.read_bytes(), first.ca.read_bytes()
    own_certificates(tmp_path, names, NOW)
    assert first.certificate.read_bytes() != before
    assert first.ca.read_bytes() == ca
    handshake(first, names[0])


def test_a_certificate_without_its_key_is_renewed(tmp_path):
    first = own_certificates(tmp_path, ["lab"])
    _, key = make_certificate(first.ca, tmp_path / "ca.key", ["lab"], NOW)
    first.key.write_bytes(key)  # as if its writer was stopped between the two files
    handshake(own_certificates(tmp_path, ["lab"]), "lab")


def test_an_authority_is_never_replaced(tmp_path):
    """A new one would shut out every device that was given the old one."""
    first = own_certificates(tmp_path, ["lab"])
    ca = first.ca.read_bytes()
    (tmp_path / "ca.key").unlink()
    own_certificates(tmp_path, ["lab"])  # not needed: the certificate is good
    with pytest.raises(ConfigError, match=r"Restore both\s+files"):
        own_certificates(tmp_path, ["other"])
    (tmp_path / "ca.key").write_bytes(make_authority(NOW)[1])
    with pytest.raises(ConfigError, match="not the certificate's"):
        own_certificates(tmp_path, ["other"])
    assert first.ca.read_bytes() == ca


def test_an_authority_at_its_end_is_named(tmp_path):
    own_certificates(tmp_path, ["lab"], NOW - timedelta(days=3640))
    with pytest.raises(ConfigError, match=r"own authority ends on .* new join bundle"):
        own_certificates(tmp_path, ["lab"], NOW)


def test_an_authority_signs_no_further_authority(tmp_path):
    files = own_certificates(tmp_path / "own", ["lab"])
    (tmp_path / "sub.pem").write_bytes(files.certificate.read_bytes())
    pair = make_certificate(files.certificate, files.key, ["victim"], NOW)
    (tmp_path / "leaf.pem").write_bytes(pair[0] + files.certificate.read_bytes())
    (tmp_path / "leaf.key").write_bytes(pair[1])
    with pytest.raises(ConfigError, match="is not by the expected CA"):
        given_certificates(tmp_path / "leaf.pem", tmp_path / "leaf.key", files.ca, "victim")


def test_given_certificates_are_taken(tmp_path):
    made = own_certificates(tmp_path, ["lab"])
    assert given_certificates(made.certificate, made.key, made.ca, "lab") == made
    assert names_in(made.certificate.read_bytes()) == {"lab", "localhost", "127.0.0.1"}


def test_given_certificates_that_devices_would_refuse_are_named(tmp_path):
    made = own_certificates(tmp_path / "a", ["lab"])
    other = own_certificates(tmp_path / "b", ["lab"])
    past = own_certificates(tmp_path / "c", ["lab"], NOW - timedelta(days=400))
    text = tmp_path / "text"
    text.write_text("no certificate")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for certificate, key, ca, host, reason in (
        (made.certificate, made.key, made.ca, "other.example", "is not made for 'other.example'"),
        (made.certificate, made.key, other.ca, "lab", "is not by the expected CA"),
        (past.certificate, past.key, past.ca, "lab", "has expired"),
        (made.certificate, other.key, made.ca, "lab", "is not the key of"),
        (tmp_path / "absent", made.key, made.ca, "lab", "network.certificate: .*cannot be read"),
        (made.certificate, tmp_path / "absent", made.ca, "lab", "network.key: .*cannot be read"),
        (made.certificate, made.key, tmp_path / "absent", "lab", "network.ca: .*cannot be read"),
        (text, made.key, made.ca, "lab", "no certificate and key in PEM"),
        (made.certificate, text, made.ca, "lab", "no certificate and key in PEM"),
        (made.certificate, made.key, text, "lab", "no certificate in PEM"),
        (made.certificate, made.key, binary, "lab", "no certificate in PEM"),
    ):
        with pytest.raises(ConfigError, match=reason):
            given_certificates(certificate, key, ca, host)
