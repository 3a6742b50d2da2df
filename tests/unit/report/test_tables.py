"""Scores as rows, and the sentence about them."""

from collections.abc import Callable

import pytest

from coplms.consortium.record import Json, RunHistory
from coplms.report.tables import (
    Stages,
    comparison_rows,
    domain_rows,
    judged_rows,
    mean_difference,
    member_names,
    signed,
    summary,
)

History = Callable[..., RunHistory]
CONFIG: Json = {"devices": [{"name": "law"}, {"name": "bank"}]}


def score(
    when: str, member: str, model: str, exact_match: float | None, scope: str = "all"
) -> Json:
    return {
        "when": when,
        "member": member,
        "model": model,
        "scope": scope,
        "num_examples": 100,
        "exact_match": exact_match,
        "rougeL": exact_match,
    }


def test_stages_of_one_model_stand_in_one_row(history: History) -> None:
    rows = comparison_rows(
        history(
            CONFIG,
            evaluations=[
                score("before", "bank", "slm", 1.0),
                score("alone", "bank", "slm", 40.0),
                score("round-1", "bank", "slm", 30.0),
                score("after", "bank", "slm", 47.5),
            ],
        )
    )
    assert len(rows) == 1
    assert (rows[0].label, rows[0].scope, rows[0].num_examples) == ("bank SLM", "all", 100)
    assert rows[0].exact_match == Stages(1.0, 40.0, 47.5)
    assert rows[0].exact_match.difference == 7.5


def test_rows_follow_scope_then_configuration_then_model(history: History) -> None:
    evaluations = [
        score("before", "bank", "slm", 1.0, scope="own"),
        score("before", "bank", "slm", 1.0),
        score("before", "law", "slm", 1.0),
        score("before", "server", "dpm", 1.0),
        score("before", "server", "llm", 1.0),
    ]
    rows = comparison_rows(history(CONFIG, evaluations=evaluations))
    assert [(row.scope, row.label) for row in rows] == [
        ("all", "server LLM"),
        ("all", "server DPM"),
        ("all", "law SLM"),
        ("all", "bank SLM"),
        ("own", "bank SLM"),
    ]


def test_a_model_that_was_scored_twice_shows_its_newest_score(history: History) -> None:
    evaluations = [score("after", "bank", "slm", 1.0), score("after", "bank", "slm", 2.0)]
    (row,) = comparison_rows(history(CONFIG, evaluations=evaluations))
    assert row.exact_match.after == 2.0


def test_a_model_scored_only_between_rounds_has_no_row(history: History) -> None:
    assert comparison_rows(history(evaluations=[score("round-1", "bank", "dpm", 1.0)])) == []


def test_what_is_no_finite_number_counts_as_absent(history: History) -> None:
    evaluations = [score("after", "bank", "slm", float("nan")), score("alone", "bank", "slm", None)]
    (row,) = comparison_rows(history(evaluations=evaluations))
    assert row.exact_match == Stages(None, None, None)
    assert row.exact_match.difference is None


def test_best_is_what_a_reader_sees_as_best() -> None:
    assert Stages(1.0, 40.0, 50.0).best == {"after"}
    assert Stages(1.0, 50.01, 49.99).best == {"alone", "after"}
    assert Stages(None, None, 50.0).best == frozenset()


def test_a_device_that_the_configuration_lacks_is_still_named(history: History) -> None:
    found = history(CONFIG, ledger=[{"device": "new"}], phases=[{"member": "bank"}])
    assert member_names(found) == ["server", "law", "bank", "new"]


def test_domains_are_sorted_and_own_ones_marked(history: History) -> None:
    row = score("after", "bank", "slm", 50.0)
    row["by_domain"] = {
        "loans": {"exact_match": 60.0, "rougeL": 61.0, "num_examples": 5},
        "cards": {"exact_match": 40.0, "rougeL": 41.0, "num_examples": 7},
    }
    alone = score("alone", "bank", "slm", 50.0)
    alone["by_domain"] = {"loans": {"exact_match": 70.0, "rougeL": 71.0, "num_examples": 5}}
    data = {"devices": {"bank": {"domains": {"loans": 9}}}}
    cards, loans = domain_rows(history(CONFIG, data, evaluations=[row, alone]))
    assert (cards.domain, cards.is_own, cards.num_examples) == ("cards", False, 7)
    assert cards.exact_match == Stages(None, None, 40.0)
    assert (loans.domain, loans.is_own) == ("loans", True)
    assert loans.rouge_l.difference == -10.0


def test_the_proxy_is_not_judged_nor_are_own_domains(history: History) -> None:
    evaluations = [
        score("after", "server", "dpm", 60.0),
        score("after", "bank", "slm", 50.0),
        score("after", "bank", "slm", 50.0, scope="own"),
    ]
    rows = comparison_rows(history(evaluations=evaluations))
    assert [(row.label, row.scope) for row in judged_rows(rows)] == [("bank SLM", "all")]


def test_the_mean_difference_leaves_out_models_without_both_scores(history: History) -> None:
    evaluations = [
        score("alone", "law", "slm", 40.0),
        score("after", "law", "slm", 46.0),
        score("after", "bank", "slm", 99.0),
    ]
    rows = comparison_rows(history(CONFIG, evaluations=evaluations))
    assert mean_difference(rows, lambda row: row.exact_match) == 6.0
    assert mean_difference([], lambda row: row.exact_match) is None


def test_the_summary_tells_gains_and_losses(history: History) -> None:
    evaluations = [
        score("alone", "law", "slm", 40.0),
        score("after", "law", "slm", 46.0),
        score("alone", "bank", "slm", 50.0),
        score("after", "bank", "slm", 48.0),
        score("alone", "bank", "slm", 50.0, scope="own"),
        score("after", "bank", "slm", 49.0, scope="own"),
    ]
    assert summary(comparison_rows(history(CONFIG, evaluations=evaluations))) == (
        "On all domains, 1 of 2 models answer better after co-tuning than after tuning alone: "
        "exact match +2.0 points on average (most: law SLM +6.0; least: bank SLM \u22122.0), "
        "Rouge-L +2.0 points. On the members' own domains, exact match \u22121.0 points on average."
    )


def test_the_summary_claims_nothing_about_what_was_not_scored(history: History) -> None:
    before, after = score("before", "law", "slm", 10.0), score("after", "law", "slm", 46.0)
    texts = [
        summary(comparison_rows(history(evaluations=rows)))
        for rows in ([], [before], [after], [before, after])
    ]
    assert texts[0] == "No model has been scored yet."
    assert texts[1] == "No model has been scored after co-tuning yet."
    assert texts[2].startswith(
        "The models were scored after co-tuning only. No model was tuned alone"
    )
    assert texts[3].startswith("On all domains, exact match is 46.0 after co-tuning and was 10.0")


@pytest.mark.parametrize(
    ("points", "text"), [(1.26, "+1.3"), (-1.26, "\u22121.3"), (-0.04, "0.0"), (0.0, "0.0")]
)
def test_a_difference_has_a_sign_unless_it_is_none(points: float, text: str) -> None:
    assert signed(points) == text
