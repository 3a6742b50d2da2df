"""How commands refuse: one message without a traceback, and exit code 2."""

from pathlib import Path

import pytest

from coplms.cli.main import main

CONFIG = """
llm: {model: some/llm}
devices: [{name: law, slm: {model: some/slm}}]
data: {pool: {train: {path: "${COPLMS_DATA}/train.jsonl"}}}
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COPLMS_DATA", raising=False)
    Path("run.yaml").write_text(CONFIG)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a refused command prints to stderr."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.rstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "absent.yaml"], "ConfigError: absent.yaml: does not exist."),
        (["train", "run.yaml", "--set", "sed=1"], "ConfigError: run.yaml: --set sed=1: "),
        (["train", "run.yaml", "--set", "seed"], "ConfigError: --set seed: is not KEY=VALUE."),
        (["train", "run.yaml", "--data-root", "absent"], "ConfigError: --data-root: there is no"),
        (["models", "build", "absent.yaml"], "ConfigError: absent.yaml: does not exist."),
        (["score", "absent.jsonl"], "DataError: absent.jsonl: cannot be read"),
        (["report", "absent"], "RunError: absent: there is no such folder."),
        (["evaluate", "model"], "ConfigError: model is no run and has no test set."),
        (["evaluate", "model", "--device", "a"], "ConfigError: --device and --model need a run"),
        (["export", ".", "--output", "out"], "RunError: .: holds no run"),
        (["generate", ".", "--device", "a", "--prompt", "b"], "RunError: .: holds no run"),
    ],
)
def test_what_the_user_can_mend_is_said_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(capsys, *arguments)
    assert error.startswith(message)
    assert "\n" not in error
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["run.yaml"]


def test_a_data_root_that_is_not_set_leaves_no_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = refusal(capsys, "train", "run.yaml", "--output", "run")
    assert error.startswith("DataError: path '${COPLMS_DATA}/train.jsonl' needs the environment")
    assert "Traceback" not in error
    assert not Path("run").exists()


def test_a_folder_of_other_things_is_not_written_into(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("dear")
    error = refusal(capsys, "train", "run.yaml", "--output", "mine")
    assert error == "RunError: mine is not empty and holds no run. Give another --output."
    assert [path.name for path in Path("mine").iterdir()] == ["letter.txt"]
