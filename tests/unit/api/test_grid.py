"""`coplms.api.grid`: which cells a bench has."""

from pathlib import Path
from typing import Any

from coplms.api.grid import Cell, Grid
from coplms.config.bench import BenchConfig

TWO = [{"name": name, "config": f"{name}.yaml"} for name in ("one", "two")]


def grid(**settings: Any) -> Grid:
    found = {"data": TWO, "methods": ["coplms", "standalone"], "seeds": [4, 5], **settings}
    return Grid(BenchConfig.model_validate(found), Path("bench"))


def rate(cell: Cell) -> object:
    return cell.settings.get("optimizer.learning_rate")


def test_every_data_set_method_and_seed_is_a_cell_and_seeds_come_in_turn() -> None:
    cells = list(grid().main({}))
    assert [cell.seed for cell in cells] == [4] * 4 + [5] * 4
    assert len({cell.name for cell in cells}) == 8
    assert cells[0].config == Path("bench/one.yaml")
    assert not list(grid(learning_rates=[0.1]).choosing())


def test_rates_are_chosen_for_each_data_set_on_dev_text_with_the_first_seed() -> None:
    cells = list(grid(learning_rates=[0.1, 0.2]).choosing())
    assert {(c.data, c.method, c.rate) for c in cells} == {
        (data, method, rate)
        for data in ("one", "two")
        for method in ("coplms", "standalone")
        for rate in (0.1, 0.2)
    }
    assert {cell.seed for cell in cells} == {4}
    assert {cell.settings["evaluation.split"] for cell in cells} == {"dev"}
    assert all(rate(cell) == cell.rate for cell in cells)


def test_rates_of_one_data_set_serve_the_others() -> None:
    bench = grid(learning_rates=[0.1, 0.2], rates_from="two")
    assert {cell.data for cell in bench.choosing()} == {"two"}
    rates = {("two", "coplms"): 0.2, ("two", "standalone"): 0.1, ("one", "coplms"): 9.0}
    found = {(cell.data, cell.method): rate(cell) for cell in bench.main(rates)}
    assert found == {
        ("one", "coplms"): 0.2,
        ("two", "coplms"): 0.2,
        ("one", "standalone"): 0.1,
        ("two", "standalone"): 0.1,
    }
