"""The benchmarks of many devices, with few."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Main = Callable[[list[str]], None]


@pytest.fixture
def main_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Main]:
    """`main` of a script, as when it is started."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def find(name: str) -> Main:
        main: Main = runpy.run_path(str(BENCHMARKS / name))["main"]
        return main

    return find


@pytest.mark.slow
def test_the_scaling_benchmark_tells_what_a_device_costs(
    main_of: Callable[[str], Main], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result.json"
    small = "--devices 4 --per-round 4 --hidden 16 --rank 2 --steps 1 --warm-up 0"
    arguments = [*small.split(), "--threads", str(torch.get_num_threads())]
    main_of("scaling.py")([*arguments, "--folder", str(tmp_path), "--output", str(output)])
    [run] = json.loads(output.read_text())["runs"]
    assert (run["devices"], run["per_round"], run["rounds"]) == (4, 4, 1)
    assert run["round_seconds"] > run["training_seconds"] > 0
    assert run["finish_seconds"] > run["transfer_seconds"] > 0
    assert run["once_bytes"] > run["round_bytes"] > run["finish_bytes"] > 0
    assert run["device_files"] > 8
    assert run["device_disk_bytes"] >= run["device_bytes"] > 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert "| 4 | 4 | 1 | " in capsys.readouterr().out


def test_the_aggregation_benchmark_measures_the_server_alone(
    main_of: Callable[[str], Main], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result.json"
    threads = str(torch.get_num_threads())
    small = f"--rows mini:3 --forms int8 --rank 2 --repeats 1 --threads {threads}"
    main_of("aggregation.py")([*small.split(), "--output", str(output)])
    [row] = json.loads(output.read_text())["rows"]
    assert (row["model"], row["uploads"], row["form"]) == ("mini", 3, "int8")
    assert row["taken_cpu_seconds"] > 0
    assert row["averaged_cpu_seconds"] > 0
    assert row["packed_bytes"] < row["tensor_bytes"]
    assert "| mini | int8 | " in capsys.readouterr().out
