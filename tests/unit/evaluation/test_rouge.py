"""Rouge-L of tiny answers, worked by hand."""

import pytest

from coplms.evaluation.rouge import rouge_l


def test_equal_answers_score_100_whatever_case_and_punctuation() -> None:
    assert rouge_l("The cat.", ["the CAT"]) == 100.0


def test_order_counts() -> None:
    # Longest common subsequence of (a b c d) and (d a b c): 3 of 4 either way.
    assert rouge_l("a b c d", ["d a b c"]) == pytest.approx(75.0)


def test_precision_and_recall_are_balanced() -> None:
    # Precision 1 / 1, recall 1 / 3, so F = 2 * (1/3) / (4/3).
    assert rouge_l("red", ["red green blue"]) == pytest.approx(50.0)


def test_words_of_more_than_three_letters_are_stemmed() -> None:
    assert rouge_l("cats", ["cat"]) == 100.0
    assert rouge_l("its", ["it"]) == 0.0


def test_the_best_reference_counts() -> None:
    assert rouge_l("red", ["blue", "red", "red green blue"]) == 100.0


@pytest.mark.parametrize("text", ["", "?!", "\u4f60\u597d"])
def test_text_without_ascii_words_scores_nothing(text: str) -> None:
    assert rouge_l(text, [text]) == 0.0


def test_an_answer_without_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        rouge_l("red", [])
