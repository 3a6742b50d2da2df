"""X.509: an authority that signs one server's certificates and nothing else."""

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from coplms.errors import ConfigError
from coplms.runtimes.network.extra import flower_extra

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 365
_RENEW_DAYS = 30
_SLACK = timedelta(hours=1)
"""A device's clock may be this much behind when it first meets a certificate."""


def make_authority(now: datetime) -> tuple[bytes, bytes]:
    """A root certificate and its key in PEM: it may sign end certificates, not further ones."""
    with flower_extra():
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    name = _name(f"coplms server's authority {x509.random_serial_number():x}"[:60])
    builder = (
        _builder(name, name, key, now, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(public),
            critical=False,
        )
    )
    return _pem(builder.sign(key, SHA256()), key)


def make_certificate(
    ca: Path, ca_key: Path, names: Iterable[str], now: datetime
) -> tuple[bytes, bytes]:
    """A server certificate for host names and IP addresses, and its key, in PEM.

    Raises:
        ConfigError: If the authority's files are broken, or it ends within 30 days.
    """
    with flower_extra():
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256
    authority, signer = _load_authority(ca, ca_key)
    left = authority.not_valid_after_utc - now
    if left < timedelta(days=_RENEW_DAYS):
        raise ConfigError(
            f"{ca}: the server's own authority ends on {authority.not_valid_after_utc:%Y-%m-%d}. "
            "Delete the file and hand a new join bundle to every device."
        )
    key = ec.generate_private_key(ec.SECP256R1())
    sans = x509.SubjectAlternativeName([_general_name(name) for name in sorted(names)])
    days = min(_SERVER_DAYS, left.days)
    builder = (
        _builder(_name("coplms server"), authority.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(sans, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
    )
    return _pem(builder.sign(signer, SHA256()), key)


def normal_name(name: str) -> str:
    """A host name or IP address as `names_in` shows it.

    >>> normal_name("0:0::1"), normal_name("Example.org.")
    ('::1', 'example.org')
    """
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().removesuffix(".")


def names_in(certificate: bytes) -> frozenset[str]:
    """Host names and IP addresses that a certificate in PEM is made for."""
    with flower_extra():
        from cryptography import x509
    sans = (
        x509.load_pem_x509_certificate(certificate)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    addresses = sans.get_values_for_type(x509.IPAddress)
    return frozenset((*sans.get_values_for_type(x509.DNSName), *map(str, addresses)))


def renewal_due(certificate: bytes, ca: bytes, now: datetime) -> bool:
    """Whether a certificate in PEM is by another authority, or ends within 30 days."""
    with flower_extra():
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
    loaded = x509.load_pem_x509_certificate(certificate)
    try:
        loaded.verify_directly_issued_by(x509.load_pem_x509_certificate(ca))
    except (ValueError, InvalidSignature):
        return True
    return loaded.not_valid_after_utc - now < timedelta(days=_RENEW_DAYS)


def _load_authority(ca: Path, ca_key: Path) -> "tuple[x509.Certificate, EllipticCurvePrivateKey]":
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        authority = x509.load_pem_x509_certificate(ca.read_bytes())
        key = load_pem_private_key(ca_key.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the key is of another kind")
        if key.public_key() != authority.public_key():
            raise ValueError("the key is not the certificate's")
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{ca}, {ca_key.name}: the server's own authority is broken: {error}. Restore both "
            "files from a copy, or delete them and hand a new join bundle to every device."
        ) from error
    return authority, key


def _builder(
    subject: "x509.Name",
    issuer: "x509.Name",
    key: "EllipticCurvePrivateKey",
    now: datetime,
    days: int,
) -> "x509.CertificateBuilder":
    from cryptography import x509

    start = now.astimezone(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _SLACK)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> "x509.Name":
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])


def _general_name(name: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: "x509.Certificate", key: "EllipticCurvePrivateKey") -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), secret
