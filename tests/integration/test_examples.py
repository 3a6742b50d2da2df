"""Every script of examples/ runs, with tiny models."""

import itertools
import json
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from coplms.config.data import SourceConfig
from coplms.config.model import ZooConfig
from coplms.data.demo import demo_text
from coplms.data.sources import read_source
from coplms.models.zoo import build_zoo

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTED = {
    "align_two_tokenizers.py",
    "ask_a_tuned_model.py",
    "own_models.py",
    "quickstart.py",
    "score_predictions.py",
}
SMALL = {"vocab_size": 500, "hidden_size": 16, "layers": 2, "heads": 2, "steps": 1}

Run = Callable[[str, Sequence[object]], str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs an example in this process; what it printed."""

    def start(name: str, arguments: Sequence[object]) -> str:
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / name))["main"]([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return start


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A little of the demo's text, enough for tiny tokenizers."""
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    documents = itertools.islice(demo_text(), 200)
    path.write_text("".join(json.dumps({"text": each}) + "\n" for each in documents))
    return path


@pytest.fixture(scope="module")
def quickstart(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that examples/quickstart.py made."""
    folder = tmp_path_factory.mktemp("quickstart")
    settings = [
        f"zoo.text=[{text}]",
        *(f"zoo.models.{i}.{key}={SMALL[key]}" for i in range(4) for key in SMALL),
        *("dpm.layers=1", "data.pool.private=60", "data.pool.public_unlabelled=8"),
        *("data.pool.public_labelled=16", "data.pool.max_dev=30", "data.pool.max_test=30"),
        *("method.rounds=1", "method.distill.steps=1", "method.dst.last_steps=1"),
        *("method.saml.steps=1", "method.saml.server_steps=1", "method.saml.proxy_steps=1"),
        *("method.transfer.steps=1", "method.transfer.server_steps=1"),
        *("data.pool.partition={kind: iid}", "evaluation.max_new_tokens=2", "alone=false"),
    ]
    arguments = ["--output", str(folder / "run")]
    for setting in settings:
        arguments += ["--set", setting]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPLMS_CACHE", str(folder / "cache"))
        runpy.run_path(str(EXAMPLES / "quickstart.py"))["main"](arguments)
    return folder / "run"


def test_every_example_is_tested_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == TESTED


def test_the_quick_start_scores_every_model_before_and_after(quickstart: Path) -> None:
    lines = (quickstart / "evaluation.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    scored = {(row["when"], row["member"], row["model"]) for row in rows}
    assert {("before", "server", "llm"), ("after", "server", "llm")} <= scored
    assert {("after", name, "slm") for name in ("hospital", "factory", "bank")} <= scored


def test_a_tuned_model_answers(quickstart: Path, run: Run) -> None:
    question = "how much money do i have"
    for member, model in (("bank", "slm"), ("bank", "dpm"), ("server", "llm")):
        printed = run("ask_a_tuned_model.py", [quickstart, member, question, "--model", model])
        assert printed.endswith("\n")


def test_own_models_and_files_leave_adapters(text: Path, tmp_path: Path, run: Run) -> None:
    kinds = {"large": ("llama", "byte_bpe"), "small": ("gpt_neox", "fallback_bpe")}
    zoo = ZooConfig.model_validate(
        {
            "models": [
                {"name": name, "architecture": architecture, "tokenizer": tokenizer, **SMALL}
                for name, (architecture, tokenizer) in kinds.items()
            ],
            "block_tokens": 32,
        }
    )
    models = build_zoo(zoo, [*itertools.islice(demo_text(), 200)], tmp_path / "zoo")
    names = ("bank", "music", "travel")
    files = {name: _write_requests(tmp_path / f"{name}.jsonl", name) for name in names}
    output = tmp_path / "run"
    printed = run(
        "own_models.py",
        [
            *("--llm", models["large"], "--public", files["bank"], "--steps", 1),
            *("--transfer", files["travel"]),
            *("--device", "mine", models["small"], files["music"], "--output", output),
        ],
    )
    assert str(output / "adapters" / "mine" / "slm") in printed
    assert run("ask_a_tuned_model.py", [output, "mine", "play some music"]).endswith("\n")


def _write_requests(path: Path, domain: str) -> Path:
    source = SourceConfig(path="demo", format="demo", domains=(domain,), limit_per_domain=30)
    rows = [
        {"instruction": e.instruction, "input": e.input, "output": e.answer}
        for e in read_source(source, 0)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_two_tokenizers_meet_at_the_ends_of_words(text: Path, run: Run) -> None:
    printed = run("align_two_tokenizers.py", ["--train-on", text, "--text", "the bill"])
    assert "'</s>' | '</s>'" in printed
    assert "classes of" in printed


def test_predictions_are_scored_from_a_file(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "predictions.jsonl"
    row = {"Task": "t", "Instance": {"input": "", "output": ["Yes"]}, "prediction": "yes."}
    path.write_text(json.dumps(row))
    assert json.loads(run("score_predictions.py", [path]))["overall"]["exact_match"] == 100.0


def test_predictions_are_scored_without_a_file(run: Run) -> None:
    per_task = json.loads(run("score_predictions.py", []))["per_task"]
    assert per_task["capitals"] == {"rougeL": 100.0, "exact_match": 100.0}
    assert per_task["colours"]["exact_match"] == 50.0
