"""The server's certificate and the root that devices know it by: made here, or given."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from coplms.errors import ConfigError
from coplms.runtimes.network.authority import (
    make_authority,
    make_certificate,
    names_in,
    normal_name,
    renewal_due,
)
from coplms.runtimes.network.private_files import locked, make_private_folder, write_private

ALWAYS = ("localhost", "127.0.0.1")
"""Names that every certificate made here has."""

_HOST_MISMATCH = (62, 64)
_EXPIRED = 10


@dataclass(frozen=True)
class Certificates:
    """Three PEM files.

    Attributes:
        certificate: The server's, followed by those between it and `ca`.
        key: Its private key.
        ca: The root.
    """

    certificate: Path
    key: Path
    ca: Path

    @property
    def ca_pem(self) -> str:
        """The root's text, as join bundles carry it."""
        return self.ca.read_text(encoding="ascii")


def own_certificates(
    folder: Path, names: Sequence[str], now: datetime | None = None
) -> Certificates:
    """Certificates of an authority that is made on first use and kept.

    The server's certificate is made anew within 30 days of its end, or when other names are asked
    for; devices need not notice.

    Args:
        folder: Where they lie; becomes private.
        names: Host names and IP addresses by which devices reach the server.
        now: The time; absent: that of the clock.

    Raises:
        ConfigError: If a file in the folder is broken or the authority ends.
        RunError: If the folder cannot be written to.
    """
    make_private_folder(folder)
    found = Certificates(folder / "server.pem", folder / "server.key", folder / "ca.pem")
    wanted = frozenset(normal_name(name) for name in (*names, *ALWAYS))
    moment = now or datetime.now(UTC)
    with locked(folder / "lock"):
        if not found.ca.exists():
            ca, key = make_authority(moment)
            write_private(folder / "ca.key", key)
            write_private(found.ca, ca)
        if _is_due(found, wanted, moment):
            certificate, key = make_certificate(found.ca, folder / "ca.key", wanted, moment)
            write_private(found.key, key)
            write_private(found.certificate, certificate)
    return found


def given_certificates(certificate: Path, key: Path, ca: Path, host: str) -> Certificates:
    """Certificates made elsewhere, after a handshake in memory as a device would make it.

    Raises:
        ConfigError: If a file is missing or broken, the key is another certificate's, or a device
            that asks for `host` would refuse the certificate.
    """
    given = Certificates(certificate, key, ca)
    for name, path in (("certificate", certificate), ("key", key), ("ca", ca)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"network.{name}: {path} cannot be read: {error.strerror}. Name a PEM file that "
                "exists and that this user may read."
            ) from error
    try:
        server, device = server_context(given), device_context(ca.read_text(encoding="ascii"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"network.ca: {ca} holds no certificate in PEM.") from error
    _shake_hands(server, device, host, given)
    return given


def server_context(files: Certificates) -> ssl.SSLContext:
    """TLS 1.2 or newer, for the server's side.

    Raises:
        ConfigError: If the files hold no certificate with its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        found = (
            f"{files.key} is not the key of {files.certificate}"
            if reason == "KEY_VALUES_MISMATCH"
            else f"{files.certificate} and {files.key} are no certificate and key in PEM ({reason})"
        )
        raise ConfigError(
            f"network.certificate: {found}. Give the certificate (the server's own first in its "
            "file) and the key that it was made for, without a password."
        ) from error
    return context


def device_context(ca_pem: str) -> ssl.SSLContext:
    """TLS 1.2 or newer, for a device that knows servers by this root only.

    Raises:
        ConfigError: If the text is no certificate.
    """
    try:
        context = ssl.create_default_context(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError("the CA is no certificate in PEM. Give the root's PEM file.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def explain(error: ssl.SSLCertVerificationError, host: str) -> str:
    """What is wrong with a server's certificate, in the middle of a sentence."""
    if error.verify_code == _EXPIRED:
        return "has expired"
    if error.verify_code in _HOST_MISMATCH:
        return f"is not made for '{host}'"
    return f"is not by the expected CA ({error.verify_message})"


def _is_due(found: Certificates, wanted: frozenset[str], now: datetime) -> bool:
    if not (found.certificate.exists() and found.key.exists()):
        return True
    content = found.certificate.read_bytes()
    try:
        server_context(found)
    except ConfigError:  # its writer was stopped between two files
        return True
    return names_in(content) != wanted or renewal_due(content, found.ca.read_bytes(), now)


def _shake_hands(
    server: ssl.SSLContext, device: ssl.SSLContext, host: str, files: Certificates
) -> None:
    """Returns if a device would accept the server."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        device.wrap_bio(back, there, server_hostname=host),
        server.wrap_bio(there, back, server_side=True),
    )
    try:
        for _ in range(3):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(
            f"network.certificate: {files.certificate} {explain(error, host)}, so that devices "
            f"would refuse the server at '{host}'. Give a valid certificate with this name among "
            f"its subject alternative names, or mend network.address; the root of its chain "
            f"belongs into network.ca ({files.ca})."
        ) from error
