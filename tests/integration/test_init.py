"""`coplms init`: what it writes loads, tells defaults truly, and overwrites nothing."""

import json
import re
from pathlib import Path

import pytest

from coplms.cli.init import init
from coplms.cli.main import main
from coplms.config.load import load_config
from coplms.config.run import RunConfig
from coplms.data.jsonl import to_example
from coplms.errors import RunError

_SETTING = re.compile(r"^(\s*)#(?=[a-z_]+:)", re.MULTILINE)
"""The '#' before a setting that stands there with its default."""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return init(tmp_path / "mine")


def test_the_configuration_loads_and_has_three_devices_with_own_files(written: Path) -> None:
    config = load_config(written)
    assert [device.name for device in config.devices] == ["hospital", "factory", "bank"]
    assert len({device.slm.model for device in config.devices}) == 3
    assert all(device.data for device in config.devices)
    assert config.data.server is not None
    assert config.data.transfer is not None
    assert config.tuning.kind == "lora"


def test_commented_settings_exist_and_show_their_defaults(written: Path) -> None:
    config = load_config(written)
    text = written.read_text(encoding="utf-8")
    everything = _SETTING.sub(r"\1", text)
    assert everything != text
    written.write_text(everything, encoding="utf-8")
    assert load_config(written) == config


def test_every_section_is_mentioned(written: Path) -> None:
    keys = set(re.findall(r"^#?([a-z_]+):", written.read_text(encoding="utf-8"), re.MULTILINE))
    assert keys == set(RunConfig.model_fields)


def test_the_note_on_data_shows_lines_that_can_be_read(written: Path) -> None:
    note = (written.parent / "data" / "README.md").read_text(encoding="utf-8")
    lines = [line for line in note.splitlines() if line.startswith("{")]
    examples = [
        to_example(json.loads(line), f"README.md:{number}", default_domain="x")
        for number, line in enumerate(lines)
    ]
    assert [example.answer for example in examples] == ["orthopaedics", "ophthalmology", "no"]
    assert {example.domain for example in examples} == {"triage", "advice"}
    assert "(../consortium.yaml)" in note


@pytest.mark.parametrize("name", ["consortium.yaml", "data/README.md"])
def test_nothing_is_overwritten_and_nothing_else_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(RunError, match=r"exists and is not overwritten\. Give another folder"):
        init(tmp_path)
    files = [found for found in tmp_path.rglob("*") if found.is_file()]
    assert files == [path]
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written to"):
        init(tmp_path / "file" / "folder")


def test_the_command_says_what_to_do_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["init", str(tmp_path / "mine")])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "mine" / "consortium.yaml") in printed
    assert "coplms train consortium.yaml --dry-run" in printed
