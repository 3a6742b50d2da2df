"""`coplms.api.stand_ins`: as many examples as the configuration says, where it says so."""

from pathlib import Path
from typing import Any

import pytest

from coplms.api.hub import Hub
from coplms.api.stand_ins import missing_sources, stand_ins
from coplms.config.run import RunConfig
from coplms.errors import DataError

POOL = {
    "train": {"path": "some/data", "format": "hub"},
    "test": {"path": "some/other:all", "format": "hub"},
    "public_labelled": 3,
    "public_unlabelled": 4,
    "private": 8,
    "max_dev": 2,
    "max_test": 5,
}
SILENT = Hub(offline=True)
SILENCE = "the hub does not answer"


def config_of(pool: dict[str, Any], **changes: Any) -> RunConfig:
    settings = {
        "llm": {"model": "some/llm"},
        "devices": [{"name": name, "slm": {"model": "some/slm"}} for name in ("a", "b", "c")],
        "data": {"pool": pool, "max_length": 20},
        "evaluation": {"max_new_tokens": 6},
    }
    return RunConfig.model_validate(settings | changes)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))


def test_what_is_missing_is_named_once() -> None:
    pool = POOL | {"dev": {"path": "some/data", "format": "hub", "split": "dev"}}
    assert missing_sources(config_of(pool), SILENT) == ["some/data", "some/other:all"]


def test_text_in_files_is_never_missing() -> None:
    pool = POOL | {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl"}}
    assert missing_sources(config_of(pool), SILENT) == []


def test_sources_of_members_and_of_the_transfer_set_are_looked_at(tmp_path: Path) -> None:
    config = config_of(POOL)
    train = {"train": {"path": "some/mine", "format": "hub"}}
    data = {"server": {"train": {"path": "x"}}, "transfer": {"path": "some/more", "format": "hub"}}
    devices = [each.model_dump() | {"data": train} for each in config.devices[:1]]
    config = RunConfig.model_validate(config.model_dump() | {"data": data, "devices": devices})
    assert missing_sources(config, SILENT) == ["some/mine", "some/more"]
    with pytest.raises(DataError, match=r"'some/mine' is not on this machine.*data\.pool\.private"):
        stand_ins(config, "some/mine", SILENCE)


def test_numbers_are_those_of_the_pool_and_texts_as_long_as_they_may_be() -> None:
    data = stand_ins(config_of(POOL), "some/data", SILENCE)
    sizes = (
        len(data.server.train),
        len(data.transfer),
        len(data.server.dev),
        len(data.offered_test),
    )
    assert sizes == (3, 4, 2, 5)
    assert [len(held.train) for held in data.devices.values()] == [2, 3, 3]
    assert {len(held.test) for held in data.devices.values()} == {5}
    public = [*data.server.train, *data.transfer, *data.server.dev, *data.server.test]
    assert len({example.text for example in public}) == len(public)
    # 14 tokens of prompt and 6 of answer, 4 bytes each.
    assert {len(example.input) for example in public} == {4 * 14}
    assert {len(example.answer) for example in data.server.train} == {4 * 6}
    assert all(example.references == () for example in data.transfer)


def test_dev_text_is_asked_where_the_run_asks_it() -> None:
    evaluation = {"max_new_tokens": 6, "split": "dev"}
    data = stand_ins(config_of(POOL, evaluation=evaluation), "some/data", SILENCE)
    assert len(data.server.test) == len(data.offered_test) == 2


@pytest.mark.parametrize("key", ["private", "max_dev", "max_test"])
def test_numbers_that_are_not_written_are_asked_for(key: str) -> None:
    with pytest.raises(DataError, match=r"the hub does not answer.*data\.pool\.max_test say how"):
        stand_ins(config_of(POOL | {key: None}), "some/data", SILENCE)
