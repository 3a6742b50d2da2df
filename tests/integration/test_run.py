"""Whole runs of a tiny consortium: repeatable, resumable, and discreet."""

import hashlib
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from coplms.api import consortium as api
from coplms.api.consortium import Consortium
from coplms.config.load import load_config
from coplms.consortium.journal import Result
from coplms.consortium.report import read_report
from coplms.data.members import load_data
from coplms.runtimes.local import LocalLink
from coplms.transport.codec import Message, Schema, decode, peek
from coplms.transport.link import DeviceFailure, Reply
from coplms.transport.packing import layout_of, unpack

TOKEN = "zqxhoney7391"
"""Stands in private text of one device."""

ZOO = [
    {"name": "llm", "architecture": "llama", "tokenizer": "byte_bpe", "layers": 2},
    {"name": "slm-llama", "architecture": "llama", "tokenizer": "unigram", "layers": 1},
    {"name": "slm-neox", "architecture": "gpt_neox", "tokenizer": "fallback_bpe", "layers": 1},
]
VERBS = {"bank": ("pay", "send"), "travel": ("book", "ride")}
DEVICES = ("bank", "travel")


def lines(domain: str, first: int, last: int, answered: bool = True) -> list[dict[str, str]]:
    """Requests number `first` to `last` of a domain."""
    rows = []
    for number in range(first, last):
        verb = VERBS[domain][number % 2]
        row = {"instruction": "Name it.", "input": f"{verb} {number} now", "domain": domain}
        rows.append({**row, "output": verb} if answered else row)
    return rows


def write_lines(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def write_config(folder: Path, tuning: str = "full", token_in: str = "bank", seed: int = 0) -> Path:
    """A consortium of two devices; the token stands in every fifth text of `token_in`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = {name: lines(name, 0, 40) for name in DEVICES}
    text["server"] = lines("bank", 100, 120) + lines("travel", 100, 120)
    for row in text[token_in][::5]:
        row["input"] += f" {TOKEN}"
    transfer = lines("bank", 200, 206, answered=False) + lines("travel", 200, 206, answered=False)
    paths = {name: write_lines(folder / f"{name}.jsonl", rows) for name, rows in text.items()}
    plain = [
        {"text": f"Name it.\n{row['input']}\nAnswer: {row['output']}"} for row in text["server"]
    ]
    models = [
        {**model, "vocab_size": 320, "hidden_size": 32, "heads": 2, "steps": 40} for model in ZOO
    ]
    config = {
        "seed": seed,
        "threads": 1,
        "device": "cpu",
        "llm": {"model": "mini/llm"},
        "dpm": {"layers": 1, "domain_rank": 2},
        "devices": [
            {
                "name": name,
                "slm": {"model": f"mini/{slm}"},
                "data": {"train": {"path": paths[name]}},
            }
            for name, slm in zip(DEVICES, ("slm-llama", "slm-neox"), strict=True)
        ],
        "data": {
            "server": {"train": {"path": paths["server"]}},
            "transfer": {"path": write_lines(folder / "transfer.jsonl", transfer)},
            "max_length": 64,
        },
        "tuning": {"kind": tuning, "rank": 2, "alpha": 4},
        "optimizer": {"batch_size": 4, "learning_rate": 0.01},
        "method": {
            "rounds": 2,
            "distill": {"steps": 3, "batch_size": 4, "block_tokens": 16},
            "dst": {"steps": 2, "last_steps": 3},
            "saml": {"steps": 3, "server_steps": 2, "proxy_steps": 2},
            "transfer": {"steps": 3, "server_steps": 2, "min_confidence": 0.0},
        },
        "evaluation": {"max_new_tokens": 3, "batch_size": 32},
        "zoo": {
            "text": [write_lines(folder / "zoo.jsonl", plain * 3)],
            "models": models,
            "batch_size": 4,
            "block_tokens": 32,
            "learning_rate": 0.01,
        },
    }
    path = folder / "consortium.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Passed:
    """A message on its way, or what came back in its place."""

    device: str
    direction: str
    data: bytes

    @property
    def kind(self) -> str:
        return peek(self.data).kind

    @property
    def round_number(self) -> int:
        return peek(self.data).round_number

    @property
    def message(self) -> Message:
        return decode(self.data, Schema(self.kind, None, len(self.data)))


@dataclass(frozen=True)
class Finished:
    """A run's folder, every message that was sent, and every file that devices could fetch."""

    folder: Path
    messages: list[Passed] = field(default_factory=list)
    offered: dict[str, bytes] = field(default_factory=dict)

    def of_kind(self, *kinds: str) -> list[Passed]:
        return [passed for passed in self.messages if passed.kind in kinds]

    def rows(self, name: str) -> list[dict[str, Any]]:
        content = (self.folder / f"{name}.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in content.splitlines()]

    def files(self) -> dict[str, str]:
        """SHA-256 of every file that the run leaves to its users, wherever its folder is."""

        def digest(path: Path) -> str:
            content = path.read_bytes().replace(str(self.folder).encode(), b"RUN")
            return hashlib.sha256(content).hexdigest()

        return {
            str(path.relative_to(self.folder)): digest(path)
            for place in ("adapters", "models", "dpm", "public")
            for path in sorted((self.folder / place).rglob("*"))
            if path.is_file()
        }


class Quiet:
    def phase_started(self, name: str) -> None: ...

    def phase_logged(self, name: str, row: dict[str, float]) -> None: ...

    def phase_finished(self, row: Result, *, again: bool) -> None: ...


class StopInRound1(Quiet):
    def phase_started(self, name: str) -> None:
        if name.startswith("round-1/"):
            raise KeyboardInterrupt


class StopAtADevice(Quiet):
    def phase_started(self, name: str) -> None:
        if name.startswith("round-1/bank"):
            raise KeyboardInterrupt


def train(config: Path, folder: Path, cache: Path, observer: Quiet | None = None) -> Finished:
    """Run, and listen to every message on its way."""
    run = Finished(folder)

    class Tapped(LocalLink):
        def offer(self, blobs: Mapping[str, Path]) -> None:
            run.offered.update({digest: path.read_bytes() for digest, path in blobs.items()})
            super().offer(blobs)

        def exchange(
            self, message: bytes, devices: Sequence[str], seconds: float, max_bytes: int
        ) -> Iterator[Reply]:
            for device in devices:
                run.messages.append(Passed(device, "down", message))
                for reply in super().exchange(message, [device], seconds, max_bytes):
                    assert not isinstance(reply.content, DeviceFailure)
                    run.messages.append(Passed(reply.device, "up", reply.content))
                    yield reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "LocalLink", Tapped)
        with suppress(KeyboardInterrupt):
            Consortium(load_config(config), cache).train(folder, observer or Quiet())
    return run


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def full(config: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An uninterrupted run that tunes whole models."""
    return train(config, tmp_path_factory.mktemp("runs") / "full", cache)


@pytest.fixture(scope="module")
def lora(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An uninterrupted run that tunes LoRA adapters."""
    folder = tmp_path_factory.mktemp("lora")
    return train(write_config(folder, tuning="lora"), folder / "run", cache)


def without(rows: list[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in keys} for row in rows]


class Driver:
    """Starts runs in processes that may be killed."""

    def __init__(self, config: Path, cache: Path) -> None:
        self.order = {"config": str(config), "cache": str(cache)}
        script = str(Path(__file__).with_name("kill_driver.py"))
        self.process = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, folder: Path, **how: float) -> int:
        """The exit status of one run; negative is the signal that killed it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({**self.order, "folder": str(folder), **how}) + "\n")
        self.process.stdin.flush()
        return int(json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def driver(config: Path, cache: Path, full: Finished) -> Iterator[Driver]:
    started = Driver(config, cache)
    yield started
    assert started.process.stdin is not None
    started.process.stdin.close()
    assert started.process.wait() == 0
    assert started.process.stdout is not None
    started.process.stdout.close()


def test_the_same_run_in_another_process_gives_the_same_weights(
    full: Finished, driver: Driver, tmp_path: Path
) -> None:
    again = Finished(tmp_path / "again")
    assert driver.start(again.folder) == 0
    assert again.files() == full.files()
    assert again.rows("evaluation") == full.rows("evaluation")
    assert again.rows("ledger") == full.rows("ledger")
    assert without(again.rows("phases"), "seconds") == without(full.rows("phases"), "seconds")


def test_a_run_that_is_killed_again_and_again_ends_bit_for_bit_the_same(
    full: Finished, driver: Driver, tmp_path: Path
) -> None:
    killed = Finished(tmp_path / "killed")
    for events in (1, 2, 3):  # a phase that starts, one that logs, one that has just ended
        assert driver.start(killed.folder, events=events) == -signal.SIGKILL
    # Each start greets both devices first, in 8 steps. Killed while it does; between two lines of
    # the ledger; before and after bank's upload is kept; before and after the round is closed.
    for steps in (5, 10, 13, 14, 15, 10):
        assert driver.start(killed.folder, steps=steps) == -signal.SIGKILL
    assert sorted(path.name for path in (killed.folder / "inbox" / "round-1").iterdir()) == [
        *("bank.message", "closed", "travel.message")
    ]
    for events, seconds in ((4, 0.01), (9, 0.02), (5, 0.04), (13, 0.01), (8, 0.03), (10, 0.02)):
        status = driver.start(killed.folder, events=events, cpu_seconds=seconds)
        assert status == -signal.SIGPROF
    late = [driver.start(killed.folder, events=events) for events in (5, 3, 4)]
    # Where the timers let more be done, the run may be over before the last of these.
    assert late[0] == -signal.SIGKILL
    assert set(late) <= {0, -signal.SIGKILL}
    assert driver.start(killed.folder) == 0
    assert killed.files() == full.files()
    assert killed.rows("ledger") == full.rows("ledger")
    assert killed.rows("evaluation") == full.rows("evaluation")
    assert without(killed.rows("phases"), "seconds") == without(full.rows("phases"), "seconds")
    clocks = ("tokens_per_second", "answer_tokens_per_second")
    assert without(killed.rows("metrics"), *clocks) == without(full.rows("metrics"), *clocks)


def test_a_finished_run_that_is_started_again_changes_nothing(
    full: Finished, config: Path, cache: Path
) -> None:
    before = full.files(), full.rows("ledger"), full.rows("phases"), full.rows("evaluation")
    train(config, full.folder, cache)
    assert (
        full.files(),
        full.rows("ledger"),
        full.rows("phases"),
        full.rows("evaluation"),
    ) == before


def test_another_seed_gives_other_weights(full: Finished, tmp_path: Path, cache: Path) -> None:
    config = write_config(tmp_path / "data", seed=1)
    # The first model that is tuned alone tells, so the rest of the run is not needed.
    other = train(config, tmp_path / "run", cache, StopInRound1())
    name = "model.layers.0.mlp.up_proj.weight"
    weights = []
    for folder in (full.folder, other.folder):
        (state,) = folder.glob("checkpoints/*/server--alone.safetensors")
        weights.append(load_file(state)[f"value/{name}"])
    assert weights[0].shape == weights[1].shape
    assert not torch.equal(weights[0], weights[1])


def test_every_phase_is_done_once_and_in_the_methods_order(full: Finished) -> None:
    phases = [row["phase"] for row in full.rows("phases")]
    assert len(set(phases)) == len(phases)
    of_round = [name.removeprefix("round-1/") for name in phases if name.startswith("round-1/")]
    assert of_round == [
        "server/send",
        "bank/proxy",
        "bank/dst",
        "bank/saml",
        "bank/send",
        "travel/proxy",
        "travel/dst",
        "travel/saml",
        "travel/send",
        "server/replies",
        "server/aggregate",
        "server/saml",
        "server/evaluate-dpm",
        "server/end",
    ]


def test_a_device_finishes_before_it_compares(full: Finished) -> None:
    phases = [row["phase"] for row in full.rows("phases") if row["member"] == "bank"]
    end = phases.index("round-3/bank/dst")
    assert phases[end:] == [
        "round-3/bank/dst",
        "round-3/bank/transfer",
        "round-3/bank/evaluate-after-slm",
        "round-3/bank/evaluate-after-dpm",
        "round-3/bank/save",
        "round-0/bank/evaluate-before-slm",
        "round-0/bank/alone",
        "round-0/bank/alone-evaluate",
    ]


def test_the_rounds_answers_are_not_kept(full: Finished) -> None:
    assert list((full.folder / "inbox").iterdir()) == []


def test_a_device_sends_as_much_in_every_round(full: Finished) -> None:
    rows = [row for row in full.rows("ledger") if row["direction"] == "up"]
    assert {row["round"] for row in rows} == {0, 1, 2, 3}
    assert all(row["tensor_bytes"] == 0 for row in rows if row["round"] in (0, 3))
    ups = [row for row in rows if row["round"] in (1, 2)]
    assert [(row["round"], row["device"]) for row in ups] == [
        (1, "bank"),
        (1, "travel"),
        (2, "bank"),
        (2, "travel"),
    ]
    assert len({row["tensor_bytes"] for row in ups}) == 1
    for row in ups:
        assert row["bytes"] >= row["tensor_bytes"] > 0
        assert row["content"]["shared"] == row["tensor_bytes"]
        assert row["bytes"] - row["tensor_bytes"] < 10_000
    assert max(row["bytes"] for row in ups) - min(row["bytes"] for row in ups) < 100


def test_the_ledger_counts_every_byte_of_every_message(full: Finished) -> None:
    rows = full.rows("ledger")
    messages = [(each.device, each.direction, each.round_number) for each in full.messages]
    assert [(row["device"], row["direction"], row["round"]) for row in rows] == messages
    files = sum(len(content) for content in full.offered.values())
    for row, passed in zip(rows, full.messages, strict=True):
        fetched = files if passed.kind == "welcome" else 0
        assert row["bytes"] == len(passed.data) + fetched == sum(row["content"].values())
    assert Counter(row["round"] for row in rows if row["direction"] == "down") == {
        **{0: 2, 1: 2, 2: 2, 3: 2}
    }
    offered = {name for name in rows[0]["content"] if name.startswith(("file/", "text/"))}
    assert {"file/config.json", "file/model.safetensors", "text/transfer"} <= offered


def test_alone_and_co_tuned_models_take_equally_many_steps(full: Finished) -> None:
    steps: Counter[tuple[str, str]] = Counter()
    for row in full.rows("metrics"):
        if row["step"] == row["steps"]:
            _, member, kind = row["phase"].split("/")
            steps[member, kind] += row["steps"]
    for member in DEVICES:
        assert steps[member, "alone"] == steps[member, "saml"] + steps[member, "transfer"] == 9
    alone = steps["server", "alone"]
    assert alone == steps["server", "saml"] + steps["server", "transfer"] == 6


def test_the_transfer_taught_something(full: Finished) -> None:
    found = {
        row["member"]: row["metrics"] for row in full.rows("phases") if row["kind"] == "transfer"
    }
    assert found.keys() == {"server", *DEVICES}
    for metrics in found.values():
        assert (metrics["num_answers"] > 0) == (metrics["proxy_is_better"] == 1.0)
    assert any(metrics["num_answers"] > 0 for metrics in found.values())


def test_a_domain_adapter_names_the_tuned_dpm_as_its_base(full: Finished) -> None:
    for name in DEVICES:
        folder = full.folder / "adapters" / name / "dpm-domain"
        base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
        assert Path(base) == full.folder / "models" / name / "dpm"
        assert (Path(base) / "config.json").is_file()


def test_only_the_shared_lora_travels_and_base_weights_stay(lora: Finished) -> None:
    adapter = load_file(lora.folder / "adapters/bank/dpm-shared/adapter_model.safetensors")
    travelled = {name.removeprefix("base_model.model."): v for name, v in adapter.items()}
    assert all(".lora_" in name for name in travelled)
    layout = layout_of(travelled, "lossless")
    with_weights = [each for each in lora.messages if each.message.tensors]
    assert len(with_weights) == 2 * 2 * 2 + 2
    for passed in with_weights:
        assert passed.message.tensors.keys() == {"shared"}
        assert len(passed.message.tensors["shared"]) == layout.packed_bytes
    # The last download is what the devices end with.
    (last, _) = lora.of_kind("finish")
    found = unpack(last.message.tensors["shared"], layout)
    assert all(torch.equal(found[name], travelled[name]) for name in travelled)
    weights = (lora.folder / "dpm/model.safetensors").read_bytes()
    assert lora.offered[hashlib.sha256(weights).hexdigest()] == weights
    assert list(lora.folder.rglob("model.safetensors")) == [lora.folder / "dpm/model.safetensors"]
    assert not (lora.folder / "models").exists()


def test_a_lora_run_trains_adapters_of_every_kind(lora: Finished) -> None:
    folders = {
        str(path.parent.relative_to(lora.folder / "adapters"))
        for path in lora.folder.glob("adapters/*/*/adapter_model.safetensors")
    }
    assert folders == {
        "server/llm",
        "server/dpm-shared",
        *(f"{device}/{kind}" for device in DEVICES for kind in ("slm", "dpm-shared", "dpm-domain")),
    }
    for folder in folders:
        tensors = load_file(lora.folder / "adapters" / folder / "adapter_model.safetensors")
        trained = [tensor for name, tensor in tensors.items() if ".lora_B." in name]
        assert all(tensor.abs().sum() > 0 for tensor in trained), folder


def test_the_shared_part_is_one_and_domain_adapters_differ(lora: Finished) -> None:
    def tensors(member: str, name: str) -> dict[str, torch.Tensor]:
        return load_file(lora.folder / "adapters" / member / name / "adapter_model.safetensors")

    server = tensors("server", "dpm-shared")
    for device in DEVICES:
        received = tensors(device, "dpm-shared")
        assert all(torch.equal(received[name], server[name]) for name in server)
    left, right = (tensors(device, "dpm-domain") for device in DEVICES)
    assert any(not torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_nothing_that_leaves_a_device_or_is_offered_holds_private_text(
    kind: str, config: Path, request: pytest.FixtureRequest
) -> None:
    run: Finished = request.getfixturevalue(kind)
    private = load_data(load_config(config)).devices["bank"].train
    assert sum(TOKEN in example.input for example in private) > 3
    assert Counter(passed.kind for passed in run.messages) == {
        **{"welcome": 2, "ready": 2, "download": 4, "upload": 4, "finish": 2, "finished": 2}
    }
    everything = [*(passed.data for passed in run.messages), *run.offered.values()]
    for data in everything:
        assert TOKEN.encode() not in data
    public = load_data(load_config(config)).server.train[0].input
    assert sum(public.encode() in data for data in run.offered.values()) == 1


def test_the_search_for_private_text_finds_public_text(tmp_path: Path, cache: Path) -> None:
    config = write_config(tmp_path / "data", token_in="server")
    run = train(config, tmp_path / "run", cache, StopAtADevice())
    # Two welcomes with their answers, and the first device's download.
    assert [passed.kind for passed in run.messages] == [*["welcome", "ready"] * 2, "download"]
    assert max(data.count(TOKEN.encode()) for data in run.offered.values()) > 3


def test_uploads_hold_nothing_but_the_shared_part_and_numbers(full: Finished) -> None:
    uploads = full.of_kind("upload")
    assert len(uploads) == 4
    weights = load_file(full.folder / "models/bank/dpm/model.safetensors")
    size = sum(value.numel() for value in weights.values())
    words = {"bank", "travel", *(each.split("/")[2] for each in phase_names(full))}
    for passed in uploads:
        message = passed.message
        assert message.info.keys() == {"run", "layout", "report"}
        assert message.tensors.keys() == {"shared"}
        packed = message.tensors["shared"]
        assert packed.dtype == torch.uint8
        assert packed.numel() >= 4 * size
        report = read_report(message.info["report"], passed.device)
        assert report.scores == ()
        for row in report.phases:
            assert {row.member, row.kind} <= words
            assert row.phase == f"round-{passed.round_number}/{passed.device}/{row.kind}"
            assert all(isinstance(value, float) for value in row.metrics.values())
    assert len({passed.message.info["layout"] for passed in uploads}) == 1


def test_scores_by_domain_tell_public_domains_alone(full: Finished) -> None:
    public = {"bank", "travel"}
    for passed in full.of_kind("finished"):
        report = read_report(passed.message.info["report"], passed.device)
        assert len(report.scores) == 2 * 4  # before, alone, after SLM and DPM; of all and own
        for row in report.scores:
            assert row.by_domain.keys() <= public


def phase_names(run: Finished) -> list[str]:
    return [row["phase"] for row in run.rows("phases")]
