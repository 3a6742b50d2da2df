"""The quick start's configuration is found, and shipped."""

import tomllib
from pathlib import Path

from coplms.cli.demo import quickstart_config
from coplms.config.load import load_config

ROOT = Path(__file__).parents[3]


def test_the_quick_start_is_found_and_loads() -> None:
    assert load_config(quickstart_config()).zoo is not None


def test_the_wheel_holds_the_one_copy_beside_the_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["configs/quickstart.yaml"] == "coplms/cli/quickstart.yaml"
    assert (ROOT / "configs/quickstart.yaml").is_file()
