"""The benchmark of learning: its losses on literal numbers, and a whole tiny run."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a module of the benchmark, as its script does; none of them stays imported."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    before = set(sys.modules)

    def load_module(name: str) -> ModuleType:
        return __import__(f"learning.{name}", fromlist=["_"])

    yield load_module
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {"learning", "measuring"}:
            del sys.modules[name]


SENTENCES = [
    ("request(city)", "Which city do you want to go to?"),
    ("offer(hotel = Grand Plaza)", "How about the Grand Plaza?"),
    ("confirm(time = 5 pm)", "You want it at 5 pm, is that right?"),
    ("goodbye(number)", "Have a good day, number"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty sentences to learn from, and held-out ones; one of each shares an input with train."""
    folder = tmp_path / "data" / "domains" / "sgd_nlg"
    folder.mkdir(parents=True)
    for part, numbers in {"train": range(40), "dev": range(39, 46), "test": range(39, 52)}.items():
        lines = []
        for number in numbers:
            act, sentence = SENTENCES[number % 4]
            row = {"input": f"{act} {number}", "output": f"{sentence} {number}", "domain": "Any"}
            lines.append(json.dumps(row))
        (folder / f"{part}.jsonl").write_text("\n".join(lines))
    return tmp_path / "data"


def test_held_out_examples_share_no_input_with_any_other(load: Any, data: Path) -> None:
    scale = load("scales").SCALES["tiny"]
    task = load("texts").read_task(data, scale)
    parts = {name: {example.input for example in getattr(task, name)} for name in vars(task)}
    assert {name: len(inputs) for name, inputs in parts.items()} == {
        "pool": 12,
        "teacher": 28,
        "dev": 4,
        "test": 4,
    }
    assert len(set.union(*parts.values())) == 48


def test_another_seed_draws_other_examples_from_the_pool(load: Any, data: Path) -> None:
    scale, texts = load("scales").SCALES["tiny"], load("texts")
    task = texts.read_task(data, scale)
    assert texts.draw(task, scale, 0) == texts.draw(task, scale, 0) != texts.draw(task, scale, 1)
    assert set(texts.draw(task, scale, 1)) < set(task.pool)


def test_chunk_chances_are_products_over_their_tokens(load: Any) -> None:
    import numpy as np

    nll = -torch.tensor([0.5, 0.25, 0.8]).log()
    first, count = np.array([0, 2]), np.array([2, 1])
    chances = load("losses").chunk_log_chance(nll, first, count).exp()
    torch.testing.assert_close(chances, torch.tensor([0.125, 0.8]))


def test_binary_divergence_of_chunks_is_worked_by_hand(load: Any) -> None:
    own, peer = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    found = load("losses").binary_divergence(own, peer)
    assert found.item() == pytest.approx(expected)
    assert load("losses").binary_divergence(own, own).item() == pytest.approx(0.0)


def test_sorted_probabilities_know_no_order_and_pad_the_smaller_vocabulary(load: Any) -> None:
    distance = load("losses").sorted_distance
    own = torch.tensor([[0.1, 0.9]]).log()
    assert distance(own, torch.tensor([[0.9, 0.1]]).log()).item() == pytest.approx(0.0, abs=1e-6)
    three = torch.tensor([[0.2, 0.5, 0.3]]).log()
    assert distance(own, three).item() == pytest.approx(0.4 + 0.2 + 0.2)


def test_a_curve_is_read_between_two_evaluations(load: Any) -> None:
    curve = [{"step": step, "right": {"test": nats}} for step, nats in ((0, 3.0), (10, 2.0))]
    at_seconds = load("tables").at_seconds
    assert at_seconds({"curve": curve}, "right", 2.5, per_step=0.5) == pytest.approx(2.5)
    assert at_seconds({"curve": curve}, "right", 99.0, per_step=0.5) == 2.0


def test_differences_are_paired_by_seed(load: Any) -> None:
    tables = load("tables")
    values, base = {0: 1.0, 1: 2.0, 7: 9.0}, {0: 1.5, 1: 2.1}
    assert tables.difference(values, base) == "-0.3000 ± 0.2000"
    assert tables.worse(values, base) == "0 of 2"


def test_a_tiny_benchmark_is_resumed_and_prints_its_tables(
    load: Any, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import runpy

    main = runpy.run_path(str(BENCHMARKS / "learning.py"))["main"]
    output = tmp_path / "learning.jsonl"
    common = f"--data {data} --output {output} --cache {tmp_path / 'models'} --scale tiny".split()
    main([*common, "--models", "teacher/unigram", "bpe/fallback", "--seeds", "0"])
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert [record["part"] for record in records].count("teach") == 4
    weak = [record for record in records if record["part"] == "weak"]
    assert [record["method"] for record in weak] == ["ce-both", "ours-both"]
    assert [point["step"] for point in weak[0]["curve"]] == [0, 1, 2, 3]
    printed = capsys.readouterr().out
    assert "teacher teaches unigram, test nats per byte" in printed
    assert "bpe and fallback learn from each other: fallback" in printed
    main([*common, "--models", "bpe/fallback", "--part", "weak", "--seeds", "0", "1"])
    again = [json.loads(line) for line in output.read_text().splitlines()]
    assert again[: len(records)] == records
    assert [record["seed"] for record in again[len(records) :]] == [1, 1]


def test_a_part_that_needs_choices_says_what_to_run_first(
    load: Any, data: Path, tmp_path: Path
) -> None:
    import runpy

    main = runpy.run_path(str(BENCHMARKS / "learning.py"))["main"]
    common = f"--data {data} --output {tmp_path / 'none.jsonl'} --scale tiny".split()
    with pytest.raises(SystemExit, match="run --part rate first"):
        main([*common, "--part", "teach"])
