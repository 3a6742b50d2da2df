"""Arrays that are costly to compute, kept on disk; a damaged file is none."""

import hashlib
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def kept_path(cache: Path, kind: str, *key: object) -> Path:
    """The file for what follows from a key; other keys have other files."""
    return cache / f"{kind}-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.npz"


def read_arrays(path: Path, *names: str) -> list[NDArray[Any]] | None:
    """The arrays of these names; None where the file is absent, damaged, or has other ones."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return [stored[name] for name in names]
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Store the arrays in one rename, so that a reader never sees half of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
