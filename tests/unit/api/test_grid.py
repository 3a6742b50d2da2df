"""`coplms.api.grid`: which cells a bench has."""

from pathlib import Path
from typing import Any

import pytest

from coplms.api.grid import Cell, Grid, Part
from coplms.config.bench import RATE, BenchConfig
from coplms.errors import ConfigError

TWO = [{"name": name, "config": f"{name}.yaml"} for name in ("one", "two")]


WHOLE = Part()


def grid(part: Part = WHOLE, **settings: Any) -> Grid:
    found = {"data": TWO, "methods": ["coplms", "standalone"], "seeds": [4, 5], **settings}
    return Grid(BenchConfig.model_validate(found), Path("bench"), part)


def rate(cell: Cell) -> object:
    return cell.settings.get(RATE)


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


def test_a_row_may_have_a_rate_of_its_own_beside_the_benchs() -> None:
    own = {"name": "fedmkt", "set": {RATE: 0.1}}
    bench = grid(methods=["standalone", own], set={RATE: 0.2}, data=TWO[:1], seeds=[0])
    assert [rate(cell) for cell in bench.main({})] == [0.2, 0.1]


@pytest.mark.parametrize("optimizer", [3, "adam", None, {"batch_size": 8}])
def test_an_optimizer_without_a_rate_is_left_to_the_runs_configuration(optimizer: object) -> None:
    bench = grid(set={"optimizer": optimizer}, learning_rates=[0.1])
    assert all(cell.settings["optimizer"] == optimizer for cell in bench.main({}))


def test_a_part_is_run_and_the_table_stays_whole() -> None:
    methods = ["coplms", "standalone", "fedmkt"]
    part = grid(Part([5, 7], ["fedmkt"], ["two"]), methods=methods)
    assert [(cell.data, cell.method, cell.seed) for cell in part.wanted({})] == [
        ("two", "fedmkt", 5),
        ("two", "fedmkt", 7),
    ]
    assert {cell.seed for cell in part.main({})} == {4, 5, 7}
    assert len(list(part.main({}))) == 3 * 2 * 3


def test_a_part_may_be_of_one_partition() -> None:
    partitions = [{"name": "iid"}, {"name": "skewed"}]
    data = [{**each, "partitions": ["iid", "skewed"]} for each in TWO]
    part = grid(Part(partitions=["skewed"]), data=data, partitions=partitions)
    assert {cell.partition for cell in part.wanted({})} == {"skewed"}
    assert len(list(part.wanted({}))) == len(list(part.main({}))) // 2 == 8


def test_a_part_chooses_the_rates_that_it_needs_as_the_whole_does() -> None:
    rates: dict[str, Any] = {"learning_rates": [0.1, 0.2], "rates_from": "one"}
    like = {"name": "no-dst", "method": "coplms", "like": "standalone"}
    methods = ["coplms", "standalone", "fedmkt", like]
    whole = {cell.name: cell for cell in grid(methods=methods, **rates).choosing()}
    part = list(grid(Part([5], ["no-dst"], ["two"]), methods=methods, **rates).choosing())
    assert {(cell.data, cell.method) for cell in part} == {("one", "standalone")}
    assert all(whole[cell.name] == cell for cell in part)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (
            Part(methods=["fedmkt"]),
            "--method fedmkt: the bench 'bench' has no such row. Known: coplms, standalone",
        ),
        (
            Part(data=["mmlu"]),
            "--data mmlu: the bench 'bench' has no such data set. Known: one, two",
        ),
        (
            Part(partitions=["iid"]),
            "--partition iid: the bench 'bench' has no such partition. Known: as-given",
        ),
    ],
)
def test_a_part_that_the_bench_has_not_is_told(part: Part, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        grid(part)


def test_variants_of_the_first_row_and_upper_bounds_are_no_rivals() -> None:
    rows = ["coplms", {"name": "no-gate", "method": "coplms"}, "fedmkt", "centralised"]
    assert grid(methods=rows).bench.no_rivals == ("centralised", "no-gate")
    assert grid(methods=rows[1:]).bench.no_rivals == ("centralised",)
