"""`coplms.api.edge`: what a device knows before it has read a message."""

from pathlib import Path

import pytest

from coplms.api.edge import Edge
from coplms.api.recorder import Silent
from coplms.config.data import MemberDataConfig, SourceConfig
from coplms.config.edge import EdgeConfig
from coplms.config.model import ModelConfig


@pytest.fixture
def edge(tmp_path: Path) -> Edge:
    data = MemberDataConfig(train=SourceConfig(path="texts.jsonl"))
    config = EdgeConfig(slm=ModelConfig(model="models/own"), data=data)

    def fetch(_: object) -> Path:
        raise AssertionError("nothing is to be fetched")

    def on_error(error: Exception) -> None:
        raise error

    return Edge("bank", config, tmp_path / "state", tmp_path, fetch, Silent(), on_error)


def test_before_the_first_run_a_message_may_have_any_length(edge: Edge) -> None:
    assert edge.max_bytes() is None


def test_in_a_run_a_message_is_at_most_as_long_as_that_runs(edge: Edge) -> None:
    for run, longest in (("first", "1000"), ("second", "2000")):
        (edge.folder / "runs" / run).mkdir(parents=True)
        (edge.folder / "runs" / run / "longest-message").write_text(longest)
    (edge.folder / "current-run").write_text("second")
    assert edge.max_bytes() == 2000


def test_a_device_that_has_lost_its_runs_reads_whatever_comes_to_say_so(edge: Edge) -> None:
    edge.folder.mkdir()
    (edge.folder / "current-run").write_text("gone")
    assert edge.max_bytes() is None
