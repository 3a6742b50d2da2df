"""`coplms.api.volume`: bytes on disk and over the wire."""

import shutil
from collections.abc import Callable
from pathlib import Path

from coplms.api.plan import plan_models
from coplms.api.volume import DiskCheck, Traffic, check_disk, disk_error
from coplms.config.run import RunConfig

MakeConfig = Callable[..., RunConfig]


def test_traffic_is_one_welcome_and_a_download_more_than_uploads() -> None:
    traffic = Traffic(num_devices=3, rounds=2, welcome=1000, shared=10)
    assert traffic.per_round == 60
    assert traffic.total == 3 * (1000 + 10 * 5)


def test_disk_holds_states_proxies_and_results(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(tuning={"kind": "full"})
    plans = plan_models(config, {})
    disk = check_disk(config, plans, tmp_path / "absent" / "run")
    own = [plans[index].weights.num_bytes for index in (0, 2, 4)]
    dpm = plans[1].weights.num_bytes
    domain = plans[3].parts[1].size.num_bytes
    parts = sum(own) + 3 * dpm + 2 * domain
    # Every model is tuned alone, too; a phase writes an LLM's and a DPM's states anew.
    assert disk.checkpoints == 3 * (parts + sum(own) + max(own) + dpm)
    assert disk.proxies == 3 * dpm
    assert disk.results == parts
    assert disk.present == 0
    assert disk.needed == disk.checkpoints + disk.proxies + disk.results
    assert 0 < disk.free <= shutil.disk_usage(tmp_path).total


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
