"""What a run writes into its folder, and how it is read back.

`docs/architecture.md`, "A run's folder", fixes the files and their rows. Rows stay plain JSON
objects: what they mean is the business of whoever writes or shows them.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from coplms.errors import RunError

Json = dict[str, Any]
"""One JSON object."""

_NEWLINE = b"\n"


class RunRecord:
    """Writes a run's folder so that a killed process leaves it readable.

    One process writes a folder at a time. A row is handed to the operating system before
    `append` returns; whole files are replaced in one rename.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def append(
        self, file: Literal["metrics", "phases", "evaluation"], row: Mapping[str, object]
    ) -> None:
        """Add one line to `FILE.jsonl`; numbers that are not finite become null.

        Half a line that a killed process left at the end is cut off first.
        """
        line = _line(row).encode()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self.folder / f"{file}.jsonl", flags, 0o644)
        try:
            _cut_partial_line(descriptor)
            _write_all(descriptor, line)
        finally:
            os.close(descriptor)

    def write_json(self, name: str, obj: object) -> None:
        """Replace the file `name` by `obj`, indented; numbers that are not finite become null."""
        text = json.dumps(_finite(obj), ensure_ascii=False, allow_nan=False, indent=2)
        self.write_text(name, text + "\n")

    def write_text(self, name: str, text: str) -> Path:
        """Path of the file `name`, replaced by `text` in one rename."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(text.encode())
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync(path.parent)
        return path

    def forget_unfinished(self, done_phases: Collection[str]) -> None:
        """Keep only the rows of `done_phases` in metrics.jsonl and phases.jsonl.

        A resumed run repeats its unfinished phase from the start, so what that phase wrote
        before it was killed would stand there twice.
        """
        done = frozenset(done_phases)
        for name in ("metrics.jsonl", "phases.jsonl"):
            path = self.folder / name
            if path.exists():
                rows = [row for row in _read_rows(path) if row.get("phase") in done]
                self.write_text(name, "".join(_line(row) for row in rows))


@dataclass(frozen=True)
class RunHistory:
    """Everything that a run's folder tells; parts that the run has not written are empty.

    Attributes:
        folder: Where it was read from.
        config: config.yaml, as resolved.
        environment: environment.json.
        data: data.json: who holds how many examples of what.
        phases: One row per finished phase.
        metrics: One row per logged optimiser step.
        evaluations: One row per model, scope and time of scoring.
        ledger: One row per message.
    """

    folder: Path
    config: Json
    environment: Json
    data: Json
    phases: list[Json]
    metrics: list[Json]
    evaluations: list[Json]
    ledger: list[Json]


def read_history(folder: Path) -> RunHistory:
    """The run in `folder`, finished or not.

    Raises:
        RunError: If there is no such folder, it is no run's, or one of its files is broken.
    """
    config = folder / "config.yaml"
    if not folder.is_dir():
        raise RunError(
            f"{folder}: there is no such folder. Give the folder that `coplms train` wrote."
        )
    if not config.is_file():
        raise RunError(
            f"{folder}: this folder is no run: it has no config.yaml. "
            "Give the folder that `coplms train` wrote."
        )
    return RunHistory(
        folder=folder,
        config=_read_object(config, read_yaml),
        environment=_read_object(folder / "environment.json", json.loads),
        data=_read_object(folder / "data.json", json.loads),
        phases=_read_rows(folder / "phases.jsonl"),
        metrics=_read_rows(folder / "metrics.jsonl"),
        evaluations=_read_rows(folder / "evaluation.jsonl"),
        ledger=_read_rows(folder / "ledger.jsonl"),
    )


def read_yaml(text: str) -> object:
    """What YAML of our own writing holds; by libyaml, which is ten times as fast, where it is."""
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _read_object(path: Path, parse: Callable[[str], object]) -> Json:
    if not path.exists():
        return {}
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}. Restore it, or run again.") from error
    if not isinstance(content, dict):
        raise RunError(
            f"{path}: holds {type(content).__name__}, not a mapping. Restore it, or run again."
        )
    return content


def _read_rows(path: Path) -> list[Json]:
    """The objects of a JSONL file, without a last line that was cut short."""
    if not path.exists():
        return []
    whole_lines = path.read_bytes().split(_NEWLINE)[:-1]
    return [_read_row(path, number, line) for number, line in enumerate(whole_lines, start=1)]


def _read_row(path: Path, number: int, line: bytes) -> Json:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RunError(
            f"{path}:{number}: is no JSON object: {error}. Remove this line, or run again."
        ) from error
    if not isinstance(row, dict):
        raise RunError(
            f"{path}:{number}: holds {type(row).__name__}, not a JSON object. "
            "Remove this line, or run again."
        )
    return row


def _line(row: Mapping[str, object]) -> str:
    return json.dumps(_finite(row), ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    """`value` with null for NaN and infinities, which JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cut_partial_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == _NEWLINE:
        return
    content = os.pread(descriptor, size, 0)
    os.ftruncate(descriptor, content.rfind(_NEWLINE) + 1)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def sync(path: Path) -> None:
    """Make a file's content, or a rename in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
