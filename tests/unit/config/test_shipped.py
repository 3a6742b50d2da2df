"""Every configuration that is shipped loads."""

import json
from pathlib import Path

import pytest

from coplms.api.grid import Grid
from coplms.config.load import load_bench, load_config, load_edge
from coplms.config.method import MethodConfig

CONFIGS = Path(__file__).parents[3] / "configs"
NAMES = ("quick", "main", "partitions", "ablations", "ablations-quick", "ablations-sgd", "scale")
BENCHES = [
    *(CONFIGS / "bench" / f"{name}.yaml" for name in NAMES),
    CONFIGS / "paper" / "bench.yaml",
]
EDGES = [CONFIGS / "network" / f"{name}.yaml" for name in ("hospital", "factory")]


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(CONFIGS.rglob("*.yaml")) if path not in EDGES + BENCHES],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_a_shipped_consortium_loads(path: Path) -> None:
    assert load_config(path).devices


@pytest.mark.parametrize("path", EDGES, ids=lambda path: path.stem)
def test_a_shipped_device_loads(path: Path) -> None:
    assert load_edge(path).slm.model


def test_each_device_of_the_shipped_network_has_a_file() -> None:
    config = load_config(CONFIGS / "network" / "consortium.yaml")
    assert config.remote == tuple(path.stem for path in EDGES)


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_cell_of_a_shipped_bench_loads(path: Path) -> None:
    grid = Grid(load_bench(path), path.parent)
    cells = [*grid.choosing(), *grid.main({})]
    assert len({cell.name for cell in cells}) == len(cells)
    steps: dict[tuple[str, str], set[int]] = {}
    for cell in cells:
        settings = [f"{key}={json.dumps(value)}" for key, value in cell.settings.items()]
        method = load_config(cell.config, settings).method
        if not cell.method.endswith("-steps"):  # devices take more there, which is the row's point
            steps.setdefault((cell.data, "devices"), set()).add(method.device_steps)
        if "pass" not in cell.method:  # the LLM takes fewer steps there, which is the row's point
            steps.setdefault((cell.data, "server"), set()).add(method.server_steps)
    assert {name: len(found) for name, found in steps.items()} == dict.fromkeys(steps, 1)


def test_the_bench_of_numbers_changes_devices_their_data_and_in_how_many_rounds() -> None:
    grid = Grid(load_bench(CONFIGS / "bench" / "scale.yaml"), CONFIGS / "bench")
    found, main = {}, load_config(CONFIGS / "bench" / "clinc150.yaml")
    main_rounds = {name: getattr(main.method, name) for name in ("rounds", "dst", "saml")}
    for cell in grid.main({}):
        settings = [f"{key}={json.dumps(value)}" for key, value in cell.settings.items()]
        config = load_config(cell.config, settings)
        method = config.method.model_copy(update={"name": "coplms"})
        assert method.model_copy(update=main_rounds) == main.method
        assert _steps(method) == _steps(main.method)
        pool = config.data.pool
        assert pool is not None
        assert pool.private is not None
        number = len(config.devices)
        found[cell.partition] = (number, pool.private / number, method.rounds)
    assert found == {
        "3-devices": (3, 300, 3),
        "10-devices": (10, 300, 3),
        "10-devices-6-rounds": (10, 300, 6),
        "30-devices": (30, 300, 3),
        "30-devices-6-rounds": (30, 300, 6),
        "100-each": (3, 100, 3),
    }


def _steps(method: MethodConfig) -> tuple[int, ...]:
    """Of SLM, LLM, DPM and domain adapter, over a whole run."""
    proxy = method.device_proxy_steps
    return method.device_steps, method.server_steps, proxy, method.domain_steps


def test_data_sets_of_the_bench_differ_in_data_and_not_in_models() -> None:
    benches = load_bench(CONFIGS / "bench" / "main.yaml").data
    configs = [load_config(CONFIGS / "bench" / each.config) for each in benches]
    assert len({str((c.llm, c.dpm, c.zoo, [d.slm for d in c.devices])) for c in configs}) == 1
    assert {c.zoo.preset for c in configs if c.zoo is not None} == {"bench"}


def test_consortia_at_real_size_differ_in_data_and_in_how_long_answers_are() -> None:
    sni, mmlu = (load_config(CONFIGS / "paper" / f"{name}.yaml") for name in ("sni", "mmlu"))
    alike = {"name": "", "data": sni.data, "evaluation": sni.evaluation}
    assert sni.model_copy(update=alike) == mmlu.model_copy(update=alike)
