"""`coplms.report.bench`: rows, spreads, leads, worked by hand."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from coplms.consortium.record import Json, RunHistory
from coplms.report.bench import Costs, Outcome, Point, outcome_of, quality
from coplms.report.bench_costs import cost_cells
from coplms.report.bench_curves import curves, domain_curves, model_curves
from coplms.report.bench_methods import Spread, differences, lead, rows_of
from coplms.report.bench_page import bench_page
from coplms.report.bench_rows import as_csv, as_jsonl, tidy
from coplms.report.bench_text import markdown
from coplms.report.bench_traffic import at_equal_bytes, budgets


def score(when: str, member: str, model: str, value: float, scope: str = "all") -> Json:
    both = {"rougeL": value, "exact_match": value / 2}
    found = {"when": when, "member": member, "model": model, "scope": scope, "num_examples": 10}
    return {**found, **both, "by_domain": {"bank": {**both, "num_examples": 10}}}


@pytest.fixture
def outcome(history: Callable[..., RunHistory]) -> Callable[..., Outcome]:
    """Method, seed, score of the LLM and of the SLM -> what such a run found."""

    def make(method: str, seed: int, llm: float, slm: float) -> Outcome:
        found = history(
            evaluations=[
                score("before", "server", "llm", 1.0),
                score("before", "bank", "slm", 2.0),
                score("round-1", "server", "dpm", 50.0),
                score("round-1", "server", "llm", llm - 1),
                score("round-1", "bank", "slm", slm - 1),
                score("after", "server", "llm", llm),
                score("after", "server", "dpm", 99.0),
                score("after", "bank", "slm", slm),
                score("after", "bank", "slm", 100.0, "own"),
            ],
            phases=[
                {"round": 0, "kind": "distill", "seconds": 1.0},
                {"round": 1, "kind": "saml", "seconds": 10.0},
                {"round": 1, "kind": "evaluate-slm", "seconds": 1000.0},
                {"round": 1, "kind": "replies", "seconds": 1000.0},
                {"round": 2, "kind": "transfer", "seconds": 5.0},
            ],
            ledger=[
                {"round": 0, "bytes": 100},
                {"round": 1, "bytes": 7},
                {"round": 2, "bytes": 3},
            ],
        )
        about = {"data": "d", "partition": "p", "method": method, "seed": seed}
        return outcome_of(found, about, 2**20, f"coplms train --seed {seed}")

    return make


Make = Callable[..., Outcome]


def test_a_methods_score_is_of_llm_and_slms_and_of_no_proxy(outcome: Make) -> None:
    found = outcome("a", 0, 30.0, 50.0)
    assert found.models() == [("server", "llm"), ("bank", "slm")]
    assert found.mean("rougeL") == 40.0
    assert found.means("exact_match", "slm") == [25.0]
    assert found.means("exact_match", "own") == [50.0]
    assert found.means("exact_match", "dpm") == []  # the server's own is nobody's device
    assert quality(found) == 30.0


def test_time_and_traffic_add_up_without_scoring_and_waiting(outcome: Make) -> None:
    points = outcome("a", 0, 30.0, 50.0).points
    assert (points["before"].num_bytes, points["before"].seconds) == (0, 0.0)
    assert (points["round-1"].num_bytes, points["round-1"].seconds) == (107, 11.0)
    assert (points["after"].round_number, points["after"].num_bytes) == (2, 110)
    assert points["after"].seconds == 16.0


def test_every_score_is_a_row_that_knows_its_command(outcome: Make) -> None:
    rows = tidy([outcome("a", 3, 30.0, 50.0)])
    assert len(rows) == 9
    assert {row["command"] for row in rows} == {"coplms train --seed 3"}
    assert {row["seed"] for row in rows} == {3}
    assert [json.loads(line) for line in as_jsonl(rows).splitlines()] == rows
    read = list(csv.DictReader(as_csv(rows).splitlines()))
    assert [float(row["rougeL"]) for row in read] == [row["rougeL"] for row in rows]


def test_a_spread_is_mean_and_sample_deviation() -> None:
    assert str(Spread((1.0, 2.0, 3.0))) == "2.0 \N{PLUS-MINUS SIGN} 1.0"
    assert str(Spread((2.0,))) == "2.0"
    assert Spread((2.0,)).deviation is None


def test_methods_are_compared_seed_by_seed_and_model_by_model(outcome: Make) -> None:
    ours = [outcome("a", 0, 30.0, 50.0), outcome("a", 1, 31.0, 51.0), outcome("a", 2, 1.0, 1.0)]
    theirs = [outcome("b", 1, 30.0, 40.0), outcome("b", 0, 29.0, 45.0)]
    assert differences(ours, theirs, "rougeL") == [1.0, 5.0, 1.0, 11.0]
    rows = rows_of([*ours, *theirs], ["a", "b"])
    assert [row.method for row in rows] == ["a", "b"]
    assert rows[0].p_values == {"rougeL": None, "exact_match": None}
    assert rows[0].gaps["rougeL"].values == ()
    assert rows[1].gaps["rougeL"].values == (-6.0, -3.0)  # seed by seed, as theirs come
    assert rows[1].gaps["rougeL"].signed() == "-4.5 \N{PLUS-MINUS SIGN} 2.1"
    assert rows[1].p_values["rougeL"] == pytest.approx(2 / 16)
    unpaired = rows_of(theirs[:1] + ours[2:], ["a", "b"])
    assert unpaired[1].p_values == {"rougeL": None, "exact_match": None}


def test_the_lead_is_over_the_best_rival_and_relative(outcome: Make) -> None:
    found = [outcome(m, 0, v, v) for m, v in (("a", 44.0), ("b", 40.0), ("c", 20.0), ("all", 80.0))]
    rows = rows_of(found, ["a", "b", "c", "all"])
    name, percent = lead(rows, "a", "rougeL", ["all"]) or ("", math.nan)
    assert (name, percent) == ("b", pytest.approx(10.0))
    assert (lead(rows, "a", "rougeL", []) or ("", 0))[0] == "all"
    assert lead(rows[:1], "a", "rougeL", []) is None
    assert lead(rows[1:], "a", "rougeL", []) is None


def test_a_lead_is_over_the_seeds_that_both_have(outcome: Make) -> None:
    ours = [outcome("a", seed, value, value) for seed, value in ((0, 22.0), (1, 90.0))]
    rows = rows_of([*ours, outcome("b", 0, 20.0, 20.0), outcome("c", 2, 1.0, 1.0)], ["a", "b", "c"])
    assert lead(rows, "a", "rougeL", []) == ("b", pytest.approx(10.0))
    assert "| d, p | 1 to 2 | b | +10.0 % |" in markdown(
        [*ours, outcome("b", 0, 20.0, 20.0)], ["a", "b"], ()
    )


def test_the_page_says_of_how_many_seeds_a_lead_is_where_rows_differ(outcome: Make) -> None:
    pytest.importorskip("matplotlib")
    found = [outcome("a", 0, 44.0, 44.0), outcome("a", 1, 45.0, 45.0), outcome("b", 0, 40.0, 40.0)]
    page = bench_page("Bench", found, ["a", "b"], (), {}, 1)
    start = page.index("Relative lead of a")
    assert "<td>1 to 2 seeds</td>" in page[start : page.index("</table>", start)]
    page = bench_page("Bench", found[::2], ["a", "b"], (), {}, 1)
    start = page.index("Relative lead of a")
    assert "<td>1 seed (0)</td>" in page[start : page.index("</table>", start)]


def test_the_page_says_how_many_seeds_and_which_commands(outcome: Make) -> None:
    pytest.importorskip("matplotlib")
    found = [outcome(m, s, 40.0 + s, 50.0) for m in ("a", "<b>") for s in (0, 1)]
    page = bench_page("Trial & error", found, ["a", "<b>"], (), {"Command": "coplms compare x"}, 3)
    assert "2 seeds (0, 1)" in page
    assert "3 cells are not finished" in page
    assert page.count("coplms train --seed 1") == 2
    assert "<b>" not in page
    assert "Trial &amp; error" in page
    for of_what in ("mean of all models and seeds", "server LLM", "bank SLM"):
        assert page.count(f"<figcaption>Rouge-L over bytes, {of_what}</figcaption>") == 1
    assert page.count("<figcaption>Exact match over rounds, bank</figcaption>") == 1
    assert page.count("<svg") == 6 * 3 + 2  # two metrics, three axes; a domain has rounds alone
    assert bench_page("Trial & error", found, ["a", "<b>"], (), {}, 0) != page


def test_runs_that_were_scored_once_have_no_curves_of_models_and_domains(outcome: Make) -> None:
    pytest.importorskip("matplotlib")
    whole = outcome("a", 0, 40.0, 50.0)
    once = replace(whole, points={"after": whole.points["after"]})
    assert len(model_curves("g", [whole], ["a"])) == 2
    assert model_curves("g", [once], ["a"]) == domain_curves("g", [once], ["a"]) == []


def test_a_bench_without_a_rival_shows_no_lead(outcome: Make) -> None:
    pytest.importorskip("matplotlib")
    found = [outcome(name, 0, 40.0, 50.0) for name in ("a", "b")]
    assert "Relative lead" in bench_page("T", found, ["a", "b"], (), {}, 0)
    assert "Relative lead" not in bench_page("T", found, ["a", "b"], ("b",), {}, 0)


def test_a_domain_counts_where_all_models_were_asked(outcome: Make) -> None:
    found = outcome("a", 0, 30.0, 50.0)
    assert found.domains() == ["bank"]
    assert found.domain_mean("bank", "exact_match") == 20.0
    parts = dict(found.by_domain)
    parts["after", "bank", "slm"] = {}
    assert replace(found, by_domain=parts).domains() == []


def test_the_markdown_table_names_seeds_and_spread(outcome: Make) -> None:
    found = [outcome(m, s, 40.0 + 2 * s, 50.0) for m in ("a", "b") for s in (0, 1)]
    text = markdown(found, ["a", "b"], ())
    row = next(line for line in text.splitlines() if line.startswith("| b |"))
    cells = row.split(" | ")
    same = "+0.0 \N{PLUS-MINUS SIGN} 0.0 / +0.0 \N{PLUS-MINUS SIGN} 0.0"
    assert cells[2:6] == [
        "45.5 \N{PLUS-MINUS SIGN} 0.7 / 22.8 \N{PLUS-MINUS SIGN} 0.4",
        same,
        "1.000 / 1.000",
        "41.0 \N{PLUS-MINUS SIGN} 1.4 / 20.5 \N{PLUS-MINUS SIGN} 0.7",
    ]
    assert cells[7:9] == ["100.0 ± 0.0 / 50.0 ± 0.0", "\N{EN DASH} |"]
    each = text.split("d, p, every model:")[1]
    assert "| Method | server LLM | bank SLM |" in each
    assert "| b | 41.0 ± 1.4 / 20.5 ± 0.7 | 50.0 ± 0.0 / 25.0 ± 0.0 |" in each


def test_the_markdown_leads_are_per_data_set_and_on_average(outcome: Make) -> None:
    ours, theirs = outcome("a", 0, 44.0, 44.0), outcome("b", 0, 40.0, 40.0)
    other = [replace(each, about={**each.about, "data": "e"}) for each in (ours, ours)]
    other[1] = replace(other[1], about={**other[1].about, "method": "b"})
    text = markdown([ours, theirs, *other], ["a", "b"], ())
    lines = text.splitlines()
    assert "| d, p | 1 | b | +10.0 % | b | +10.0 % |" in lines
    assert "| e, p | 1 | b | +0.0 % | b | +0.0 % |" in lines
    assert "| mean |  |  | +5.0 % |  | +5.0 % |" in lines
    assert "lead" not in markdown([ours], ["a"], ())
    hardly = markdown([ours, outcome("b", 0, 44.001, 44.0)], ["a", "b"], ())
    assert "| d, p | 1 | b | +0.0 % | b | +0.0 % |" in hardly.splitlines()


def test_every_method_stands_on_every_data_set_and_on_average(outcome: Make) -> None:
    def on(data: str, method: str, seed: int, value: float) -> Outcome:
        found = outcome(method, seed, value, value)
        return replace(found, about={**found.about, "data": data})

    found = [on("d", "a", 0, 40.0), on("d", "a", 1, 42.0), on("e", "a", 0, 60.0)]
    found += [on("d", "b", 0, 30.0)]
    lines = markdown(found, ["a", "b"], ()).splitlines()
    start = lines.index("| Method | d, p (1 to 2 seeds) | e, p (1 seed) | mean |")
    assert lines[start + 2 : start + 4] == [
        "| a | 41.0 ± 1.4 / 20.5 ± 0.7 | 60.0 / 30.0 | 50.5 / 25.2 |",
        "| b | 30.0 / 15.0 | \N{EN DASH} | \N{EN DASH} |",
    ]
    assert "mean over LLM and SLMs" not in markdown(found[:2], ["a"], ())


def test_the_page_has_a_table_of_all_data_sets_where_there_are_some(outcome: Make) -> None:
    pytest.importorskip("matplotlib")
    one = outcome("a", 0, 40.0, 50.0)
    other = replace(one, about={**one.about, "data": "e"})
    caption = "Rouge-L, mean over LLM and SLMs"
    assert caption in bench_page("T", [one, other], ["a"], (), {}, 0)
    assert caption not in bench_page("T", [one], ["a"], (), {}, 0)


def test_a_rounds_costs_leave_out_what_is_done_once(outcome: Make) -> None:
    ours = outcome("a", 0, 30.0, 50.0)
    points = {
        "before": Point(0, 0, 0.0),
        "round-1": Point(1, 500, 60.0),
        "round-3": Point(3, 700, 80.0),
        "after": Point(4, 1700, 180.0),
    }
    scored = replace(ours, points=points)
    assert scored.per_round() == Costs(100.0, 10.0)
    assert ours.per_round() is None  # after one round its first bytes and its own are one sum
    (row,) = rows_of([scored, ours], ["a"])
    assert cost_cells(row) == ["100 B", "905 B", "10.0 s", "1 min 38 s", "1.0 MB"]
    (row,) = rows_of([ours], ["a"])
    assert cost_cells(row)[:3] == ["\N{EN DASH}", "110 B", "\N{EN DASH}"]
    assert "| a | 100 B | 905 B |" in markdown([scored, ours], ["a"], ())


def test_a_rounds_costs_need_no_scores_of_it(history: Callable[..., RunHistory]) -> None:
    found = outcome_of(
        history(
            evaluations=[score("after", "server", "llm", 30.0)],
            phases=[
                {"round": number, "kind": "tune", "seconds": seconds}
                for number, seconds in ((1, 70.0), (2, 20.0), (3, 30.0))
            ],
            ledger=[{"round": number, "bytes": 100 * number} for number in (1, 2, 3)],
        ),
        {"data": "d", "partition": "p", "method": "a", "seed": 0},
        2**20,
        "coplms train",
    )
    assert found.per_round() == Costs(200.0, 20.0)
    assert found.times() == ["after"]
    assert "over rounds" not in curves("g", [found], ["a"])
    assert "within" not in markdown([found], ["a"], ())


def test_a_methods_colour_is_its_place_in_the_bench(outcome: Make) -> None:
    found = curves("g", [outcome("b", 0, 30.0, 50.0)], ["a", "b"])
    assert "var(--series-1)" in found
    assert "var(--series-0)" not in found


def test_runs_that_were_scored_once_have_no_curve_over_rounds(outcome: Make) -> None:
    whole = outcome("a", 0, 30.0, 50.0)
    once = replace(whole, points={"after": whole.points["after"]})
    scores = {key: s for key, s in whole.scores.items() if key[0] == "after" or key[2] == "dpm"}
    with_proxy = replace(whole, scores=scores)
    assert "round-1" in with_proxy.points
    assert "over rounds" not in curves("g", [with_proxy], ["a"])
    assert "over rounds" in curves("g", [whole], ["a"])
    found = curves("g", [once], ["a"])
    assert "over rounds" not in found
    assert "over bytes" in found


def test_a_method_counts_with_what_it_knew_when_the_bytes_ran_out(outcome: Make) -> None:
    ours = outcome("a", 0, 30.0, 50.0)
    points = {"before": 0, "round-1": 108, "after": 500}
    costly = replace(
        outcome("b", 0, 40.0, 60.0),
        points={when: replace(ours.points[when], num_bytes=n) for when, n in points.items()},
    )
    free = replace(
        costly, points={when: replace(p, num_bytes=0) for when, p in ours.points.items()}
    )
    assert budgets([costly, ours], "a") == [107, 110]
    longer = {when: replace(p, num_bytes=p.num_bytes + 1) for when, p in ours.points.items()}
    seeds = [ours, replace(ours, points={**longer, "before": ours.points["before"]})]
    rows = at_equal_bytes(seeds, ["a"], "rougeL")
    assert [str(score) for score in rows["a"]] == [
        "39.0 \N{PLUS-MINUS SIGN} 0.0",
        "40.0 \N{PLUS-MINUS SIGN} 0.0",
    ]
    rows = at_equal_bytes([ours, costly], ["a", "b"], "rougeL")
    assert [str(score) for score in rows["a"]] == ["39.0", "40.0"]
    assert [str(score) for score in rows["b"]] == ["1.5", "49.0"]
    rows = at_equal_bytes([ours, free], ["a", "b"], "rougeL")
    assert [str(score) for score in rows["b"]] == ["50.0", "50.0"]
    assert "within 110 B" in markdown([ours, costly], ["a", "b"], ())
    once = replace(ours, points={"after": ours.points["after"]})
    assert "within" not in markdown([once, costly], ["a", "b"], ())


@pytest.mark.parametrize(("num_bytes", "score"), [(1004, "40.0"), (1006, "1.5")])
def test_half_a_percent_more_counts_as_equal_bytes(
    outcome: Make, num_bytes: int, score: str
) -> None:
    def sent(of: Outcome, total: int) -> Outcome:
        counts = {"before": 0, "round-1": total, "after": total}
        points = {when: replace(of.points[when], num_bytes=n) for when, n in counts.items()}
        return replace(of, points=points)

    cells = [sent(outcome("a", 0, 30.0, 50.0), 1000), sent(outcome("b", 0, 30.0, 50.0), num_bytes)]
    found = at_equal_bytes(cells, ["a", "b"], "rougeL")["b"]
    assert [str(each) for each in found] == [score]
