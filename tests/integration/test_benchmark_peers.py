"""The benchmarks that compare with peers, on shapes of a few tokens."""

import importlib.util
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HAS_TRL = importlib.util.find_spec("trl") is not None


def test_the_alignment_benchmark_times_both_alignments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # as for a script that is started
    main = runpy.run_path(str(BENCHMARKS / "alignment.py"))["main"]
    output = tmp_path / "result.json"
    small = "--characters 40000 --vocab 600 400 --samples 2 --tokens 16 --repeats 1"
    main([*small.split(), "--output", str(output)])
    result = json.loads(output.read_text())
    assert result["samples"] == 2
    assert 14 <= result["tokens"][0] <= 17
    assert result["edit_distance_ms_per_sample"] > result["places_ms_per_sample"] > 0
    assert result["ratio"] > 1
    assert result["ratio_known"] > 1
    assert 0.5 < result["pairs_in_a_chunk"] <= 1
    assert "| Ratio |" in capsys.readouterr().out


def test_the_alignment_benchmark_says_where_the_text_is_too_short(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    main = runpy.run_path(str(BENCHMARKS / "alignment.py"))["main"]
    text = tmp_path / "short.txt"
    text.write_text("a few words and no more")
    with pytest.raises(SystemExit, match=r"too few for 8 x 253: give more --text"):
        main(["--text", str(text), "--vocab", "300", "300"])


def test_the_gold_benchmark_says_how_to_get_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setitem(sys.modules, "trl", None)  # cannot be imported
    main = runpy.run_path(str(BENCHMARKS / "gold_step.py"))["main"]
    with pytest.raises(SystemExit, match=r"-r benchmarks/gold/requirements.txt"):
        main([])


@pytest.mark.skipif(not HAS_TRL, reason="needs benchmarks/gold/requirements.txt")
def test_the_gold_benchmark_measures_both_losses(tmp_path: Path) -> None:
    """In a process of its own: TRL's imports warn, and warnings are errors here."""
    output = tmp_path / "result.json"
    small = "--characters 40000 --vocab 400 500 --hidden 16 16 --layers 1 1 --shape 2x16"
    options = [*small.split(), "--repeats", "1", "--gold-repeats", "1", "--warm-up", "0"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gold_step.py"), *options, "--output", str(output)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    [shape] = result["shapes"]
    assert shape["samples"] == 2
    assert shape["saml"]["peak_bytes"] > 0
    for variant in ("sorted", "hybrid"):
        values = result["gold_losses"][variant]
        assert values[0] > values[1] > values[2] > 0
        gold = shape[variant]
        assert gold["both_ways_cpu_seconds"] > gold["one_way_cpu_seconds"] > 0
        assert gold["one_way_peak_bytes"] > 0
    assert "| GOLD, one way |" in done.stdout
