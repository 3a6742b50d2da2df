import math

import pytest

from coplms.config.method import TransferConfig
from coplms.evaluation.generate import Answer
from coplms.methods.confident import confident


def answer(probability: float, num_tokens: int = 1, finished: bool = True) -> Answer:
    """An answer to whose tokens the model gave this probability each."""
    text = "x" * num_tokens if num_tokens else ""
    return Answer(text, num_tokens * math.log(probability), num_tokens, finished)


def test_only_probable_answers_teach() -> None:
    answers = [answer(0.69), answer(0.71), answer(0.9), answer(0.2)]
    assert confident(answers, TransferConfig(min_confidence=0.7, least_kept=0)) == [1, 2]


def test_confidence_is_per_token() -> None:
    long = answer(0.8, num_tokens=20)
    assert math.exp(long.log_probability) < 0.02
    assert confident([long], TransferConfig(min_confidence=0.7, least_kept=0)) == [0]


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
