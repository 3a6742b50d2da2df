"""Which learning rate is taken, and that the tables say what the others scored."""

import pytest

from coplms.report.bench_page import bench_page
from coplms.report.bench_rates import Choice, Trial, choices
from coplms.report.bench_text import markdown

TRIALS = [
    Trial("d", "a", 0, 0.002, 61.0),
    Trial("d", "a", 0, 0.001, 62.5),
    Trial("d", "b", 0, 0.002, 40.0),
]


def test_the_best_is_taken_once_all_are_tried() -> None:
    assert choices(TRIALS, [0.001, 0.002]) == [
        Choice("d", "a", 0, {0.001: 62.5, 0.002: 61.0}, 0.001),
        Choice("d", "b", 0, {0.002: 40.0}, None),
    ]


def test_of_equal_scores_the_lower_rate_is_taken() -> None:
    (choice,) = choices([Trial("d", "a", 0, rate, 50.0) for rate in (0.2, 0.1)], [0.1, 0.2])
    assert choice.taken == 0.1


def test_a_rate_that_left_the_grid_counts_no_longer() -> None:
    (choice, _) = choices(TRIALS, [0.002])
    assert (choice.scores, choice.taken) == ({0.002: 61.0}, 0.002)


def test_the_markdown_shows_what_was_tried() -> None:
    lines = markdown([], ["a"], (), choices(TRIALS, [0.001, 0.002])).splitlines()
    assert "| Method | seed | 0.001 | 0.002 |" in lines
    assert "| d, a | 0 | **62.5** | 61.0 |" in lines
    assert "| d, b | 0 | \N{EN DASH} | 40.0 |" in lines
    assert markdown([], ["a"], ()) == ""


def test_the_page_marks_the_rate_that_is_taken() -> None:
    pytest.importorskip("matplotlib")
    page = bench_page("T", [], ["a"], (), {}, 1, choices(TRIALS, [0.001, 0.002]))
    assert '<td class="best">62.5</td><td>61.0</td>' in page
    assert page.count('<td class="best">') == 1
    assert "Learning rates" not in bench_page("T", [], ["a"], (), {}, 1)
