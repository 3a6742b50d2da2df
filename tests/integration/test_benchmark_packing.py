"""The benchmark of packing, on the shapes of a mini model."""

import json
import runpy
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_packing_benchmark_measures_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # as for a script that is started
    main = runpy.run_path(str(BENCHMARKS / "packing.py"))["main"]
    output = tmp_path / "result.json"
    threads = torch.get_num_threads()
    small = f"--models mini --rank 2 --repeats 1 --threads {threads}"
    main([*small.split(), "--output", str(output)])
    lossless, half, codes = json.loads(output.read_text())["rows"]
    assert [row["form"] for row in (lossless, half, codes)] == ["lossless", "bfloat16", "int8"]
    values = lossless["values"]
    assert [row["packed_bytes"] for row in (lossless, half)] == [4 * values, 2 * values]
    assert codes["packed_bytes"] == values + 4 * -(-values // 64)
    assert all(row["pack_seconds"] > 0 and row["unpack_seconds"] > 0 for row in (half, codes))
    assert lossless["relative_error"] == 0
    assert half["relative_error"] < codes["relative_error"] < 0.01
    assert "| mini | " in capsys.readouterr().out
