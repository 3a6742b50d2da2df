"""The benchmark of the network, with three devices, one round and the smallest models."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("flwr", reason="the extra `flower` is not installed")


@pytest.mark.slow
def test_the_network_benchmark_measures_time_memory_and_bytes(tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    small = "--kinds lora --forms int8 --rounds 1 --echoes 1 --steps 1 --top 16"
    command = [sys.executable, str(ROOT / "benchmarks" / "network.py"), *small.split()]
    command += ["--folder", str(tmp_path), "--output", str(output)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(output.read_text(encoding="utf-8"))
    rows = {row["case"]: row for row in found["rows"]}
    assert set(rows) == {"local", "network", "echo"}
    for case in ("local", "network"):
        (times,) = rows[case]["rounds"]
        assert times["seconds"] > times["work"] > 0
    sent = rows["network"]["bytes"]
    assert sent["bytes"] < sent["tensor_bytes"] / 3
    assert sent["wire_bytes"] > sent["bytes"]
    memory = rows["network"]["memory"]["after"]
    assert [len(memory[name]) for name in ("server", "SuperLink", "device", "SuperNode")] == [
        1,
        1,
        3,
        3,
    ]
    assert found["others"]["fedavg_dpm"] > found["others"]["fedmkt"]["16"] > sent["bytes"]
    assert "| FedMKT, K = 16, computed | " in printed
