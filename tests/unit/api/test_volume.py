"""`coplms.api.volume`: bytes on disk and over the wire."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from coplms.api.plan import plan_models
from coplms.api.reading import Lengths
from coplms.api.volume import DiskCheck, Traffic, check_disk, disk_error, estimate_traffic
from coplms.config.participation import draw_devices
from coplms.config.run import RunConfig
from coplms.data.members import load_data
from coplms.transport.packing import layout_of

MakeConfig = Callable[..., RunConfig]


LENGTHS = {name: Lengths(64, 8, 20, 4) for name in ("server", "one", "two")}
THREE = {name: Lengths(64, 8, 20, 4) for name in ("server", "a", "b", "c")}


def traffic_of(config: RunConfig) -> Traffic:
    return estimate_traffic(config, plan_models(config, {}), load_data(config), LENGTHS)


def test_traffic_is_one_welcome_and_a_download_more_than_rounds() -> None:
    traffic = Traffic(num_devices=3, rounds=2, welcome=1000, per_round=60, last=10)
    assert traffic.total == 3 * (1000 + 10 * 5)


@pytest.mark.parametrize(("participation", "chosen"), [(1.0, 2), (0.5, 1), (0.01, 1)])
def test_as_many_are_sent_a_round_as_are_drawn(
    make_config: MakeConfig, participation: float, chosen: int
) -> None:
    traffic = traffic_of(make_config(method={"participation": participation}))
    assert traffic.per_round == 2 * chosen * traffic.last
    assert len(draw_devices(["one", "two"], participation, 0, 1)) == chosen


@pytest.mark.parametrize("form", ["lossless", "bfloat16", "int8"])
def test_the_shared_part_is_as_large_as_it_is_packed(make_config: MakeConfig, form: str) -> None:
    config = make_config(transport={"form": form, "block": 24})
    plans = plan_models(config, {})
    tensors = {"w": torch.zeros(plans[1].parts[0].size.num_parameters)}
    assert traffic_of(config).last == layout_of(tensors, config.transport.form, 24).packed_bytes


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("standalone", 0),
        ("centralised", 0),
        # Two devices with two kinds of SLM: nobody to average with.
        ("fedlora", 0),
        # 16 public answers of 4 tokens: 5 logits and ids of 4 bytes each; 4 bytes an answer.
        ("llm2slm", 2 * (16 * 4 * 5 * 8 + 16 * 4)),
        ("fedmkt", 4 * (16 * 4 * 5 * 8 + 16 * 4)),
    ],
)
def test_a_baseline_sends_what_it_sends(make_config: MakeConfig, name: str, sent: int) -> None:
    config = make_config(method={"name": name, "rounds": 2, "fedmkt": {"top_tokens": 5}})
    traffic = traffic_of(config)
    assert traffic.per_round == sent
    assert traffic.total == 2 * sent


def test_fedcollm_sends_the_dpms_part_up_and_to_all_devices_down(make_config: MakeConfig) -> None:
    config = make_config(method={"name": "fedcollm", "participation": 0.5})
    plans = plan_models(config, {})
    assert [(plan.member, plan.role) for plan in plans[1:]] == [
        ("server", "dpm"),
        ("one", "dpm"),
        ("two", "dpm"),
    ]
    assert traffic_of(config).per_round == 3 * plans[1].parts[0].size.num_bytes


@pytest.mark.parametrize(("participation", "messages"), [(1.0, 4), (0.67, 3)])
def test_fedlora_averages_devices_with_the_same_model(
    make_config: MakeConfig, participation: float, messages: int
) -> None:
    first, second = (each.model_dump() for each in make_config().devices)
    devices = [first | {"name": "a"}, second | {"name": "b"}, first | {"name": "c"}]
    method = {"name": "fedlora", "rounds": 1, "participation": participation}
    config = make_config(devices=devices, method=method)
    plans = plan_models(config, {})
    assert [plan.role for plan in plans] == ["llm", "slm", "slm", "slm"]
    if participation < 1:  # one of the two that are alike
        assert draw_devices("abc", participation, config.seed, 1) == ["b", "c"]
    traffic = estimate_traffic(config, plans, load_data(config), THREE)
    assert traffic.per_round == messages * plans[1].parts[0].size.num_bytes


def test_weights_of_baselines_take_the_runs_form(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(method={"name": "fedcollm"}, transport={"form": "int8", "block": 8})
    plans = plan_models(config, {})
    number = plans[1].parts[0].size.num_parameters
    packed = number + 4 * -(-number // 8)
    assert traffic_of(config).per_round == 4 * packed
    plain = make_config(method={"name": "fedcollm"})
    whole, other = (check_disk(each, plans, tmp_path / "run") for each in (plain, config))
    assert other.checkpoints - whole.checkpoints == 2 * 2 * (packed + 4 * number)


def test_a_baselines_disk_holds_its_models_and_no_messages(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(method={"name": "standalone"})
    plans = plan_models(config, {})
    disk = check_disk(config, plans, tmp_path / "run")
    own = [plan.parts[0].size.num_bytes for plan in plans]
    assert len(own) == 3
    assert disk.checkpoints == 3 * (sum(own) + max(own))
    assert (disk.proxies, disk.results) == (0, sum(own))


def test_disk_holds_states_messages_proxy_and_results(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(tuning={"kind": "full"})
    plans = plan_models(config, {})
    disk = check_disk(config, plans, tmp_path / "absent" / "run")
    own = [plans[index].weights.num_bytes for index in (0, 2, 4)]
    dpm = plans[1].weights.num_bytes
    domain = plans[3].parts[1].size.num_bytes
    parts = sum(own) + 3 * dpm + 2 * domain
    # Every model is tuned alone, too; a phase writes an LLM's and a DPM's states anew. Server and
    # devices keep their newest message, one is being written, and two uploads are collected.
    assert disk.checkpoints == 3 * (parts + sum(own) + max(own) + dpm) + (3 + 1 + 2) * dpm
    assert disk.proxies == dpm
    assert disk.results == parts
    assert disk.present == 0
    assert disk.needed == disk.checkpoints + disk.proxies + disk.results
    assert 0 < disk.free <= shutil.disk_usage(tmp_path).total


def test_disk_holds_what_lossy_messages_lost(make_config: MakeConfig, tmp_path: Path) -> None:
    exact, lossy = (make_config(transport={"form": form}) for form in ("lossless", "bfloat16"))
    shared = plan_models(exact, {})[1].parts[0].size
    before, after = (
        check_disk(config, plan_models(config, {}), tmp_path / "run") for config in (exact, lossy)
    )
    half, lost = shared.num_bytes // 2, 4 * shared.num_parameters
    assert after.checkpoints - before.checkpoints == 4 * (lost - half) - 2 * half


def test_what_an_earlier_start_wrote_is_not_needed_again(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(alone=False)
    plans = plan_models(config, {})
    before = check_disk(config, plans, tmp_path / "run")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "a").write_bytes(b"x" * 1000)
    assert check_disk(config, plans, tmp_path / "run").needed == before.needed - 1000


def test_a_run_that_fills_the_disk_is_refused() -> None:
    disk = DiskCheck(checkpoints=3000, proxies=2000, results=1000, present=500, free=5499)
    error = disk_error(disk, Path("runs/mine"))
    assert str(error) == (
        "runs/mine: the run needs 5.5 kB (checkpoints 3.0 kB, DPMs 2.0 kB, results 1.0 kB), and "
        "the disk has 5.5 kB left. Free some, give an --output on another disk, or train less: "
        "`tuning: {kind: lora}`."
    )


def test_a_run_that_just_fits_is_not() -> None:
    disk = DiskCheck(checkpoints=3000, proxies=2000, results=1000, present=500, free=5500)
    assert disk_error(disk, Path("runs/mine")) is None
