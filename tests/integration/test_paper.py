"""The consortium at real size: what a dry run says of it without a network, and with a hub."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

from coplms.api import volume
from coplms.api.check import RunCheck, check_run
from coplms.api.consortium import Consortium
from coplms.api.hub import Hub
from coplms.cli.check import print_check
from coplms.config.load import load_config
from coplms.config.model import ZooModelConfig
from coplms.errors import ConfigError, DataError, ModelError
from coplms.models.zoo_networks import build_network
from coplms.models.zoo_tokenizers import train_tokenizer
from tests.local_hub import served

PAPER = Path(__file__).parents[2] / "configs" / "paper"
PARAMETERS = {
    "llm": 6_738_415_616,
    "dpm": 162_417_408,
    "hospital/slm": 1_065_314_304,
    "factory/slm": 1_345_423_360,
    "bank/slm": 1_543_714_304,
}
EXAMPLES = {"sni": (600, 2000, 4800, 300, 1000), "mmlu": (700, 3000, 9000, 285, 1531)}
SILENT = Hub(offline=True)


@pytest.fixture(autouse=True, scope="module")
def _a_machine(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Nothing of the hub's lies on it, and its disk has room for the run, whatever is left here."""
    datasets = pytest.importorskip("datasets")
    usage = volume.shutil.disk_usage(tmp_path_factory.getbasetemp())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volume.shutil, "disk_usage", lambda _: usage._replace(free=10**12))
        patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("models")))
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("data")))
        yield


Check = Callable[[str], RunCheck]


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """A shipped configuration, checked once."""
    known: dict[str, RunCheck] = {}

    def run(name: str) -> RunCheck:
        if name not in known:
            cache = tmp_path_factory.mktemp("cache")
            known[name] = check_run(load_config(PAPER / f"{name}.yaml"), cache, hub=SILENT)
            assert list(cache.iterdir()) == []
        return known[name]

    return run


@pytest.mark.parametrize("name", ["sni", "mmlu"])
def test_models_have_the_parameters_that_their_authors_publish(check: Check, name: str) -> None:
    found = check(name)
    assert {model.name: model.num_parameters for model in found.models} == PARAMETERS
    assert {model.state for model in found.models} == {"written"}
    assert found.needs_hub
    assert found.refusal is None


@pytest.mark.parametrize("name", ["sni", "mmlu"])
def test_examples_are_as_many_as_the_file_says(check: Check, name: str) -> None:
    found = check(name)
    public, transfer, private, dev, test = EXAMPLES[name]
    server, *devices = found.data
    assert (server.train, server.dev, server.test) == (public, dev, test)
    assert [held.train for held in devices] == 3 * [private // 3]
    assert found.num_transfer == transfer
    assert (found.readings, found.pairs) == ((), ())


@pytest.mark.parametrize("name", ["sni", "mmlu"])
def test_traffic_is_the_dpm_once_and_its_adapter_in_rounds(check: Check, name: str) -> None:
    # Rank 16 in float32: four projections of 768 x 768, three of 768 x 3072, in 12 layers.
    adapter = 4 * 12 * 16 * (4 * (768 + 768) + 3 * (768 + 3072))
    traffic = check(name).traffic
    assert traffic.last == adapter == 13_565_952
    assert traffic.per_round == 2 * 3 * adapter
    # The DPM in float32; tokenizer and public text are some MB.
    weights = 4 * PARAMETERS["dpm"]
    assert weights < traffic.welcome < weights + 20e6
    assert traffic.total == 3 * (traffic.welcome + adapter) + 3 * traffic.per_round


@pytest.mark.parametrize("name", ["sni", "mmlu"])
def test_memory_is_that_of_one_large_gpu(check: Check, name: str) -> None:
    found = check(name)
    rows = {row.owner: row for row in found.memory.rows}
    llm, dpm = 2 * PARAMETERS["llm"], 4 * PARAMETERS["dpm"]
    assert llm + dpm < rows["server"].weights < 1.05 * (llm + dpm)
    assert rows["distillation"].moments == 2 * dpm
    for device in ("hospital", "factory", "bank"):
        slm = 2 * PARAMETERS[f"{device}/slm"]
        assert slm + dpm < rows[device].weights < 1.1 * (slm + dpm)
    assert 20e9 < found.memory.peak < 70e9
    assert any("memory: the run may need" in words for words in found.warnings) == (
        found.memory.peak > found.memory.available
    )


@pytest.mark.parametrize("name", ["sni", "mmlu"])
def test_time_is_hours_and_most_of_it_the_llms(check: Check, name: str) -> None:
    time = check(name).time
    assert (time.teraflops, time.is_measured) == (150, False)
    by_kind = {row.kind: row.by_member for row in time.rows}
    # 600 steps of 16 examples of 512 tokens at most: forward, gradients, and forward once more.
    tokens = 600 * 16 * 512
    body = PARAMETERS["llm"] - 2 * 32000 * 4096
    assert by_kind["alone"]["server"] == pytest.approx(2 * 3 * body * tokens / 150e12, rel=0.01)
    assert sum(found.get("server", 0) for found in by_kind.values()) > time.seconds / 2
    assert 0.5 < time.seconds / 3600 < 5
    assert min(by_kind["saml"].values()) > 0


@pytest.mark.parametrize("name", ["sni", "mmlu"])
def test_what_was_assumed_is_said(check: Check, name: str) -> None:
    models, data, *_ = check(name).warnings
    assert models.startswith("llm, dpm, hospital/slm, factory/slm, bank/slm: not on this machine")
    assert "HF_HUB_OFFLINE is set" in models
    assert data.startswith("data: ")
    assert "data.max_length: 512 tokens" in data


def test_a_dry_run_prints_estimates_and_that_the_hub_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = tiny(tmp_path)
    print_check(load_config(path), tmp_path / "cache", tmp_path / "run")
    printed = capsys.readouterr().out
    for words in ("not seen; sizes as written", "Time, estimated", "time: about", "7,408"):
        assert words in printed
    assert printed.endswith("ready to train, once the hub answers\n")


def test_a_run_at_real_size_fails_clearly_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hub data set 'cais/mmlu', split 'test', cannot be loaded"):
        Consortium(load_config(PAPER / "mmlu.yaml"), tmp_path / "cache").train(tmp_path / "run")
    assert not list(tmp_path.glob("run/checkpoints/*"))


# A hub on this machine ----------------------------------------------------------------------------


SIZES = {
    **{"model_type": "llama", "vocab_size": 300, "hidden_size": 16, "intermediate_size": 32},
    **{"num_hidden_layers": 1, "num_attention_heads": 2, "tie_word_embeddings": True},
}


def tiny(folder: Path) -> tuple[Path, Path]:
    """A configuration whose models lie on a hub as `some/model`, and that repository's files."""
    rows = [{"instruction": "Name it.", "input": f"thing {n}", "output": "red"} for n in range(60)]
    (folder / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "llm": {"model": "some/model", "sizes": SIZES},
        "devices": [{"name": "one", "slm": {"model": "some/model", "sizes": SIZES}}],
        "data": {
            "pool": {
                "train": {"path": str(folder / "text.jsonl")},
                "public_labelled": 5,
                "public_unlabelled": 5,
            },
            "max_length": 64,
        },
        "evaluation": {"max_new_tokens": 8},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    shape = {"hidden_size": 16, "layers": 2, "heads": 2}
    recipe = {"name": "a", "architecture": "llama", "tokenizer": "byte_bpe", **shape}
    texts = [f"Name it.\nthing {n}\nAnswer: red" for n in range(80)]
    tokenizer = train_tokenizer("byte_bpe", 300, texts)
    network = build_network(ZooModelConfig.model_validate(recipe), tokenizer, seed=0)
    network.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "tiny.yaml", folder / "model"


def dry_run(path: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process that asks the hub at `endpoint`."""
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(path.parent / "hub")}
    environment |= {"COPLMS_CACHE": str(path.parent / "cache")}
    command = [sys.executable, "-m", "coplms.cli.main", "train", str(path), "--dry-run"]
    return subprocess.run(
        command, env=environment, cwd=path.parent, capture_output=True, text=True, timeout=300
    )


def test_a_hub_that_answers_is_believed_rather_than_the_file(tmp_path: Path) -> None:
    path, files = tiny(tmp_path)
    with served(files, "some/model") as (address, asked):
        done = dry_run(path, address)
    assert done.returncode == 0, done.stderr
    words = r"llm: .some/model. has 11,\d+ parameters, and by its `sizes` it would have 7,408"
    assert re.search(words, done.stdout)
    assert "byte-level BPE" in done.stdout
    assert done.stdout.endswith("ready to train\n")
    assert not any("model.safetensors" in each for each in asked)


def test_a_hub_that_does_not_answer_costs_no_time_and_no_noise(tmp_path: Path) -> None:
    path, _ = tiny(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
    done = dry_run(path, endpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"the hub ({endpoint}) does not answer" in done.stdout
    assert done.stdout.endswith("ready to train, once the hub answers\n")


def test_written_sizes_are_for_dry_runs_only(tmp_path: Path) -> None:
    path, _ = tiny(tmp_path)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        Consortium(load_config(path), tmp_path / "cache").train(tmp_path / "run")


def test_sizes_that_make_no_model_end_a_dry_run(tmp_path: Path) -> None:
    path, _ = tiny(tmp_path)
    config = load_config(path, ["devices.0.slm.sizes.hidden_size=15"])
    with pytest.raises(ConfigError, match=r"the sizes of 'one/slm' .*hidden_size 15.* make no"):
        check_run(config, tmp_path / "cache", hub=SILENT)
