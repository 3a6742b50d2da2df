import math

import pytest

from coplms.config.method import TransferConfig
from coplms.evaluation.generate import Answer
from coplms.methods.confident import confident, share_of_answers


def answer(probability: float, num_tokens: int = 1, finished: bool = True) -> Answer:
    """An answer to whose tokens the model gave this probability each."""
    text = "x" * num_tokens if num_tokens else ""
    return Answer(text, num_tokens * math.log(probability), num_tokens, finished)


def test_only_probable_answers_teach() -> None:
    answers = [answer(0.69), answer(0.71), answer(0.9), answer(0.2)]
    assert confident(answers, TransferConfig(min_confidence=0.7, least_kept=0)) == [1, 2]


def test_confidence_is_per_token_or_of_the_answer_as_a_whole() -> None:
    answers = [answer(0.9, num_tokens=2), answer(0.9, num_tokens=4)]  # 0.81 and 0.66 as a whole
    token, whole = (
        TransferConfig(confidence=each, min_confidence=0.7, least_kept=0)
        for each in ("token", "answer")
    )
    assert confident(answers, token) == [0, 1]
    assert confident(answers, whole) == [0]


WHOLE = TransferConfig(confidence="answer", min_confidence=0.7, least_kept=0.5)


def test_of_answers_that_are_not_probable_a_long_one_is_no_worse() -> None:
    assert confident([answer(0.6), answer(0.8, num_tokens=20)], WHOLE) == [1]


def test_probable_answers_go_before_those_with_probable_tokens() -> None:
    answers = [answer(0.97, num_tokens=20), answer(0.8)]  # 0.54 and 0.8 as a whole
    assert confident(answers, WHOLE) == [1]


@pytest.mark.parametrize(("least_kept", "kept"), [(0, []), (0.4, [1, 3]), (1, [0, 1, 2, 3, 4])])
def test_the_best_answers_are_kept_where_none_is_probable(
    least_kept: float, kept: list[int]
) -> None:
    answers = [answer(each) for each in (0.2, 0.5, 0.1, 0.6, 0.3)]
    assert confident(answers, TransferConfig(min_confidence=0.7, least_kept=least_kept)) == kept


def test_no_share_makes_cut_or_empty_answers_teach() -> None:
    empty = Answer("", -0.01, 1, True)
    answers = [answer(0.99, finished=False), empty, answer(0.1)]
    assert confident(answers, TransferConfig(min_confidence=0, least_kept=1)) == [2]


def test_probable_answers_beyond_the_share_are_kept() -> None:
    answers = [answer(0.9), answer(0.8), answer(0.95)]
    assert confident(answers, TransferConfig(min_confidence=0.7, least_kept=0.1)) == [0, 1, 2]


@pytest.mark.parametrize(("num_answers", "share"), [(0, 0), (100, 0.4), (450, 0.75), (900, 0.75)])
def test_few_answers_take_a_smaller_share(num_answers: int, share: float) -> None:
    config = TransferConfig(share=0.75, repeats=2)
    found = share_of_answers(num_answers, 300, config)
    assert found == pytest.approx(share)
    assert found * 300 <= (1 - found) * 2 * num_answers + 1e-9, "an answer is seen too often"


def test_a_learner_without_text_of_its_own_learns_from_answers() -> None:
    assert share_of_answers(5, 0, TransferConfig(share=1)) == 1
