"""The benchmarks of text before a step, on little text and made-up vocabularies."""

import base64
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # as for a script that is started
    return lambda name: runpy.run_path(str(BENCHMARKS / name))


def test_the_data_path_benchmark_measures_speed_and_padding(
    run: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result.json"
    kinds = "--left byte_bpe:400 --right fallback_bpe:400"
    small = f"{kinds} --characters 40000 --examples 200 --batch 8 --steps 30 --repeats 1"
    main = run("data_path.py")["main"]
    main([*small.split(), "--output", str(output)])
    (found,) = json.loads(output.read_text())["sets"]
    assert 0 < found["examples"] <= 200
    assert found["together_per_second"] > 0
    assert 0 < found["ends_ms"] + found["chunks_ms"] < 5
    assert 0 < found["one_to_one"] < 1
    (padding,) = found["padding"]
    for side in (0, 1):
        assert 0 < padding["drawn"][side] < 0.1 < padding["shuffled"][side] < 0.6
    assert "| demo | fallback_bpe 400 | 8 |" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["clinc150", "sgd_nlg", "webnlg"])
def test_padding_of_real_data_is_under_a_tenth_for_both_models(
    run: Callable[..., dict[str, Any]], data_root: Path, tmp_path: Path, name: str
) -> None:
    path, output = str(data_root / "domains" / name / "train.jsonl"), tmp_path / "result.json"
    kinds = "--left byte_bpe:1000 --right fallback_bpe:600"
    small = f"{kinds} --characters 100000 --examples 1600 --steps 50 --repeats 1 --warm-up 0"
    settings = [*small.split(), "--batch", "8", "16", "32"]
    main = run("data_path.py")["main"]
    files = ["--text", path, "--set", name, "jsonl", path, "256"]
    main([*files, *settings, "--output", str(output)])
    (found,) = json.loads(output.read_text())["sets"]
    for padding in found["padding"]:
        assert max(*padding["drawn"], *padding["two_pools"]) < 0.1, padding


def tiktoken_file(folder: Path) -> Path:
    tokens = [*(bytes([byte]) for byte in range(256)), b"th", b"the", b" the", b" d", b"og"]
    lines = [f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(tokens)]
    path = folder / "bytes.tiktoken"
    path.write_text("\n".join(lines) + "\n")
    return path


def script_file(folder: Path) -> Path:
    characters = ["▁", *"abcdefghijklmnopqrstuvwxyz", "▁t", "he", "▁the"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *characters]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he")]
    pairs = np.array([[tokens.index(part) for part in merge] for merge in merges], dtype="<u2")
    strings = [base64.b64encode(data).decode() for data in ("\n".join(tokens).encode(), pairs)]
    path = folder / "meta-tokenizer.js"
    path.write_text(f'a_vocab_base64 = "{strings[0]}";\nmerges_binary = "{strings[1]}"\n')
    return path


def test_tokenizers_are_rebuilt_from_the_files_of_packages(
    run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    script = run("real_tokenizers.py")
    bytewise = script["read_tiktoken"](tiktoken_file(tmp_path))
    metaspace = script["read_javascript"](script_file(tmp_path))
    assert bytewise.tokenize("the dog the") == ["the", "Ġd", "og", "Ġthe"]
    assert metaspace.tokenize("the dé the") == ["▁the", "▁", "d", "<0xC3>", "<0xA9>", "▁the"]


def test_class_maps_of_rebuilt_tokenizers_are_measured(
    run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    files = ["--tiktoken", str(tiktoken_file(tmp_path)), "--javascript", str(script_file(tmp_path))]
    output = tmp_path / "result.json"
    main = run("real_tokenizers.py")["main"]
    main([*files, "--characters", "2000", "--repeats", "1", "--output", str(output)])
    (pair,) = json.loads(output.read_text())["pairs"]
    assert pair["names"] == ["bytes", "meta-tokenizer"]
    assert pair["vocabularies"] == [262, 289]
    # The 256 bytes, some as characters, and " the", "he" not being in both; EOS; the rest.
    assert pair["classes"] == 256 + 1 + 2
    assert 0 < pair["one_to_one"] <= 1
