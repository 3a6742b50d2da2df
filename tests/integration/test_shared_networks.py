"""Devices that share networks, or send in a lossy form, tune what they would tune apart."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from coplms.api import consortium as api
from coplms.api.assemble import Assembler
from coplms.api.consortium import Consortium
from coplms.api.workshop import Bench, Workshop
from coplms.config.load import load_config
from coplms.config.model import ModelConfig
from coplms.consortium.journal import Result
from coplms.training.learner import Learner
from coplms.transport.ledger import read_ledger

WORDS = ("loan", "card", "train", "hotel")
SIZES = {"vocab_size": 300, "hidden_size": 16, "layers": 1, "heads": 2, "steps": 5}
ALIKE = ("alike-1", "alike-2", "alike-3")
NAMES = (*ALIKE, "other", "bare")


def settings(folder: Path) -> dict[str, Any]:
    """Five devices, of which three have the same SLM; one model with dropout."""
    rows = [
        {"instruction": "Name it.", "input": f"One {word}, number {number}", "output": word}
        | {"domain": "money" if word in WORDS[:2] else "travel"}
        for number in range(60)
        for word in WORDS
    ]
    path = folder / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipes = {"llm": "llama", "neox": "gpt_neox", "gpt": "gpt2"}
    lora = {"kind": "lora", "rank": 2, "alpha": 4, "dropout": 0.1}
    return {
        "llm": {"model": "mini/llm"},
        "dpm": {"layers": 1, "domain_rank": 2},
        "devices": [
            {"name": "alike", "slm": {"model": "mini/neox"}, "count": 3},
            {"name": "other", "slm": {"model": "mini/neox", "tuning": {"kind": "full"}}},
            {"name": "bare", "slm": {"model": "mini/gpt"}},
        ],
        "data": {
            "pool": {
                "train": {"path": str(path)},
                "partition": {"kind": "iid"},
                "public_labelled": 8,
                "public_unlabelled": 6,
                "private": 60,
                "max_dev": 4,
                "max_test": 8,
            },
            "max_length": 48,
        },
        "tuning": lora,
        "optimizer": {"batch_size": 4, "learning_rate": 0.02},
        "method": {
            "rounds": 2,
            "distill": {"steps": 2, "batch_size": 2, "block_tokens": 16},
            "dst": {"steps": 2, "last_steps": 2},
            "saml": {"steps": 2, "server_steps": 1, "proxy_steps": 1},
            "transfer": {"steps": 2, "server_steps": 1, "min_confidence": 0.0},
        },
        "evaluation": {"max_new_tokens": 3, "batch_size": 32},
        "zoo": {
            "text": [str(path)],
            "models": [
                {"name": name, "architecture": kind, "tokenizer": "byte_bpe", **SIZES}
                for name, kind in recipes.items()
            ],
            "batch_size": 4,
            "block_tokens": 16,
        },
        "device": "cpu",
        "threads": 1,
    }


class Quiet:
    def phase_started(self, name: str) -> None: ...

    def phase_logged(self, name: str, row: dict[str, float]) -> None: ...

    def phase_finished(self, row: Result, *, again: bool) -> None: ...


class StopAt(Quiet):
    """Ends a start when a phase begins."""

    def __init__(self, phase: str) -> None:
        self.phase = phase

    def phase_started(self, name: str) -> None:
        if name == self.phase:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    (folder / "consortium.yaml").write_text(yaml.safe_dump(settings(folder)))
    return folder


def train(place: Path, run: str, *overrides: str, observer: Quiet | None = None) -> Path:
    config = load_config(place / "consortium.yaml", overrides)
    with suppress(KeyboardInterrupt):
        Consortium(config, place / "cache").train(place / run, observer or Quiet())
    return place / run


def contents(run: Path) -> dict[str, str]:
    """SHA-256 of what a run leaves and keeps, wherever it lies."""
    places = ("adapters", "models", "dpm", "public", "checkpoints", "devices")
    return {
        str(path.relative_to(run)): hashlib.sha256(
            path.read_bytes().replace(str(run).encode(), b"RUN")
        ).hexdigest()
        for place in places
        for path in sorted((run / place).rglob("*"))
        if path.is_file() and path.name != "phase.json"  # tells how long it took
    }


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    lines = (run / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    clocks = ("seconds", "tokens_per_second", "answer_tokens_per_second")
    return [{key: value for key, value in row.items() if key not in clocks} for row in found]


def assert_same_runs(left: Path, right: Path) -> None:
    first, second = contents(left), contents(right)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    for name in ("phases", "evaluation", "ledger", "metrics"):
        assert rows(left, name) == rows(right, name), name


@pytest.fixture(scope="module")
def shared(place: Path) -> Path:
    """A run whose devices share networks."""
    return train(place, "shared")


class Forgetful(Workshop):
    """Has every network loaded anew for every device and message."""

    def slm(self, assembler: Assembler, model: ModelConfig, part: str, steps: int) -> Learner:
        self._benches = {
            key: bench for key, bench in self._benches.items() if key.startswith("dpm")
        }
        self._pairings.clear()
        return super().slm(assembler, model, part, steps)

    def initial_shared(self, assembler: Assembler, folder: Path) -> dict[str, torch.Tensor]:
        self._benches.clear()
        self._pairings.clear()
        return super().initial_shared(assembler, folder)


def test_devices_that_share_networks_tune_what_they_would_tune_apart(
    shared: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Forgetful] = []

    def forgetful(classes: Path) -> Forgetful:
        made.append(Forgetful(classes))
        return made[-1]

    monkeypatch.setattr(api, "Workshop", forgetful)
    assert_same_runs(shared, train(place, "apart"))
    assert len(made) == 1


def losses(run: Path, phase: str) -> list[float]:
    return [row["loss"] for row in rows(run, "metrics") if row["phase"] == phase]


def test_a_state_that_leaks_between_devices_would_be_found(
    shared: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seat(bench: Bench, parts: dict[str, Any]) -> Learner:
        bench.learner.parts = parts  # with what the last device left in the network
        return bench.learner

    monkeypatch.setattr(Bench, "seat", seat)
    leaking = train(place, "leaking", observer=StopAt("round-1/alike-2/saml"))
    first, second = (f"round-1/{name}/dst" for name in ALIKE[:2])
    assert losses(leaking, first) == losses(shared, first) != []
    assert losses(leaking, second) != losses(shared, second)


def test_devices_that_share_networks_end_with_parts_of_their_own(shared: Path) -> None:
    for part in ("slm", "dpm-domain"):
        folders = [shared / "adapters" / name / part for name in ALIKE]
        weights = [load_file(folder / "adapter_model.safetensors") for folder in folders]
        for left, right in ((0, 1), (0, 2), (1, 2)):
            assert any(not torch.equal(weights[left][k], weights[right][k]) for k in weights[0])


def test_every_device_keeps_its_own_journal(shared: Path) -> None:
    for name in NAMES:
        phases = [
            json.loads(path.read_text())
            for path in (shared / "devices" / name / "checkpoints").glob("*/phase.json")
        ]
        assert {row["member"] for row in phases} == {name}
        assert {part.split("/")[0] for row in phases for part in row["parts"]} == {name}
    server = [json.loads(path.read_text()) for path in shared.glob("checkpoints/*/phase.json")]
    assert {row["member"] for row in server} == {"server"}


PAIR = (
    "devices=[{name: a, slm: {model: mini/gpt}}, {name: b, slm: {model: mini/gpt}}]",
    "alone=false",
)


@pytest.fixture(scope="module", params=["bfloat16", "int8"])
def lossy(request: pytest.FixtureRequest, place: Path) -> tuple[str, Path]:
    """A form, and a run of two devices whose messages had it."""
    form: str = request.param
    return form, train(place, form, *PAIR, f"transport.form={form}")


def shared_part(run: Path, member: str) -> dict[str, torch.Tensor]:
    return load_file(run / "adapters" / member / "dpm-shared" / "adapter_model.safetensors")


def test_a_lossy_run_sends_as_many_messages_in_fewer_bytes(lossy: tuple[str, Path]) -> None:
    form, run = lossy
    size = sum(value.numel() for value in shared_part(run, "a").values())
    expected = {"bfloat16": 2 * size, "int8": size + 4 * -(-size // 64)}[form]
    entries = [entry for entry in read_ledger(run / "ledger.jsonl") if entry.tensor_bytes]
    packed = [entry for entry in entries if entry.round_number]
    assert [(each.round_number, each.device, each.direction) for each in packed] == [
        *((number, name, way) for number in (1, 2) for name in "ab" for way in ("down", "up")),
        *((3, name, "down") for name in "ab"),
    ]
    for entry in packed:
        assert (entry.content["shared"], entry.tensor_bytes) == (expected, 4 * size)
        assert entry.bytes - entry.content["info"] == expected


def test_the_devices_of_a_lossy_run_end_with_the_same_values(lossy: tuple[str, Path]) -> None:
    _, run = lossy
    first, second, server = (shared_part(run, name) for name in ("a", "b", "server"))
    for name, value in first.items():
        assert torch.equal(second[name], value)
        torch.testing.assert_close(value, server[name], rtol=0.02, atol=0.002)


def test_a_lossy_run_that_was_stopped_ends_bit_for_bit_the_same(
    lossy: tuple[str, Path], place: Path
) -> None:
    form, run = lossy
    again = (place, f"stopped-{form}", *PAIR, f"transport.form={form}")
    for phase in ("round-1/b/saml", "round-2/b/send", "round-3/server/replies"):
        stopped = train(*again, observer=StopAt(phase))
        assert not (stopped / "adapters" / "server").exists()
    assert_same_runs(train(*again), run)
