"""A device fetches an offered file: in parts, through interruptions, checked by its digest."""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coplms.errors import ConsortiumError, RunError
from coplms.runtimes.network.blobs import BLOBS
from coplms.runtimes.network.client import (
    ServerAbsentError,
    check_status,
    explained,
    open_client,
    url,
)
from coplms.runtimes.network.keys import DeviceKey
from coplms.runtimes.network.signing import sign_request

if TYPE_CHECKING:
    import httpx

DIGEST = re.compile(r"[0-9a-f]{64}")

_CHUNK = 262144
_STALL_SECONDS = 60.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


@dataclass(frozen=True)
class Source:
    """Where a device fetches files.

    Attributes:
        address: `host:port` of the server.
        ca: PEM of the only root by which it is known.
        key: The device's.
    """

    address: str
    ca: str
    key: DeviceKey


def fetch_blob(
    source: Source,
    digest: str,
    size: int,
    target: Path,
    *,
    patience_seconds: float = 600,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Download a file, going on where an earlier attempt stopped.

    What has come lies in `target` with `.part` added. A file whose digest is wrong is fetched once
    more from its start.

    Args:
        source: Where.
        digest: SHA-256 of the content in hexadecimal, which is checked.
        size: Its bytes; not one more is written.
        target: Where it lies in the end; its folder exists.
        patience_seconds: How long to go on while nothing comes at all.
        sleep: Waits between attempts.

    Raises:
        ServerAbsentError: If nothing came for so long.
        ServerIdentityError: If the server's certificate was refused.
        AccessRefusedError: If the server refused the device or the file.
        ConsortiumError: If the file is not what was announced.
        RunError: If it cannot be written.
    """
    if not DIGEST.fullmatch(digest):
        raise ConsortiumError(f"'{digest[:80]}' is no SHA-256, so that no file can be fetched.")
    part = target.with_name(target.name + ".part")
    try:
        _check_space(part, size)
        with open_client(source.ca, _STALL_SECONDS) as client:
            download = _Download(client, source, digest, size, part)
            for _ in range(2):
                _persist(download, patience_seconds, sleep)
                if _digest(part) == digest:
                    part.replace(target)
                    return
                part.unlink()
    except OSError as error:
        raise RunError(
            f"{part}: cannot be written: {error.strerror}. Free some space, or mend the rights."
        ) from error
    raise ConsortiumError(
        f"{source.address}: the file {digest} came twice with another content than its digest. Ask "
        "the server's operator to restart the server: its file was changed or its disk is broken."
    )


@dataclass(frozen=True)
class _Download:
    client: "httpx.Client"
    source: Source
    digest: str
    size: int
    part: Path

    def go_on(self) -> None:
        """One request for what is missing; returns when all is there."""
        have = self.have()
        if have > self.size:
            self.part.unlink()
            have = 0
        if have == self.size:
            self.part.touch()
            return
        path = BLOBS + self.digest
        headers = {**sign_request(self.source.key, "GET", path), "range": f"bytes={have}-"}
        address = self.source.address
        with (
            explained(address),
            self.client.stream("GET", url(address, path), headers=headers) as response,
        ):
            if response.status_code >= 300:
                check_status(response.status_code, response.read(), address)
            self._check(response, have)
            self._write(response, have)
        if self.have() < self.size:
            raise ServerAbsentError(f"{address}: the download ended too early.")

    def have(self) -> int:
        """Bytes that are there."""
        return self.part.stat().st_size if self.part.exists() else 0

    def _check(self, response: "httpx.Response", have: int) -> None:
        """The answer is what was asked for."""
        announced = response.headers.get("content-range", "")
        if announced != f"bytes {have}-{self.size - 1}/{self.size}":
            raise ConsortiumError(
                f"{self.source.address}: the file {self.digest} should be {self.size} bytes from "
                f"{have}, but the server offers '{announced[:80]}'. Join the server's current run."
            )

    def _write(self, response: "httpx.Response", have: int) -> None:
        with self.part.open("ab") as file:
            for chunk in response.iter_raw(_CHUNK):
                have += len(chunk)
                if have > self.size:
                    raise ConsortiumError(
                        f"{self.source.address}: the server sends more than the {self.size} bytes "
                        f"of the file {self.digest}."
                    )
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())


def _persist(download: _Download, patience: float, sleep: Callable[[float], None]) -> None:
    """Try until all is there; while something comes, patience does not run out."""
    pause, waited = _FIRST_PAUSE, 0.0
    while True:
        before = download.have()
        try:
            return download.go_on()
        except ServerAbsentError as error:
            if download.have() > before:
                pause, waited = _FIRST_PAUSE, 0.0
            if waited >= patience:
                raise ServerAbsentError(
                    f"{error} Nothing came for {waited:.0f} seconds; what has come before is kept."
                ) from error
        sleep(pause)
        waited += pause
        pause = min(2 * pause, _LONGEST_PAUSE)


def _check_space(part: Path, size: int) -> None:
    have = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(part.parent).free
    if free < size - have:
        raise RunError(
            f"{part.parent}: {size - have} bytes are to be fetched, {free} are free. Free some "
            "space, or give another folder."
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
