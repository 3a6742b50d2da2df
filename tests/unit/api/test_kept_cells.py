"""`coplms.api.kept_cells`: cells that another machine has made."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from coplms.api.kept_cells import KeptCell, KnownCells, cells_text, read_cells
from coplms.config.run import RunConfig
from coplms.errors import RunError
from coplms.report.bench import Outcome, Point
from tests.unit.api.conftest import MakeConfig

NAME = "requests/as-given/coplms/seed-0"


def cell(config: RunConfig, score: float = 31.25) -> KeptCell:
    outcome = Outcome(
        about={"data": "requests", "partition": "as-given", "method": "coplms", "seed": 0},
        scores={
            ("before", "server", "llm", "all"): {"rougeL": 1.5, "exact_match": 0.0},
            ("after", "server", "llm", "all"): {"rougeL": score, "exact_match": 20.0},
        },
        points={"before": Point(0, 0, 0.0), "after": Point(3, 4096, 12.5)},
        peak_bytes=2**20,
        command="coplms train consortium.yaml",
        by_domain={("after", "server", "llm"): {"bank": {"rougeL": score, "exact_match": 20.0}}},
        environment={"processor": "abacus", "code": "0123"},
    )
    return KeptCell(NAME, config.model_dump(mode="json"), outcome)


@pytest.fixture
def keep(tmp_path: Path) -> Callable[..., Path]:
    """A file with such cells."""

    def write(*cells: KeptCell) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        path.write_text(cells_text(cells))
        return path

    return write


Keep = Callable[..., Path]


def test_a_cell_is_read_as_it_was_written(keep: Keep, make_config: MakeConfig) -> None:
    written = cell(make_config())
    (read,) = read_cells(keep(written))
    assert (read.name, read.config, read.outcome) == (NAME, written.config, written.outcome)


def test_a_cell_of_the_same_configuration_is_found_and_of_equal_ones_the_first(
    keep: Keep, make_config: MakeConfig
) -> None:
    here = make_config(seed=4)
    known = KnownCells([keep(cell(make_config())), keep(cell(here, 1.0), cell(here, 2.0))])
    found = known.find(NAME, here)
    assert found is not None
    assert found.outcome.mean("rougeL") == 1.0
    assert known.stale == {}
    assert known.find("requests/as-given/coplms/seed-1", here) is None


def test_a_cell_of_another_configuration_is_told_and_not_taken(
    keep: Keep, make_config: MakeConfig
) -> None:
    known = KnownCells([keep(cell(make_config()))])
    assert known.find(NAME, make_config(seed=1)) is None
    assert known.stale == {NAME: "seed is 0 there, 1 here"}


def test_a_setting_newer_than_the_cell_has_its_default(keep: Keep, make_config: MakeConfig) -> None:
    old = cell(make_config())
    del old.config["transport"]
    assert KnownCells([keep(old)]).find(NAME, make_config()) is not None


def test_what_is_no_cell_is_refused_by_its_line(
    tmp_path: Path, keep: Keep, make_config: MakeConfig
) -> None:
    with pytest.raises(RunError, match=r"absent\.jsonl: cannot be read"):
        KnownCells([tmp_path / "absent.jsonl"])
    whole = keep(cell(make_config()))
    for broken in ("{", "[1]", json.dumps({"cell": NAME, "config": {}})):
        path = tmp_path / "broken.jsonl"
        path.write_text(f"{whole.read_text()}{broken}\n")
        with pytest.raises(RunError, match=r"broken\.jsonl:2: is no finished cell"):
            KnownCells([path])
