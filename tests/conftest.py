"""Fixtures that several folders of tests use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data, given by COPLMS_DATA or lying beside the project."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("COPLMS_DATA", beside))
    if not root.is_dir():
        pytest.skip("real data is absent; set COPLMS_DATA to its folder")
    return root
