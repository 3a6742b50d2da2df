"""Scores of a model whose answers are known."""

from collections.abc import Callable

import pytest

from coplms.data.example import Example
from coplms.errors import ConfigError, DataError
from coplms.evaluation.evaluate import DomainScore, Evaluation, evaluate_model
from coplms.evaluation.score import Prediction
from coplms.models.language_model import LanguageModel

MakeChain = Callable[[str], LanguageModel]
TEMPLATE = "{input}"


def example(text: str, reference: str, domain: str, task: str) -> Example:
    return Example("", text, (reference,), domain, task, origin=f"file:{text}")


EXAMPLES = [
    example("a", "bcd", "letters", "next"),
    example("b", "wrong", "letters", "other"),
    example("c", "D!", "ends", "next"),
]


@pytest.fixture
def evaluation(make_chain: MakeChain) -> Evaluation:
    return evaluate_model(make_chain("abcd"), EXAMPLES, TEMPLATE, 16, 8, batch_size=2)


def test_answers_are_scored_by_domain_and_by_task(evaluation: Evaluation) -> None:
    assert evaluation.num_examples == 3
    assert evaluation.rouge_l == pytest.approx(200 / 3)
    assert evaluation.exact_match == pytest.approx(200 / 3)
    assert evaluation.by_domain == {
        "ends": DomainScore(1, 100.0, 100.0),
        "letters": DomainScore(2, 50.0, 50.0),
    }
    assert evaluation.by_task == {
        "next": DomainScore(2, 100.0, 100.0),
        "other": DomainScore(1, 0.0, 0.0),
    }


def test_predictions_keep_the_order_of_the_examples(evaluation: Evaluation) -> None:
    assert evaluation.predictions == (
        Prediction("next", "a", ("bcd",), "bcd"),
        Prediction("other", "b", ("wrong",), "cd"),
        Prediction("next", "c", ("D!",), "d"),
    )


def test_the_record_has_the_fields_of_evaluation_jsonl(evaluation: Evaluation) -> None:
    assert evaluation.to_json() == {
        "num_examples": 3,
        "rougeL": 66.6667,
        "exact_match": 66.6667,
        "by_domain": {
            "ends": {"rougeL": 100.0, "exact_match": 100.0, "num_examples": 1},
            "letters": {"rougeL": 50.0, "exact_match": 50.0, "num_examples": 2},
        },
    }


def test_restricting_equals_evaluating_the_domain_alone(
    evaluation: Evaluation, make_chain: MakeChain
) -> None:
    alone = evaluate_model(make_chain("abcd"), EXAMPLES[:2], TEMPLATE, 16, 8, batch_size=2)

    assert evaluation.restrict({"letters", "unknown"}) == alone
    assert evaluation.restrict(["letters", "ends"]) == evaluation


def test_restricting_to_unknown_domains_is_refused(evaluation: Evaluation) -> None:
    with pytest.raises(DataError, match=r"\['law'\]. Known: ends, letters"):
        evaluation.restrict(["law"])


def test_long_prompts_are_shortened_to_what_the_answer_leaves(make_chain: MakeChain) -> None:
    model = make_chain("abcd")
    long = example("x" * 100 + "c", "d", "letters", "next")

    assert evaluate_model(model, [long], TEMPLATE, 32, 8, batch_size=1).exact_match == 100.0


def test_too_little_room_for_the_prompt_is_refused(make_chain: MakeChain) -> None:
    with pytest.raises(ConfigError, match="leaves 7 tokens for the prompt"):
        evaluate_model(make_chain("abcd"), EXAMPLES, TEMPLATE, 15, 8, batch_size=1)


def test_examples_without_reference_are_refused(make_chain: MakeChain) -> None:
    unknown = Example("", "a", (), "letters", "next", origin="file:9")
    with pytest.raises(DataError, match="file:9: has no reference"):
        evaluate_model(make_chain("abcd"), [*EXAMPLES, unknown], TEMPLATE, 16, 8, batch_size=1)


def test_no_example_is_refused(make_chain: MakeChain) -> None:
    with pytest.raises(DataError, match="no example"):
        evaluate_model(make_chain("abcd"), [], TEMPLATE, 16, 8, batch_size=1)
