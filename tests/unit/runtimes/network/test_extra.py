"""The package where its optional packages are absent, and what it never needs."""

import subprocess
import sys

_CODE = """
import importlib, pkgutil, sys
from pathlib import Path
if sys.argv[1] == "absent":
    for name in ("cryptography", "httpx", "uvicorn", "starlette"):
        sys.modules[name] = None
import coplms.runtimes.network as package
for module in pkgutil.iter_modules(package.__path__):
    importlib.import_module(f"{package.__name__}.{module.name}")
assert not {"torch", "flwr", "coplms.api"} & set(sys.modules)
from coplms.errors import MissingExtraError
from coplms.runtimes.network.keys import device_key
try:
    device_key(Path(sys.argv[2]) / "key")
except MissingExtraError as error:
    print(error)
"""


def run(*arguments: object) -> str:
    command = [sys.executable, "-c", _CODE, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_without_the_extra_it_says_what_to_install(tmp_path):
    assert "pip install 'coplms[flower]'" in run("absent", tmp_path)


def test_it_needs_neither_pytorch_nor_flower(tmp_path):
    assert run("present", tmp_path) == ""
    assert (tmp_path / "key").exists()
