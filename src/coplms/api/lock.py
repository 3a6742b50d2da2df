"""One process writes into a run's folder at a time."""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coplms.errors import RunError

LOCK = "lock"
"""File in a run's folder that the process which trains there holds; it stays when that ends."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep every other process out of a run's folder while the block runs.

    The operating system frees the lock when the process ends, however it ends. A folder in which
    the block has written nothing is removed again.

    Args:
        folder: Made if absent.

    Raises:
        RunError: If another process holds the folder, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written to: {error.strerror}. Give another --output."
        ) from error
    try:
        _take(descriptor, folder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        try:
            yield
        finally:
            _remove_if_unused(folder)
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
        raise RunError(
            f"{folder}: {holder} is training into this folder. Wait for it or end it, or give "
            "another --output."
        ) from error
    except OSError:
        return  # a file system without locks: better unguarded than not at all


def _remove_if_unused(folder: Path) -> None:
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()
