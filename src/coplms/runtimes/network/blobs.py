"""Files that a server offers to its devices, by the SHA-256 of their content."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from coplms.errors import ConsortiumError
from coplms.runtimes.network.enrolment import check_signature, read_key
from coplms.runtimes.network.entries import Reason, Refusal
from coplms.runtimes.network.exchange import RefusedError, Request, Response
from coplms.runtimes.network.keys import PublicKey
from coplms.runtimes.network.registry import Registry
from coplms.runtimes.network.signing import SignatureCheck

BLOBS = "/v1/coplms/blobs/"
"""Followed by a digest; to be signed by the device's key (`signing.sign_request`)."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})")
_CHUNK = 262144


class Blobs:
    """Answers requests for offered files."""

    def __init__(self, registry: Registry, check: SignatureCheck) -> None:
        self.registry = registry
        self.check = check
        self._offered: Mapping[str, Path] = {}

    def offer(self, blobs: Mapping[str, Path]) -> None:
        """Offer these files too.

        Raises:
            ConsortiumError: If a file is missing.
            ValueError: If a digest is no SHA-256 in hexadecimal.
        """
        for digest, path in blobs.items():
            if not _DIGEST.fullmatch(digest):
                raise ValueError(f"'{digest}' is no SHA-256 in lower-case hexadecimal")
            if not path.is_file():
                raise ConsortiumError(f"{path}: the file to be offered is missing.")
        self._offered = {**self._offered, **blobs}

    async def answer(self, request: Request) -> Response:
        """200 or 206 with the file's bytes, for devices that are let in.

        Raises:
            RefusedError: If the device is not let in, or the file is not offered.
        """
        digest = request.path.removeprefix(BLOBS)
        if not _DIGEST.fullmatch(digest) or request.query:
            raise RefusedError(404, "no such path", detail=request.path)
        if request.method not in ("GET", "HEAD") or request.length:
            raise RefusedError(405, "fetching is a GET without a body")
        device = self._device(request)
        path = self._offered.get(digest)
        if path is None:
            raise RefusedError(404, "not offered", device=device, detail=digest)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise RefusedError(503, "file missing", device=device, detail=str(path)) from error
        return _part(request, path, size, device, digest)

    def _device(self, request: Request) -> str:
        """The name of the device that signed the request."""
        key = read_key(request)
        device = admitted(self.registry, key)
        check_signature(self.check, key, request, device=device)
        return device


def admitted(registry: Registry, key: PublicKey) -> str:
    """The name of the device with this key.

    Raises:
        RefusedError: If it is not let in.
    """
    verdict = registry.admits(key.openssh)
    if isinstance(verdict, Refusal):
        raise RefusedError(
            401 if verdict.reason is Reason.UNKNOWN else 403,
            verdict.reason,
            device=verdict.device,
            fingerprint=key.fingerprint,
        )
    return verdict


def _part(request: Request, path: Path, size: int, device: str, digest: str) -> Response:
    """The response to a range of a file, or to all of it."""
    asked = request.headers.get("range")
    start, stop = (0, size) if asked is None else _range(asked, size, device)
    headers = {
        "content-type": "application/octet-stream",
        "content-length": str(stop - start),
        "accept-ranges": "bytes",
        "etag": f'"{digest}"',
    }
    if asked is not None:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    body = b"" if request.method == "HEAD" else _read(path, start, stop)
    return Response(200 if asked is None else 206, body, headers, device, digest)


def _range(asked: str, size: int, device: str) -> tuple[int, int]:
    """First byte, and the one after the last, of `bytes=a-` or `bytes=a-b`."""
    match = _RANGE.fullmatch(asked)
    start = int(match[1]) if match else size
    stop = min(size, int(match[2]) + 1) if match and match[2] else size
    if not 0 <= start < stop:
        raise RefusedError(416, "range", device=device, detail=asked, extra={"size": size})
    return start, stop


async def _read(path: Path, start: int, stop: int) -> AsyncGenerator[bytes, None]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        await asyncio.to_thread(file.seek, start)
        left = stop - start
        while left > 0:
            chunk = await asyncio.to_thread(file.read, min(_CHUNK, left))
            if not chunk:
                return  # the file has become shorter: the connection is cut
            left -= len(chunk)
            yield chunk
    finally:
        file.close()
