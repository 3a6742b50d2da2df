import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes a file below the test's folder and returns its path."""

    def write_file(name: str, content: str | bytes | object) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write_file


@pytest.fixture
def write_lines(write) -> Callable[..., str]:
    """Writes records as JSON Lines."""

    def write_records(name: str, *records: object) -> str:
        return write(name, "".join(json.dumps(record) + "\n" for record in records))

    return write_records
