"""Every configuration that is shipped loads."""

from pathlib import Path

import pytest

from coplms.config.load import load_config, load_edge

CONFIGS = Path(__file__).parents[3] / "configs"
EDGES = [CONFIGS / "network" / f"{name}.yaml" for name in ("hospital", "factory")]


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(CONFIGS.rglob("*.yaml")) if path not in EDGES],
    ids=lambda path: path.stem,
)
def test_a_shipped_consortium_loads(path: Path) -> None:
    assert load_config(path).devices


@pytest.mark.parametrize("path", EDGES, ids=lambda path: path.stem)
def test_a_shipped_device_loads(path: Path) -> None:
    assert load_edge(path).slm.model


def test_each_device_of_the_shipped_network_has_a_file() -> None:
    config = load_config(CONFIGS / "network" / "consortium.yaml")
    assert config.remote == tuple(path.stem for path in EDGES)
