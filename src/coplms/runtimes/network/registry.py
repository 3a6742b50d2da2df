"""Who may take part: one file in the server's state folder that several processes may change."""

import secrets
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import Field, ValidationError

from coplms.errors import ConfigError, ConsortiumError
from coplms.runtimes.network.bundle import Invitation, JoinBundle, make_bundle
from coplms.runtimes.network.entries import (
    DeviceEntry,
    EnrolmentRefusedError,
    Issue,
    Reason,
    Record,
    Refusal,
)
from coplms.runtimes.network.private_files import (
    create_private,
    locked,
    make_private_folder,
    write_private,
)

_SECRET_BYTES = 32


class _Document(Record):
    kind: Literal["coplms registry 1"] = "coplms registry 1"
    devices: dict[str, DeviceEntry] = Field(default_factory=dict)


class Registry:
    """The registry in a file; every change is one rename under a lock. Safe for several threads."""

    def __init__(
        self,
        path: Path,
        key_days: float | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Opens or makes the registry, with its secret (`.secret`) and lock (`.lock`) beside it.

        Args:
            path: The file; its folder becomes private.
            key_days: Days from an enrolment until a key is too old; absent: never.
            clock: The time, with its zone.

        Raises:
            RunError: If it cannot be written.
            ConfigError: If it holds something else.
        """
        self.path = path
        self.key_days = key_days
        self.clock = clock
        make_private_folder(path.parent)
        self._lock_path = path.with_suffix(".lock")
        create_private(path.with_suffix(".secret"), secrets.token_bytes(_SECRET_BYTES))
        create_private(path, _Document().model_dump_json(indent=1).encode("utf-8"))
        self._secret = path.with_suffix(".secret").read_bytes()
        if len(self._secret) != _SECRET_BYTES:
            raise ConfigError(
                f"{path.with_suffix('.secret')}: is no secret. Delete it; join bundles that are "
                "not used yet become void."
            )
        self._guard = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._devices: Mapping[str, DeviceEntry] = {}
        self._by_key: Mapping[str, DeviceEntry] = {}
        self.devices()

    def devices(self) -> Mapping[str, DeviceEntry]:
        """Every device by name, as the file says now.

        Raises:
            ConfigError: If the file is broken.
        """
        self._refresh()
        return MappingProxyType(dict(self._devices))

    def admits(self, public_key: str) -> str | Refusal:
        """The name of the device with this key (an OpenSSH line), or why it is not let in.

        Raises:
            ConfigError: If the file is broken: then nobody is let in.
        """
        self._refresh()
        entry = self._by_key.get(public_key)
        if entry is None:
            return Refusal(Reason.UNKNOWN, None)
        if entry.revoked is not None:
            return Refusal(Reason.REVOKED, entry.name)
        if entry.expires is not None and entry.expires <= self.clock():
            return Refusal(Reason.EXPIRED, entry.name)
        return entry.name

    def issue(
        self, device: str, *, consortium: str, address: str, ca: str, days: float
    ) -> JoinBundle:
        """A new bundle for a device. Earlier ones that were not used become void."""
        expires = self.clock() + timedelta(days=days)
        bundle = make_bundle(
            self._secret,
            consortium=consortium,
            device=device,
            address=address,
            ca=ca,
            expires=expires,
            nonce=secrets.token_hex(16),
        )
        issue = Issue(nonce=bundle.invitation.nonce, expires=bundle.invitation.expires)
        with locked(self._lock_path):
            entry = self._read().get(device) or DeviceEntry(name=device)
            kept = tuple(issue for issue in entry.issues if issue.used_by is not None)
            self._put(entry.model_copy(update={"issues": (*kept, issue)}))
        return bundle

    def enrol(self, invitation: Invitation, public_key: str) -> DeviceEntry:
        """The entry of the device that now has this key (an OpenSSH line), proven to be its own.

        The same key may come again. A bundle that was issued later replaces the key.

        Raises:
            EnrolmentRefusedError: If the invitation or the key is not good for it.
            ConfigError: If the file is broken.
        """
        if not invitation.is_made_with(self._secret):
            raise EnrolmentRefusedError(Reason.TOKEN, invitation.device)
        with locked(self._lock_path):
            devices = self._read()
            entry = devices.get(invitation.device)
            if entry is None:
                raise EnrolmentRefusedError(Reason.UNKNOWN, invitation.device)
            issue = self._issue_for(entry, invitation, public_key)
            if issue.used_by is not None:
                return entry
            if _owner(devices, public_key) not in (None, entry.name):
                raise EnrolmentRefusedError(Reason.TAKEN, entry.name)
            entry = self._enrolled(entry, issue, public_key)
            self._put(entry)
        return entry

    def revoke(self, device: str) -> None:
        """Shut a device out, and make its bundles void.

        Raises:
            ConsortiumError: If there is no such device.
        """
        with locked(self._lock_path):
            self._change(device, {"revoked": self.clock(), "issues": ()})

    def set_node_id(self, device: str, node_id: int | None) -> None:
        """Note Flower's number for a device's key.

        Raises:
            ConsortiumError: If there is no such device.
        """
        with locked(self._lock_path):
            self._change(device, {"node_id": node_id})

    def _issue_for(self, entry: DeviceEntry, invitation: Invitation, public_key: str) -> Issue:
        """The issue that lets this key in, now or already before."""
        issue = next((issue for issue in entry.issues if issue.nonce == invitation.nonce), None)
        if issue is None:
            reason = Reason.REPLACED if entry.revoked is None else Reason.REVOKED
            raise EnrolmentRefusedError(reason, entry.name)
        now = self.clock()
        if issue.used_by is None:
            if issue.expires <= now:
                raise EnrolmentRefusedError(Reason.VOID, entry.name)
            return issue
        if issue.used_by != public_key:
            raise EnrolmentRefusedError(Reason.USED, entry.name)
        if entry.expires is not None and entry.expires <= now:
            raise EnrolmentRefusedError(Reason.EXPIRED, entry.name)
        return issue

    def _enrolled(self, entry: DeviceEntry, issue: Issue, public_key: str) -> DeviceEntry:
        now = self.clock()
        return DeviceEntry(
            name=entry.name,
            public_key=public_key,
            node_id=entry.node_id if entry.public_key == public_key else None,
            enrolled=now,
            expires=None if self.key_days is None else now + timedelta(days=self.key_days),
            issues=(issue.model_copy(update={"used_by": public_key}),),
        )

    def _change(self, device: str, update: Mapping[str, object]) -> None:
        devices = self._read()
        if device not in devices:
            known = ", ".join(sorted(devices)) or "none"
            raise ConsortiumError(
                f"{self.path}: there is no device '{device}'. Known: {known}. A device becomes "
                "known with `coplms server --join-bundle NAME`."
            )
        self._put(devices[device].model_copy(update=update))

    def _put(self, entry: DeviceEntry) -> None:
        """Write the file with one entry changed; the caller holds the lock."""
        document = _Document(devices={**self._read(), entry.name: entry})
        write_private(self.path, document.model_dump_json(indent=1).encode("utf-8"))

    def _read(self) -> Mapping[str, DeviceEntry]:
        self._refresh()
        return self._devices

    def _refresh(self) -> None:
        """Read the file again if it is another one than before."""
        with self._guard:
            try:
                status = self.path.stat()
                stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
                if stamp == self._stamp:
                    return
                document = _Document.model_validate_json(self.path.read_bytes())
            except (OSError, ValidationError) as error:
                self._stamp = None
                raise ConfigError(
                    f"{self.path}: the registry of devices is missing or broken, so no device is "
                    "let in. Restore it from a copy, or delete it and hand out new join bundles."
                ) from error
            self._devices = document.devices
            self._by_key = {
                entry.public_key: entry
                for entry in document.devices.values()
                if entry.public_key is not None
            }
            self._stamp = stamp


def _owner(devices: Mapping[str, DeviceEntry], public_key: str) -> str | None:
    return next((name for name, entry in devices.items() if entry.public_key == public_key), None)
