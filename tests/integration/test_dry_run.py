"""A dry run tells what the run will be; bad input ends a start before it changes anything."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from coplms.api.check import check_run
from coplms.api.consortium import Consortium
from coplms.cli.check import print_check
from coplms.cli.main import main
from coplms.config.load import load_config
from coplms.config.run import RunConfig
from coplms.consortium.record import read_history
from coplms.errors import CoplmsError, DataError, ModelError
from coplms.transport.ledger import read_ledger

COLOURS = ("red", "green", "blue", "yellow")
MODELS = {
    "llm": ("llama", "byte_bpe", 300),
    "one": ("gpt_neox", "fallback_bpe", 320),
    "two": ("bloom", "unigram", 300),
}
ONE_STEP = {"steps": 1, "server_steps": 1}


def recipe(name: str) -> dict[str, object]:
    architecture, tokenizer, vocab_size = MODELS[name]
    sizes = {"vocab_size": vocab_size, "hidden_size": 16, "layers": 1, "heads": 2, "steps": 2}
    return {"name": name, "architecture": architecture, "tokenizer": tokenizer, **sizes}


def write_examples(path: Path, first: int) -> dict[str, dict[str, str]]:
    rows = [
        {"instruction": "Name it.", "input": f"thing {n}", "output": COLOURS[n % 4]}
        for n in range(first, first + 20)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"train": {"path": str(path)}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `consortium.yaml`, its data, the cache, and the finished run `run`."""
    root = tmp_path_factory.mktemp("dry-run")
    data = {
        name: write_examples(root / f"{name}.jsonl", 100 * number)
        for number, name in enumerate(("server", "one", "two", "transfer", "zoo"))
    }
    settings = {
        "llm": {"model": "mini/llm"},
        "devices": [
            {"name": name, "slm": {"model": f"mini/{name}"}, "data": data[name]}
            for name in ("one", "two")
        ],
        "data": {
            "server": data["server"],
            "transfer": data["transfer"]["train"],
            "max_length": 48,
        },
        "tuning": {"kind": "full"},
        "alone": False,
        "method": {
            "rounds": 1,
            "distill": {"steps": 1},
            "dst": {"steps": 1, "last_steps": 2},
            "saml": ONE_STEP,
            "transfer": ONE_STEP,
        },
        "optimizer": {"batch_size": 2},
        "evaluation": {"max_new_tokens": 2},
        "device": "cpu",
        "threads": 1,
        "zoo": {
            "text": [data["zoo"]["train"]["path"]],
            "models": [recipe(name) for name in MODELS],
            "batch_size": 2,
            "block_tokens": 8,
        },
    }
    (root / "consortium.yaml").write_text(yaml.safe_dump(settings))
    Consortium(load_config(root / "consortium.yaml"), root / "cache").train(root / "run")
    return root


@pytest.fixture
def config(root: Path) -> RunConfig:
    return load_config(root / "consortium.yaml")


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_traffic_is_what_the_run_sent(root: Path, config: RunConfig) -> None:
    traffic = check_run(config, root / "cache", root / "new").traffic
    entries = read_ledger(root / "run" / "ledger.jsonl")
    # The devices' first and last answers bring no weights.
    shared = [entry.content["shared"] for entry in entries if "shared" in entry.content]
    assert len(shared) == 2 * 3
    welcomes = [
        entry.bytes for entry in entries if (entry.round_number, entry.direction) == (0, "down")
    ]
    assert len(welcomes) == 2
    assert set(shared) == {traffic.last}
    terms_and_small_files = 6000
    for sent in welcomes:
        assert traffic.welcome < sent < traffic.welcome + terms_and_small_files
    rest = traffic.total - 2 * traffic.welcome
    assert rest == sum(shared)


def test_disk_is_at_least_what_the_run_wrote(root: Path, config: RunConfig) -> None:
    disk = check_run(config, root / "cache", root / "new").disk
    checkpoints = sum(size(root / "run" / name) for name in ("checkpoints", "devices"))
    assert size(root / "run" / "devices") > checkpoints / 4
    assert checkpoints <= disk.checkpoints <= 2 * checkpoints


def test_a_second_start_of_a_finished_run_needs_no_more_room(root: Path, config: RunConfig) -> None:
    new, again = (check_run(config, root / "cache", root / name).disk for name in ("new", "run"))
    assert again.needed == max(0, new.needed - size(root / "run"))


def test_steps_are_those_that_were_taken(root: Path, config: RunConfig) -> None:
    found = check_run(config, root / "cache", root / "new")
    steps = {part.name: part.steps for part in found.parts}
    taken = {row["phase"]: row["steps"] for row in read_history(root / "run").metrics}
    assert taken["round-0/server/distill"] == found.distill_steps
    dst = taken["round-1/one/dst"] + taken["round-2/one/dst"]
    assert dst == steps["one/dpm-domain"]
    own = taken["round-1/one/saml"] + taken["round-2/one/transfer"]
    assert own == steps["one/slm"]


def test_a_dry_run_prints_plain_tables_and_changes_no_run(
    root: Path, config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    before = hashes(root / "run")
    print_check(config, root / "cache", root / "run")
    printed = capsys.readouterr().out
    for word in ("Models", "mini/one", "byte-level BPE", "Common classes", "one/dpm-domain"):
        assert word in printed
    assert "warning: one: only 16 examples" in printed
    assert "\x1b" not in printed
    assert printed.endswith("ready to train\n")
    assert hashes(root / "run") == before


def test_models_that_are_not_built_are_announced_and_not_built(
    tmp_path: Path, config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    print_check(config, tmp_path / "cache", tmp_path / "run")
    printed = capsys.readouterr().out
    assert printed.count("will be built (2 steps)") == 3
    assert "Common classes" not in printed
    assert printed.endswith("ready to train\n")
    assert list(tmp_path.iterdir()) == []


def test_the_command_trains_nothing(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COPLMS_CACHE", str(root / "cache"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["train", str(root / "consortium.yaml"), "--dry-run"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.endswith("ready to train\n")
    assert list(tmp_path.iterdir()) == []


# Bad input ------------------------------------------------------------------------------------


def replace_line(path: Path, number: int, line: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    path.write_text("\n".join(lines) + "\n")


LONG = json.dumps({"input": "thing", "output": "q" * 60})
SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing file": (lambda path: path.unlink(), r"no file at '.*one\.jsonl'"),
    "broken line": (lambda path: replace_line(path, 3, '{"input": '), r"one\.jsonl:3: not valid"),
    "no answer": (lambda path: replace_line(path, 3, '{"input": "x"}'), r"one\.jsonl:3: "),
    "empty device": (lambda path: path.write_text(""), r"one\.jsonl' .* holds no example"),
    "long answer": (
        lambda path: replace_line(path, 5, LONG),
        r"one\.jsonl:5: the answer has 62 tokens .* raise data\.max_length to 66",
    ),
}


@pytest.fixture
def one(root: Path) -> Iterator[Path]:
    """The file of device `one`, whole again afterwards."""
    path = root / "one.jsonl"
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


@pytest.mark.parametrize("case", SPOILERS)
def test_bad_data_gives_one_error_and_leaves_the_earlier_run_alone(
    root: Path, config: RunConfig, one: Path, case: str
) -> None:
    spoil, message = SPOILERS[case]
    spoil(one)
    before = hashes(root / "run")
    for attempt in (
        lambda: Consortium(config, root / "cache").train(root / "run"),
        lambda: print_check(config, root / "cache", root / "run"),
    ):
        with pytest.raises(DataError, match=message):
            attempt()
    assert hashes(root / "run") == before


def test_a_new_run_with_bad_data_makes_no_folder(root: Path, config: RunConfig, one: Path) -> None:
    replace_line(one, 5, LONG)
    with pytest.raises(DataError):
        Consortium(config, root / "cache").train(root / "never")
    assert not (root / "never").exists()


def test_no_mini_model_is_built_for_a_run_that_cannot_start(
    tmp_path: Path, config: RunConfig
) -> None:
    dpm = config.dpm.model_copy(update={"layers": 9})
    with pytest.raises(ModelError, match=r"dpm\.layers is 9, and the LLM 'llm' has 1 layers"):
        Consortium(config.model_copy(update={"dpm": dpm}), tmp_path / "cache").train(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_answers_that_do_not_fit_are_listed_before_the_error(
    root: Path, config: RunConfig, one: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_line(one, 5, LONG)
    with pytest.raises(CoplmsError):
        print_check(config, root / "cache", root / "run")
    printed = capsys.readouterr().out
    assert "Answers that do not fit" in printed
    assert "one.jsonl:5" in printed
    assert "ready to train" not in printed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--set", "method.round=2"], "method.round is unknown. Did you mean 'rounds'?"),
        (["--set", "data.max_length=9"], "leaves 7 tokens for prompts"),
        (["--set", "devices.0.slm.model=mini/absent"], "'mini/absent' is not a mini model"),
        (["--set", "llm.model=nobody/nothing"], "HF_HUB_OFFLINE is set"),
    ],
)
@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_a_bad_setting_ends_the_command_with_one_error(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: list[str],
    message: str,
    dry: list[str],
) -> None:
    monkeypatch.setenv("COPLMS_CACHE", str(root / "cache"))
    before = hashes(root / "run")
    with pytest.raises(SystemExit) as ended:
        main(["train", str(root / "consortium.yaml"), "-o", str(tmp_path / "x"), *settings, *dry])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert hashes(root / "run") == before


def test_of_many_devices_only_some_are_listed(
    root: Path, config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crowd = config.devices[0].model_dump() | {"count": 60}
    settings = config.model_dump() | {"devices": [crowd]}
    many = RunConfig.model_validate(settings)
    print_check(many, root / "cache", tmp_path / "run")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 205
    assert "ready to train" in lines
    # 62 models and 61 members' examples and times, of which 20 are listed.
    assert sum("and 42 more rows" in line for line in lines) >= 1
    assert sum("and 41 more rows" in line for line in lines) >= 2
    assert "warning: 55 more devices have fewer than 50 examples." in lines
