"""What counts as the same answer."""

import pytest

from coplms.evaluation.exact_match import exact_match


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("Yes", "yes"),
        ("yes.", "Yes!"),
        ("  a \n b\t", "a b"),
        ("don't", "dont"),
        ("", "..."),
        ("a\u00a0b", "a b"),
    ],
)
def test_case_punctuation_and_spaces_do_not_count(prediction: str, reference: str) -> None:
    assert exact_match(prediction, [reference]) == 100.0


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("the cat", "cat"),
        ("cats", "cat"),
        ("a-b", "a b"),
        ("3", "three"),
        ("\u201cyes\u201d", "yes"),
    ],
)
def test_articles_endings_and_other_words_count(prediction: str, reference: str) -> None:
    assert exact_match(prediction, [reference]) == 0.0


def test_any_reference_may_match() -> None:
    assert exact_match("b", ["a", "B", "c"]) == 100.0


def test_an_answer_without_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        exact_match("a", [])
