"""`coplms.api.hub`: servers that answer, refuse, fail, are silent or absent; and what is cached."""

import socket
from pathlib import Path

import pytest
from huggingface_hub import constants

from coplms.api.hub import Hub
from coplms.config.data import SourceConfig
from tests.local_hub import served


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(("status", "answers"), [(200, True), (404, True), (502, False)])
def test_a_hub_answers_unless_a_proxy_stands_in_for_it(
    tmp_path: Path, status: int, answers: bool
) -> None:
    with served(tmp_path, "some/model", status) as (address, asked):
        hub = Hub(address, offline=False)
        assert [hub.answers, hub.answers] == [answers, answers]
    assert asked == [""] or asked == ["/"]


def test_nobody_answers_at_a_closed_port_or_at_what_is_no_address(closed_port: str) -> None:
    assert not Hub(closed_port, offline=False).answers
    assert not Hub("nonsense", offline=False).answers


def test_a_hub_that_must_not_be_asked_is_not(tmp_path: Path) -> None:
    with served(tmp_path, "some/model") as (address, asked):
        hub = Hub(address, offline=True)
        assert not hub.answers
    assert asked == []
    assert hub.silence == "HF_HUB_OFFLINE is set"
    assert Hub("http://a", offline=False).silence == "the hub (http://a) does not answer"


def test_a_silent_server_is_given_up_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        hub = Hub(f"http://127.0.0.1:{server.getsockname()[1]}", offline=False, seconds=0.2)
        assert not hub.answers


def test_the_usual_hub_is_what_the_environment_names() -> None:
    assert (Hub().endpoint, Hub().offline) == (constants.ENDPOINT, True)


def test_a_model_is_lacked_where_it_is_neither_here_nor_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub = Hub(closed_port, offline=False)
    assert hub.lacks_model("some/model")
    with served(tmp_path, "some/model") as (address, _):
        assert not Hub(address, offline=False).lacks_model("some/model")
    assert not hub.lacks_model(str(tmp_path))
    repository = tmp_path / "cache" / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "config.json").write_text("{}")
    assert hub.lacks_model("some/model")
    (repository / "snapshots" / "abc" / "tokenizer.json").write_text("{}")
    assert not hub.lacks_model("some/model")


def test_a_data_set_is_lacked_likewise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: str
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    hub = Hub(closed_port, offline=False)
    assert hub.lacks_data(SourceConfig(path="some/data:all", format="hub"))
    assert not hub.lacks_data(SourceConfig(path="some/data:all"))
    assert not hub.lacks_data(SourceConfig(path=f"{tmp_path}:all", format="hub"))
    (tmp_path / "some___data" / "all" / "0.0.0" / "abc").mkdir(parents=True)
    assert not hub.lacks_data(SourceConfig(path="some/data:all", format="hub"))
