"""Commands as a user calls them, on a consortium of tiny models: train, ask, score, export."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from coplms import load_tuned
from coplms.api.schedule import plan
from coplms.cli.main import main
from coplms.cli.progress import PlainLines
from coplms.config.load import load_config
from coplms.models.language_model import LanguageModel

CONFIG = """
name: Tiny
llm: {model: mini/llm}
dpm: {layers: 1, domain_rank: 2}
devices:
  - {name: bank, slm: {model: mini/slm}}
  - {name: agency, slm: {model: mini/llm}}
data:
  pool:
    train: {path: "${COPLMS_DATA}/train.jsonl"}
    dev: {path: "${COPLMS_DATA}/dev.jsonl"}
    test: {path: "${COPLMS_DATA}/test.jsonl"}
    partition: {kind: domain, domains: {bank: [money], agency: [travel]}}
    public_labelled: 8
    public_unlabelled: 8
  max_length: 64
tuning: {rank: 4, alpha: 16}
optimizer: {learning_rate: 0.02, batch_size: 4}
method:
  rounds: 1
  distill: {steps: 2, batch_size: 2, block_tokens: 16}
  dst: {steps: 6, last_steps: 3}
  saml: {steps: 6, server_steps: 6, proxy_steps: 1}
  transfer: {steps: 6, server_steps: 6, min_confidence: 0}
evaluation: {max_new_tokens: 6, batch_size: 16}
threads: 1
zoo:
  text: ["${COPLMS_DATA}/train.jsonl"]
  models:
    - {name: llm, architecture: llama, tokenizer: byte_bpe, vocab_size: 320, hidden_size: 32,
       layers: 2, heads: 2, steps: 60}
    - {name: slm, architecture: gpt_neox, tokenizer: byte_bpe, vocab_size: 300, hidden_size: 16,
       layers: 1, heads: 2, steps: 60}
  batch_size: 4
  block_tokens: 32
"""
WORDS = {"money": ("loan", "card"), "travel": ("train", "hotel")}
INSTRUCTION = "Name the topic."
MODELS = [
    ("server", "llm"),
    ("server", "dpm"),
    ("bank", "slm"),
    ("bank", "dpm"),
    ("agency", "slm"),
    ("agency", "dpm"),
]


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration, its data and a cache."""
    root = tmp_path_factory.mktemp("cli")
    (root / "data").mkdir()
    (root / "tiny.yaml").write_text(CONFIG, encoding="utf-8")
    for split, first, num in (("train", 0, 12), ("dev", 50, 2), ("test", 70, 3)):
        rows = [
            {"instruction": INSTRUCTION, "input": f"One {word}, number {number}"}
            | {"output": word, "domain": domain, "task": f"{domain}_topic"}
            for number in range(first, first + num)
            for domain, words in WORDS.items()
            for word in words
        ]
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (root / "data" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return root


@pytest.fixture
def call(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command in the folder as the console script would."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("COPLMS_CACHE", str(place / "cache"))
    monkeypatch.setenv("COPLMS_DATA", "")

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        printed = capsys.readouterr()
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else 0, printed.out, printed.err)

    return run


def train(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The console script in a process of its own."""
    script = Path(sys.executable).with_name("coplms")
    environment = {**os.environ, "COPLMS_CACHE": str(place / "cache"), "COLUMNS": "80"}
    command = [str(script), "train", "tiny.yaml", "--data-root", "data", *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def lora(place: Path) -> Path:
    """A run whose models were tuned by LoRA."""
    done = train(place)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (place / "printed.txt").write_text(done.stdout, encoding="utf-8")
    return place / "runs" / "tiny"


@pytest.fixture
def full(place: Path, call: Call) -> Path:
    """A run whose models were tuned as a whole; trained once."""
    run = place / "full"
    if not run.exists():
        options = ("--data-root", "data", "--output", "full", "--set", "tuning.kind=full")
        assert call("train", "tiny.yaml", *options).code == 0
    return run


def logits(model: LanguageModel) -> torch.Tensor:
    """What the model says about one fixed text."""
    with torch.no_grad():
        output: torch.Tensor = model.network(torch.arange(3, 40)[None]).logits
    return output


def test_train_shows_phases_scores_and_the_report(lora: Path, place: Path) -> None:
    lines = (place / "printed.txt").read_text(encoding="utf-8").splitlines()
    num_phases = len(plan(load_config(place / "tiny.yaml")))
    assert lines[0].startswith("mini model llm: step ")
    assert f"[{num_phases}/{num_phases}] end, server: evaluate-after-dpm: " in "\n".join(lines)
    assert any(line.strip().startswith("bank SLM ") for line in lines)
    assert lines[-1] == "Report: runs/tiny/report.html"
    assert "What co-tuning bought" in (lora / "report.html").read_text(encoding="utf-8")


def test_the_plan_names_every_phase_of_a_run(lora: Path, place: Path) -> None:
    rows = (lora / "phases.jsonl").read_text(encoding="utf-8").splitlines()
    names = [json.loads(row)["phase"] for row in rows]
    assert names == list(plan(load_config(place / "tiny.yaml")))


def test_a_finished_run_is_not_trained_again(lora: Path, call: Call) -> None:
    before = (lora / "evaluation.jsonl").read_bytes()
    outcome = call("train", "tiny.yaml", "--data-root", "data")
    assert outcome.code == 0
    assert "[" not in outcome.out
    assert (lora / "evaluation.jsonl").read_bytes() == before


def test_ctrl_c_says_how_to_go_on_and_the_run_goes_on(
    lora: Path, place: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = PlainLines.phase_started

    def press_ctrl_c(self: PlainLines, name: str) -> None:
        started(self, name)
        if name.endswith("bank/saml"):
            signal.raise_signal(signal.SIGINT)

    command = ("train", "tiny.yaml", "--data-root", "data", "--output", "stopped")
    # A process that was started in the background ignores the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(PlainLines, "phase_started", press_ctrl_c)
            outcome = call(*command)
    finally:
        signal.signal(signal.SIGINT, before)
    assert outcome.code == 130
    assert outcome.err == "stopped; run the same command to continue\n"
    asked = call("generate", "stopped", "--device", "bank", "--prompt", "Anything?")
    assert asked.code == 2
    assert "the run is not finished" in asked.err
    assert "Run `coplms train` again with --output stopped to finish it." in asked.err
    resumed = call(*command)
    assert resumed.code == 0
    assert resumed.out.startswith("going on: ")
    stopped = place / "stopped"
    assert (stopped / "evaluation.jsonl").read_bytes() == (lora / "evaluation.jsonl").read_bytes()


def test_a_run_with_another_configuration_is_refused_and_kept(lora: Path, call: Call) -> None:
    files = {path: path.stat().st_mtime_ns for path in lora.rglob("*")}
    outcome = call("train", "tiny.yaml", "--data-root", "data", "--seed", "3")
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err == (
        "RunError: runs/tiny holds a run with another configuration (seed is 0 there, 3 here). "
        "Give another --output, or the configuration that this run was started with.\n"
    )
    assert {path: path.stat().st_mtime_ns for path in lora.rglob("*")} == files


def test_a_run_without_finished_phases_may_get_another_configuration(
    lora: Path, place: Path, call: Call
) -> None:
    barely = place / "barely"
    barely.mkdir()
    shutil.copy(lora / "config.yaml", barely)
    shutil.copy(lora / "ledger.jsonl", barely)
    options = ("--seed", "3", "--output", "barely", "--set", "alone=false")
    assert call("train", "tiny.yaml", "--data-root", "data", *options).code == 0
    assert load_config(barely / "config.yaml").seed == 3
    sent = [
        path.read_text().count("\n") for path in (lora / "ledger.jsonl", barely / "ledger.jsonl")
    ]
    assert sent[0] == sent[1]


@pytest.mark.parametrize(("member", "kind"), MODELS)
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_exported_models_are_the_runs_models(
    member: str, kind: str, tuning: str, request: pytest.FixtureRequest, place: Path, call: Call
) -> None:
    run: Path = request.getfixturevalue(tuning)
    exported = place / f"exported-{tuning}"
    if not exported.exists():
        assert call("export", str(run), "--output", exported.name).code == 0
    tuned = load_tuned(run, member, kind)
    network = AutoModelForCausalLM.from_pretrained(exported / member / kind)
    tokenizer = AutoTokenizer.from_pretrained(exported / member / kind)
    assert not list((exported / member / kind).glob("adapter*"))
    alone = LanguageModel(kind, network, tokenizer, "")
    torch.testing.assert_close(logits(alone), logits(tuned), rtol=1e-4, atol=1e-4)

    prompt = f"{INSTRUCTION}\nOne loan, number 71\nAnswer:"
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    ids = torch.cat(
        [torch.tensor([[i for i in [tokenizer.bos_token_id] if i is not None]]), ids], 1
    )
    answer = network.generate(ids.long(), max_new_tokens=6, do_sample=False)[0, ids.shape[1] :]
    options = ("--device", member, "--model", kind, "--prompt", INSTRUCTION)
    asked = call("generate", str(run), *options, "--input", "One loan, number 71")
    assert asked.out == f"{tokenizer.decode(answer, skip_special_tokens=True).strip()}\n"


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_tuned_models_differ_from_what_they_were(
    tuning: str, request: pytest.FixtureRequest
) -> None:
    run: Path = request.getfixturevalue(tuning)
    llm, slm = load_tuned(run, "server"), load_tuned(run, "agency")
    assert (logits(llm) - logits(slm)).abs().max() > 0.1
    proxies = [logits(load_tuned(run, member, "dpm")) for member in ("server", "bank", "agency")]
    assert (proxies[0] - proxies[1]).abs().max() > 0.1
    assert (proxies[1] - proxies[2]).abs().max() > 0.1


def test_export_overwrites_nothing(lora: Path, place: Path, call: Call) -> None:
    (place / "taken" / "bank" / "dpm").mkdir(parents=True)
    outcome = call("export", "runs/tiny", "--output", "taken", "--member", "bank")
    assert outcome.code == 2
    assert outcome.err == (
        "RunError: taken/bank/dpm exists already. Remove it, or give another --output.\n"
    )
    assert [path.name for path in (place / "taken" / "bank").iterdir()] == ["dpm"]


def test_evaluating_a_tuned_model_gives_the_scores_of_the_run(lora: Path, call: Call) -> None:
    rows = [json.loads(row) for row in (lora / "evaluation.jsonl").read_text().splitlines()]
    for member, kind in MODELS:
        options = ("--device", member, "--model", kind, "--data-root", "data")
        found = json.loads(call("evaluate", "runs/tiny", *options).out)
        expected = next(
            row
            for row in rows
            if (row["when"], row["member"], row["model"], row["scope"])
            == ("after", member, kind, "all")
        )
        assert found["overall"] == {key: expected[key] for key in ("rougeL", "exact_match")}
        assert found["by_domain"] == expected["by_domain"]
        assert found["num_examples"] == 12


def test_predictions_score_as_they_did_when_they_were_made(
    lora: Path, place: Path, call: Call
) -> None:
    options = ("--data", "data/test.jsonl", "--predictions", "predictions.jsonl")
    evaluated = json.loads(call("evaluate", "runs/tiny", "--device", "bank", *options).out)
    first = json.loads((place / "predictions.jsonl").read_text().splitlines()[0])
    assert set(first) == {"Task", "Instance", "prediction"}
    assert first["Task"] == "money_topic"
    assert first["Instance"] == {"input": "One loan, number 70", "output": ["loan"]}
    scored = json.loads(call("score", "predictions.jsonl").out)
    assert list(scored) == ["overall", "per_task"]
    assert set(scored["per_task"]) == {"money_topic", "travel_topic"}
    assert scored == {key: evaluated[key] for key in scored}


def test_an_adapter_is_evaluated_on_its_base_as_the_run_does_it(lora: Path, call: Call) -> None:
    options = ("--data", "data/test.jsonl", "--max-length", "64", "--max-new-tokens", "6")
    base = json.loads((lora / "adapters/bank/slm/adapter_config.json").read_text())
    folder = str(base["base_model_name_or_path"])
    adapted = call("evaluate", folder, "--adapter", "runs/tiny/adapters/bank/slm", *options)
    tuned = call("evaluate", "runs/tiny", "--device", "bank", "--data", "data/test.jsonl")
    assert json.loads(adapted.out) == json.loads(tuned.out)


def test_an_adapter_of_another_model_is_refused(lora: Path, call: Call) -> None:
    base = json.loads((lora / "adapters/bank/slm/adapter_config.json").read_text())
    folder = str(base["base_model_name_or_path"])
    options = ("--adapter", "runs/tiny/adapters/server/llm", "--data", "data/test.jsonl")
    outcome = call("evaluate", folder, *options)
    assert outcome.code == 2
    assert outcome.err.startswith("ModelError: the adapter in runs/tiny/adapters/server/llm does")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "law"), "ConfigError: 'law' is no member of runs/tiny. Members: server, "),
        (("--device", "bank", "--model", "llm"), "ConfigError: 'bank' of runs/tiny has no model"),
        (("--device", "bank", "--max-new-tokens", "64"), "ConfigError: an answer of up to 64"),
    ],
)
def test_asking_whom_there_is_not_is_refused(
    options: tuple[str, ...], message: str, lora: Path, call: Call
) -> None:
    outcome = call("generate", "runs/tiny", "--prompt", INSTRUCTION, *options)
    assert outcome.code == 2
    assert outcome.err.startswith(message)


def test_mini_models_that_are_gone_from_the_cache_can_be_built_again(
    lora: Path, place: Path, call: Call
) -> None:
    ask = ("generate", "runs/tiny", "--device", "server", "--prompt", INSTRUCTION)
    answer = call(*ask).out
    (place / "cache" / "zoo").rename(place / "moved")
    outcome = call(*ask)
    assert outcome.code == 2
    assert "`coplms models build runs/tiny/config.yaml` makes it again." in outcome.err
    built = call("models", "build", "runs/tiny/config.yaml", "--data-root", "data")
    assert built.out.splitlines()[-2].startswith(f"mini/llm  {place / 'cache' / 'zoo' / 'llm-'}")
    assert call(*ask).out == answer


def test_report_is_written_again(lora: Path, call: Call) -> None:
    (lora / "report.html").unlink()
    assert call("report", "runs/tiny").out == "runs/tiny/report.html\n"
    assert (lora / "report.html").is_file()


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "coplms.cli.main", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("coplms ")
