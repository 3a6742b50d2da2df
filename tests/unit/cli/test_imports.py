"""Quick commands stay quick: they load no deep learning library."""

import subprocess
import sys

import pytest

import coplms

HEAVY = ("torch", "transformers", "peft", "matplotlib", "datasets")
CHECK = f"""
import sys
found = sorted(set(sys.modules) & set({HEAVY!r}))
assert not found, found
"""
RUN_COMMAND = """
from coplms.cli.main import main
try:
    main({arguments!r})
except SystemExit as stop:
    assert not stop.code, stop.code
"""
PREDICTION = '{"Task": "t", "Instance": {"input": "i", "output": ["yes"]}, "prediction": "Yes."}\n'


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code + CHECK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_no_heavy_library() -> None:
    run("import coplms; coplms.CoplmsError; coplms.__version__")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    run(RUN_COMMAND.format(arguments=arguments))


def test_scoring_predictions_loads_no_heavy_library(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = tmp_path_factory.mktemp("score") / "predictions.jsonl"
    file.write_text(PREDICTION)
    run(RUN_COMMAND.format(arguments=["score", str(file)]))


@pytest.mark.parametrize("name", coplms.__all__)
def test_every_public_name_can_be_loaded(name: str) -> None:
    assert getattr(coplms, name)


def test_there_are_at_most_ten_public_names_and_no_others() -> None:
    assert len(coplms.__all__) <= 10
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        coplms.Server  # noqa: B018
