"""A path as written in a configuration -> the files it names."""

import os
import re
from pathlib import Path

from coplms.errors import DataError

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def expand(path: str) -> str:
    """Path with `${NAME}` replaced from the environment and a leading `~` by the home folder.

    Raises:
        DataError: If a variable is not set.
    """
    for name in _VARIABLE.findall(path):
        if not os.environ.get(name):
            raise DataError(
                f"path '{path}' needs the environment variable {name}, which is not set.\n"
                f"  Set it or pass --data-root DIR (which sets COPLMS_DATA)."
            )
    return os.path.expanduser(_VARIABLE.sub(lambda match: os.environ[match[1]], path))  # noqa: PTH111


def find_files(path: str, suffixes: tuple[str, ...]) -> list[Path]:
    """Files that a file name, a folder or a glob pattern stands for, sorted.

    Args:
        path: As written in the configuration; `**` in a pattern descends into folders.
        suffixes: Endings that are taken from a folder, such as `(".jsonl", ".jsonl.gz")`.

    Raises:
        DataError: If there is no such file.
    """
    expanded = Path(expand(path))
    if expanded.is_file():
        return [expanded]
    if expanded.is_dir():
        return _files_of_folder(expanded, suffixes)
    found = _files_of_pattern(expanded) if re.search(r"[*?\[]", str(expanded)) else []
    if not found:
        raise DataError(
            f"no file at '{expanded}' (from '{path}').\n"
            f"  Give an existing file, a folder with {' or '.join(suffixes)} files, or a pattern "
            f"that matches some."
        )
    return found


def _files_of_pattern(pattern: Path) -> list[Path]:
    root = Path(pattern.anchor or ".")
    relative = pattern.relative_to(root) if pattern.anchor else pattern
    return sorted(file for file in root.glob(str(relative)) if file.is_file())


def _files_of_folder(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    found = sorted(file for file in folder.iterdir() if file.name.endswith(suffixes))
    if not found:
        inner = sorted(child.name for child in folder.iterdir() if child.is_dir())[:5]
        hint = f" Or one of its folders: {', '.join(inner)}." if inner else ""
        raise DataError(
            f"folder '{folder}' holds no {' or '.join(suffixes)} file.\n"
            f"  Give a folder that does, a file, or a pattern.{hint}"
        )
    return found
