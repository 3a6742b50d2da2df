"""Small files that only their owner may read, written whole or not at all."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coplms.errors import RunError


def make_private_folder(folder: Path) -> None:
    """The folder and those above it exist; nobody else may look into it.

    Raises:
        RunError: If it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise _unwritable(folder, error) from error


def write_private(path: Path, content: bytes) -> None:
    """Replace a file in one step; readers see the old or the new content.

    Raises:
        RunError: If it cannot be written.
    """
    with _draft(path, content) as draft:
        draft.replace(path)


def create_private(path: Path, content: bytes) -> bool:
    """Write a file unless there is one; whether it was written.

    Raises:
        RunError: If it cannot be written.
    """
    with _draft(path, content) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep every other process and thread out while the block runs.

    Args:
        path: A file that exists for this purpose only; made if absent.

    Raises:
        RunError: If it cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with suppress(OSError):  # a file system without locks: better unguarded than not at all
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _draft(path: Path, content: bytes) -> Iterator[Path]:
    """The content on disk under another name (of mode 0600), which is gone afterwards."""
    draft: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        draft = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"{path}: cannot be written: {error.strerror}. Mend the folder's owner, its rights or the "
        "disk's free space, or give another folder."
    )
