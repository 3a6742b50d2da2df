"""Which run may go on in a folder, what it is called, and whom it simulates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from coplms.api.folder import check_folder, open_folder
from coplms.api.post import run_id, without_devices
from coplms.api.refuse import refuse_remote
from coplms.config.run import RunConfig
from coplms.errors import ConfigError, RunError

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def begun(make_config: MakeConfig, tmp_path: Path) -> Path:
    """The folder of a run with a finished phase, and of what it exchanged."""
    folder = tmp_path / "run"
    open_folder(folder, make_config())
    for path in ("checkpoints/00000", "devices/one/checkpoints/00000", "inbox/round-1", "public"):
        (folder / path).mkdir(parents=True)
    run_id(folder)
    return folder


@pytest.mark.parametrize(
    "network",
    [
        {"quorum": 0.5, "round_seconds": 5},
        {"address": "coplms.example.org:8710", "listen": "127.0.0.1:0"},
        {"join_seconds": 1, "bundle_days": 2, "key_days": 3},
    ],
)
def test_where_the_server_is_and_how_long_it_waits_may_change(
    network: dict[str, object], begun: Path, make_config: MakeConfig
) -> None:
    before = (begun / "config.yaml").read_text(), run_id(begun)
    open_folder(begun, make_config(network=network))
    assert ((begun / "config.yaml").read_text(), run_id(begun)) == before
    assert (begun / "inbox" / "round-1").is_dir()


def test_what_only_dry_runs_go_by_may_change(begun: Path, make_config: MakeConfig) -> None:
    config = make_config(compute={"teraflops": 3.0})
    llm = config.llm.model_copy(update={"sizes": {"model_type": "llama", "hidden_size": 8}})
    check_folder(begun, config.model_copy(update={"llm": llm}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"compute": {"autocast": True}}, "compute.autocast is False there, True here"),
        ({"transport": {"form": "int8"}}, "transport.form is lossless there, int8 here"),
        ({"transport": {"block": 32}}, "transport.block is 64 there, 32 here"),
        ({"evaluation": {"max_devices": 1}}, "evaluation.max_devices is None there, 1 here"),
        ({"method": {"participation": 0.5}}, "method.participation is 1.0 there, 0.5 here"),
        ({"seed": 1, "network": {"quorum": 0.5}}, "seed is 0 there, 1 here"),
    ],
)
def test_what_decides_the_result_may_not_change(
    change: dict[str, object], told: str, begun: Path, make_config: MakeConfig
) -> None:
    with pytest.raises(RunError, match="holds a run with another configuration") as refused:
        check_folder(begun, make_config(**change))
    assert told in str(refused.value)


def test_a_setting_newer_than_the_run_has_its_default(begun: Path, make_config: MakeConfig) -> None:
    change_config(begun, lambda written: written["transport"].pop("block"))
    check_folder(begun, make_config())
    with pytest.raises(RunError, match=r"transport\.block is 64 there, 32 here"):
        check_folder(begun, make_config(transport={"block": 32}))


def test_a_setting_that_is_gone_since_tells_runs_apart(
    begun: Path, make_config: MakeConfig
) -> None:
    change_config(begun, lambda written: written["transport"].update(colour="red"))
    with pytest.raises(RunError, match=r"transport\.colour is red there, absent here"):
        check_folder(begun, make_config())


def change_config(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    written = yaml.safe_load((run / "config.yaml").read_text())
    change(written)
    (run / "config.yaml").write_text(yaml.safe_dump(written))


def test_a_run_that_begins_anew_inherits_no_message(begun: Path, make_config: MakeConfig) -> None:
    first = run_id(begun)
    (begun / "checkpoints" / "00000").rmdir()
    open_folder(begun, make_config(seed=1))
    assert not [name for name in ("devices", "inbox", "public") if (begun / name).exists()]
    assert run_id(begun) != first


def test_a_run_keeps_its_name_and_is_called_as_no_other(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    first, second = (run_id(tmp_path / name) for name in "ab")
    assert run_id(tmp_path / "a") == first != second
    assert len(first) == 32
    assert set(first) <= set("0123456789abcdef")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["run-id"]


def test_devices_elsewhere_are_not_simulated(make_config: MakeConfig) -> None:
    refuse_remote(make_config())
    config = make_config(devices=[{"name": "far"}, {"name": "near"}])
    with pytest.raises(ConfigError, match=r"'far' has no `slm`: .* Use `coplms server`"):
        refuse_remote(config)


def test_a_server_does_not_look_at_what_devices_hold(make_config: MakeConfig) -> None:
    served = without_devices(make_config())
    assert served.remote == ("one", "two")
    assert all(device.data is None for device in served.devices)
