"""The join bundle: one small file with all that a device needs to find a server and be let in.

Whoever holds a bundle can enrol in its device's name until it is used or void, and whoever can
change it can lead the device to another server: hand it over as you would a password.
"""

import hashlib
import hmac
import json
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from coplms.config.network import split_address
from coplms.errors import ConfigError
from coplms.runtimes.network.private_files import write_private

_MAX_BUNDLE_BYTES = 65536
_HEX = r"^[0-9a-f]{64}$"


def _is_address(address: str) -> str:
    split_address(address)
    return address


def _is_pem(text: str) -> str:
    try:
        ssl.create_default_context(cadata=text)
    except ssl.SSLError as error:
        raise ValueError("is no certificate in PEM") from error
    return text


class Invitation(BaseModel):
    """What of a bundle goes back to the server, with a token that only the server could make."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    consortium: str = Field(max_length=200)
    device: str = Field(max_length=200)
    address: Annotated[str, Field(max_length=300), AfterValidator(_is_address)]
    """`host:port` of the server."""
    expires: AwareDatetime
    nonce: str = Field(pattern=r"^[0-9a-f]{32}$")
    """Names the bundle."""
    ca_sha256: str = Field(pattern=_HEX)
    """Of the bundle's `ca`, as UTF-8."""
    token: str = Field(pattern=_HEX)
    """HMAC-SHA256 of all fields above by the server's secret."""

    def is_made_with(self, secret: bytes) -> bool:
        """Whether the holder of the secret has written every field."""
        fields = self.model_dump(mode="json", exclude={"token"})
        return hmac.compare_digest(self.token, _token(secret, fields))


class JoinBundle(BaseModel):
    """What an operator hands to a device."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    kind: Literal["coplms join bundle 1"] = "coplms join bundle 1"
    invitation: Invitation
    ca: Annotated[str, AfterValidator(_is_pem)]
    """PEM of the only root by which the device knows the server."""


def make_bundle(
    secret: bytes,
    *,
    consortium: str,
    device: str,
    address: str,
    ca: str,
    expires: datetime,
    nonce: str,
) -> JoinBundle:
    """A bundle with a token by the secret; `Registry.issue` also notes it."""
    fields = {
        "consortium": consortium,
        "device": device,
        "address": address,
        "expires": expires.astimezone(UTC).replace(microsecond=0),
        "nonce": nonce,
        "ca_sha256": hashlib.sha256(ca.encode("utf-8")).hexdigest(),
    }
    unsigned = Invitation.model_validate({**fields, "token": "0" * 64})
    token = _token(secret, unsigned.model_dump(mode="json", exclude={"token"}))
    return JoinBundle(invitation=unsigned.model_copy(update={"token": token}), ca=ca)


def write_bundle(bundle: JoinBundle, path: Path) -> None:
    """Write a bundle that only its owner may read.

    Raises:
        RunError: If it cannot be written.
    """
    write_private(path, (bundle.model_dump_json(indent=2) + "\n").encode("utf-8"))


def read_bundle(
    path: Path, *, now: datetime | None = None, allow_expired: bool = False
) -> JoinBundle:
    """The bundle in a file.

    Args:
        path: As written by `write_bundle`.
        now: The device's clock; absent: the time of day.
        allow_expired: For a device that has enrolled with it and needs address and CA.

    Raises:
        ConfigError: If it is no bundle, was changed in its form, or is void.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: the join bundle cannot be read: {error.strerror}. Ask the server's operator "
            "for the file that `coplms server --join-bundle NAME` writes."
        ) from error
    bundle = _parse(content, path)
    expires = bundle.invitation.expires
    if not allow_expired and expires <= (now or datetime.now(UTC)):
        raise ConfigError(
            f"{path}: the join bundle of device '{bundle.invitation.device}' was valid until "
            f"{expires:%Y-%m-%d %H:%M} UTC. Ask the server's operator for a new one, or mend this "
            "machine's clock."
        )
    return bundle


def _parse(content: bytes, path: Path) -> JoinBundle:
    try:
        if len(content) > _MAX_BUNDLE_BYTES:
            raise ValueError(f"it is longer than {_MAX_BUNDLE_BYTES} bytes")
        bundle = JoinBundle.model_validate_json(content)
        if hashlib.sha256(bundle.ca.encode("utf-8")).hexdigest() != bundle.invitation.ca_sha256:
            raise ValueError("`ca` is another one than the server wrote")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _no_bundle(path, f"{place}: {first['msg']}" if place else first["msg"]) from error
    except ValueError as error:
        raise _no_bundle(path, str(error)) from error
    return bundle


def _no_bundle(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"{path}: is no join bundle, or was changed on its way ({reason}). Ask the server's "
        "operator for the file that `coplms server --join-bundle NAME` writes."
    )


def _token(secret: bytes, fields: dict[str, str]) -> str:
    content = json.dumps(["coplms-join-1", fields], sort_keys=True, ensure_ascii=True)
    return hmac.new(secret, content.encode("ascii"), hashlib.sha256).hexdigest()
