"""Files that a device has fetched, by the SHA-256 of their content."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from coplms.errors import ConsortiumError
from coplms.runtimes.network.fetch import DIGEST
from coplms.runtimes.network.private_files import make_private_folder

Fetch = Callable[[Path], None]
"""Writes the whole file, checked, to this path."""


class BlobCache:
    """A folder of fetched files, for one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder if absent, private.

        Raises:
            RunError: If it cannot be made.
        """
        self.folder = folder
        make_private_folder(folder)
        self._known: set[str] = set()

    def get(self, digest: str, size: int, fetch: Fetch) -> Path:
        """The file with this content, fetched only if it is not there.

        A file that is there counts if its size is right and, at its first use in this process, its
        digest too; otherwise it is fetched anew.

        Args:
            digest: SHA-256 in hexadecimal.
            size: Its bytes.
            fetch: As `fetch_blob` does.

        Raises:
            ConsortiumError: If the digest is none.
        """
        if not DIGEST.fullmatch(digest):
            raise ConsortiumError(f"'{digest[:80]}' is no SHA-256, so that no file has it.")
        path = self.folder / digest
        if not self._is_good(path, digest, size):
            path.unlink(missing_ok=True)
            fetch(path)
            self._known.add(digest)
        return path

    def _is_good(self, path: Path, digest: str, size: int) -> bool:
        if not path.is_file() or path.stat().st_size != size:
            return False
        if digest not in self._known:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return False
            self._known.add(digest)
        return True
