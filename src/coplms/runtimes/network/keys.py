"""A device's key: ECDSA on P-384, in OpenSSH's format, which Flower's SuperNode asks for."""

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from coplms.errors import ConfigError
from coplms.runtimes.network.extra import flower_extra
from coplms.runtimes.network.private_files import create_private, make_private_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

MAX_KEY_CHARS = 1024
"""A longer text is no public key of this kind."""


@dataclass(frozen=True)
class PublicKey:
    """A device's public key.

    Attributes:
        openssh: One line of kind and base64, without a comment. Equal keys have equal lines.
    """

    openssh: str
    _key: "EllipticCurvePublicKey" = field(repr=False, compare=False)

    @property
    def pem(self) -> bytes:
        """SubjectPublicKeyInfo, which is what a SuperNode sends."""
        with flower_extra():
            from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it: SHA256 and 43 characters."""
        return fingerprint(self.openssh)

    def verify(self, signature: bytes, content: bytes) -> bool:
        """Whether the content was signed with this key's private half (ECDSA, SHA-256)."""
        with flower_extra():
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
            from cryptography.hazmat.primitives.hashes import SHA256
        try:
            self._key.verify(signature, content, ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class DeviceKey:
    """A device's private key and its file."""

    path: Path
    public: PublicKey
    _key: "EllipticCurvePrivateKey" = field(repr=False, compare=False)

    def sign(self, content: bytes) -> bytes:
        """A signature (ECDSA, SHA-256) that `PublicKey.verify` accepts."""
        with flower_extra():
            from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
            from cryptography.hazmat.primitives.hashes import SHA256
        return self._key.sign(content, ECDSA(SHA256()))


def device_key(path: Path) -> DeviceKey:
    """The key in a file, which is made (with mode 0600) if absent and never overwritten.

    Raises:
        ConfigError: If the file holds no such key, or others may read it.
        RunError: If it cannot be written.
    """
    with flower_extra():
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )
    if not path.exists():
        make_private_folder(path.parent)
        made = ec.generate_private_key(ec.SECP384R1())
        text = made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        create_private(path, text)
    return _load(path)


def parse_public_key(text: str) -> PublicKey:
    """A public key from an OpenSSH line (with or without comment) or a PEM block.

    Raises:
        ValueError: If it is neither, or not on P-384.
    """
    with flower_extra():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import (
            load_pem_public_key,
            load_ssh_public_key,
        )
    if len(text) > MAX_KEY_CHARS:
        raise ValueError(f"a public key has at most {MAX_KEY_CHARS} characters, got {len(text)}")
    load = load_pem_public_key if text.startswith("-----BEGIN ") else load_ssh_public_key
    try:
        key = load(text.encode("ascii"))
    except (ValueError, NotImplementedError, UnsupportedAlgorithm) as error:
        raise ValueError("not a public key in OpenSSH's format or PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise ValueError("not an ECDSA key on P-384")
    return _public(key)


def fingerprint(openssh: str) -> str:
    """The fingerprint of an OpenSSH line, as `ssh-keygen -l` shows it.

    >>> fingerprint("ecdsa-sha2-nistp384 AAAA")
    'SHA256:cJ6AyISHokEeHuTfufIqhhSS0gxHZRUMDHlKvXD4FHw'
    """
    digest = hashlib.sha256(base64.b64decode(openssh.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def _public(key: "EllipticCurvePublicKey") -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return PublicKey(line.decode("ascii"), key)


def _load(path: Path) -> DeviceKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        mode, content = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read: {error.strerror}.") from error
    if mode & 0o077:
        raise ConfigError(
            f"{path}: the private key can be read by others (mode {mode & 0o777:o}). If that was a "
            f"mistake of a moment: chmod 600 {path}. Otherwise delete it and ask the operator for "
            "a new join bundle."
        )
    try:
        key = load_ssh_private_key(content, password=None)
    except (ValueError, TypeError, NotImplementedError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: {_NO_KEY}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp384r1":
        raise ConfigError(f"{path}: {_NO_KEY}")
    return DeviceKey(path, _public(key.public_key()), key)


_NO_KEY = (
    "holds no ECDSA key on P-384 in OpenSSH's format and without a password. Make one with "
    "`ssh-keygen -t ecdsa -b 384 -N ''`, or name a file that does not exist and it is made."
)
