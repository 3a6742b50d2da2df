"""`devices:` of a configuration: many alike, some elsewhere, some scored."""

from pathlib import Path
from typing import Any

import pytest

from coplms.config.load import dump_config, load_config
from coplms.config.run import RunConfig
from coplms.errors import ConfigError

POOL = {"pool": {"train": {"path": "x.jsonl"}}}
OWN = {"server": {"train": {"path": "s.jsonl"}}}
SLM = {"model": "mini/a"}


def make(*devices: Any, data: dict[str, Any] = POOL, **settings: Any) -> RunConfig:
    whole = {"llm": {"model": "m"}, "devices": list(devices), "data": data, **settings}
    return RunConfig.model_validate(whole)


def names(config: RunConfig) -> list[str]:
    return [device.name for device in config.devices]


def test_a_count_is_written_out_and_counts_from_one() -> None:
    tuned = {"model": "mini/b", "tuning": {"kind": "full"}}
    config = make({"name": "a", "slm": SLM, "count": 3}, {"name": "b", "slm": tuned})
    assert names(config) == ["a-1", "a-2", "a-3", "b"]
    assert [device.slm for device in config.devices[:3]] == [config.devices[0].slm] * 3
    assert {device.count for device in config.devices} == {1}
    assert len({each.slm.model_dump_json() for each in config.devices if each.slm}) == 2


def test_names_of_many_are_of_equal_length() -> None:
    assert names(make({"name": "a", "slm": SLM, "count": 12}))[::11] == ["a-01", "a-12"]


def test_one_of_a_kind_keeps_its_name() -> None:
    assert names(make({"name": "a", "slm": SLM, "count": 1})) == ["a"]


@pytest.mark.parametrize("count", ["3", 3.0])
def test_a_count_is_read_as_any_other_number(count: object) -> None:
    assert names(make({"name": "a", "slm": SLM, "count": count})) == ["a-1", "a-2", "a-3"]


@pytest.mark.parametrize("count", [0, -1, "many", 1.5, None, [2]])
def test_what_is_no_count_is_refused(count: object) -> None:
    with pytest.raises(ValueError, match=r"devices\.0\.count"):
        make({"name": "a", "slm": SLM, "count": count})


def test_a_name_that_a_count_makes_may_not_be_taken() -> None:
    with pytest.raises(ValueError, match="the name 'a-2' occurs twice"):
        make({"name": "a", "slm": SLM, "count": 2}, {"name": "a-2", "slm": SLM})


def test_a_mistake_behind_a_count_is_named_once_and_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "llm: {model: m}\n"
        "devices:\n"
        "  - {name: a, slm: {modle: x, model: m}, count: 5}\n"
        "  - {name: b, slm: {model: 3}}\n"
        "  - {name: c, slm: {model: m}}\n"
        "data: {pool: {train: {path: x}}}\n"
    )
    with pytest.raises(ConfigError) as refused:
        load_config(path)
    lines = str(refused.value).splitlines()
    assert len(lines) == 3
    assert "line 3: devices[0].slm.modle is unknown" in lines[1]
    assert "line 4: devices[1].slm.model is 3" in lines[2]


def test_a_count_survives_writing_and_reading(tmp_path: Path) -> None:
    config = make({"name": "a", "slm": SLM, "count": 2}, {"name": "b"})
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config


def test_a_device_without_a_model_is_elsewhere() -> None:
    config = make({"name": "a", "slm": SLM}, {"name": "b"}, {"name": "c", "count": 2})
    assert config.remote == ("b", "c-1", "c-2")
    assert make({"name": "a", "slm": SLM}).remote == ()


def test_a_device_elsewhere_needs_no_data_here_and_one_here_does() -> None:
    assert make({"name": "b"}, data=OWN).remote == ("b",)
    with pytest.raises(ValueError, match="'a' has no `data`"):
        make({"name": "a", "slm": SLM}, {"name": "b"}, data=OWN)


@pytest.mark.parametrize(
    ("most", "scored"), [(None, {"a-1", "a-2", "b"}), (1, {"a-1"}), (2, {"a-1", "a-2"})]
)
def test_the_first_so_many_devices_are_scored(most: int | None, scored: set[str]) -> None:
    devices = ({"name": "a", "slm": SLM, "count": 2}, {"name": "b", "slm": SLM})
    config = make(*devices, evaluation={"max_devices": most})
    assert config.scored == scored


def test_the_server_is_no_device() -> None:
    with pytest.raises(ValueError, match="'server' is the server's own name"):
        make({"name": "server", "slm": SLM})
