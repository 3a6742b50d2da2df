"""The finished run that the report's tests read."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from coplms.consortium.record import Json, RunHistory, RunRecord, read_history

write_sample_run = runpy.run_path(str(Path(__file__).parents[2] / "report_run.py"))[
    "write_sample_run"
]


@pytest.fixture
def sample_run(tmp_path: Path) -> RunRecord:
    """A folder with three devices and three rounds."""
    record: RunRecord = write_sample_run(tmp_path / "sample")
    return record


@pytest.fixture
def sample(sample_run: RunRecord) -> RunHistory:
    """The same, as read back."""
    return read_history(sample_run.folder)


@pytest.fixture
def history(tmp_path: Path) -> Callable[..., RunHistory]:
    """Makes a history with the given parts, everything else empty."""

    def make(
        config: Json | None = None, data: Json | None = None, **rows: list[Json]
    ) -> RunHistory:
        parts: dict[str, list[Json]] = {
            "phases": [],
            "metrics": [],
            "evaluations": [],
            "ledger": [],
        }
        return RunHistory(
            folder=tmp_path, config=config or {}, environment={}, data=data or {}, **(parts | rows)
        )

    return make
