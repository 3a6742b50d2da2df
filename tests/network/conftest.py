"""What tests with real processes share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs pip install 'coplms[flower]'")

from tests.network.reference import Reference
from tests.network.sites import Site, write_site_config


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("processes")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def reference(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference(tmp_path_factory.mktemp("reference"), cache)


@pytest.fixture
def site(tmp_path: Path, cache: Path) -> Iterator[Callable[..., Site]]:
    """Makes a site; its processes end with the test."""
    made: list[Site] = []

    def make(**how: object) -> Site:
        folder = tmp_path / f"site-{len(made)}"
        made.append(Site(folder, write_site_config(folder / "config", **how), cache))
        return made[-1]

    yield make
    for each in made:
        each.close()
