"""The benchmarks' own code, on shapes of a few tokens."""

import json
import runpy
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MEASURING = runpy.run_path(str(BENCHMARKS / "measuring.py"))


def test_the_saml_benchmark_measures_both_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # as for a script that is started
    main = runpy.run_path(str(BENCHMARKS / "saml_step.py"))["main"]
    output = tmp_path / "result.json"
    small = "--characters 40000 --vocab 400 500 --hidden 16 16 --layers 1 1 --shape 2x16"
    main([*small.split(), "--repeats", "1", "--warm-up", "0", "--output", str(output)])
    result = json.loads(output.read_text())
    [shape] = result["shapes"]
    assert shape["samples"] == 2
    assert 12 <= shape["tokens"][0] <= 17
    works = shape["works"]
    assert works["two CEs, plain"]["cpu_ratio"] == 1
    assert all(figures["median_cpu_seconds"] > 0 for figures in works.values())
    plain, fused = (works[f"SAML, {way}, gate sample"]["peak_bytes"] for way in ("plain", "fused"))
    assert plain > fused > 0
    assert "of plain CEs" in capsys.readouterr().out


def test_the_memory_benchmark_holds_the_fused_loss_to_its_budget(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    main = runpy.run_path(str(BENCHMARKS / "loss_memory.py"))["main"]
    output = tmp_path / "result.json"
    small = "--rows 256 --vocab 9000 8000 --classes 6000 --hidden 8 8 --memory-mib 2 --repeats 1"
    main([*small.split(), "--output", str(output)])
    [result] = json.loads(output.read_text())["rows"]
    peak = result["peak_bytes"]
    assert peak["SAML, fused"] < 1.2 * 2 * 2**20
    assert peak["SAML, plain"] > 5 * result["logits_bytes"]
    assert "of one logits tensor" in capsys.readouterr().out


def test_peak_bytes_counts_what_is_held_at_a_time() -> None:
    def two_one_after_the_other() -> None:
        torch.zeros(1000)
        torch.zeros(1000)

    def two_together() -> None:
        first, second = torch.zeros(1000), torch.zeros(1000)
        del first, second

    small = MEASURING["peak_bytes"](two_one_after_the_other)
    assert 4000 <= small < 8000
    assert 8000 <= MEASURING["peak_bytes"](two_together) < 12000


def test_works_take_turns_and_warm_up_does_not_count() -> None:
    calls: list[str] = []
    works = [lambda: calls.append("a"), lambda: calls.append("b")]
    times = MEASURING["alternate"](works, repeats=2, warm_up=1)
    assert calls == ["a", "b"] * 3
    assert [len(each) for each in times] == [2, 2]
