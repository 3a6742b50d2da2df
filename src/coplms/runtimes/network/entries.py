"""What the registry's file says of a device, and why somebody is not let in."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict


class Reason(StrEnum):
    """Why somebody is not let in. The words go to the device."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    TOKEN = "token"
    VOID = "void"
    REPLACED = "replaced"
    USED = "used"
    TAKEN = "taken"


@dataclass(frozen=True)
class Refusal:
    """Why a key is not let in, and whose it is or was if that is known."""

    reason: Reason
    device: str | None


class EnrolmentRefusedError(Exception):
    """A device may not enrol; `refusal` says why."""

    def __init__(self, reason: Reason, device: str) -> None:
        super().__init__(f"'{device}' may not enrol: {reason}")
        self.refusal = Refusal(reason, device)


class Record(BaseModel):
    """A part of the registry's file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Issue(Record):
    """A bundle that was made for a device."""

    nonce: str
    expires: AwareDatetime
    used_by: str | None = None
    """OpenSSH line of the key that enrolled with it."""


class DeviceEntry(Record):
    """A device, as the server knows it."""

    name: str
    public_key: str | None = None
    """OpenSSH line; absent: it has not enrolled yet."""
    node_id: int | None = None
    """Flower's number for the key."""
    enrolled: AwareDatetime | None = None
    expires: AwareDatetime | None = None
    """When the key is too old; absent: never."""
    revoked: AwareDatetime | None = None
    """Since when it is shut out; a bundle issued later lets it in again."""
    issues: tuple[Issue, ...] = ()
    """At most two: the bundle that the key enrolled with, and one that is not used yet."""
