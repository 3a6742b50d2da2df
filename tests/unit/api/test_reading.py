"""`coplms.api.reading`: what is cut, what does not fit, and who reads what."""

import pytest
from transformers import PreTrainedTokenizerFast

from coplms.api.reading import (
    Lengths,
    Misfit,
    find_misfits,
    lengths_of,
    misfit_error,
    read_member,
    sources_of,
)
from coplms.data.example import Example
from coplms.data.members import ConsortiumData, MemberData
from coplms.models.language_model import LanguageModel
from coplms.models.zoo_tokenizers import train_tokenizer
from coplms.training.encoding import Encoder

EMPTY = MemberData((), (), ())


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes alone: a token per letter."""
    return train_tokenizer("byte_bpe", 300, ["a"])


def encoder(tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoder:
    return Encoder(LanguageModel("one/slm", None, tokenizer, ""), "{input}", max_length)  # type: ignore[arg-type]


def example(text: str, answer: str, line: int) -> Example:
    return Example("", text, (answer,), "d", "d", f"file:{line}")


def test_an_answer_fits_while_four_tokens_are_left_for_the_prompt(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    # A space, the letters and EOS: "bbbb" has 6 tokens, "bbbbb" 7; 10 - 4 are free.
    examples = [example("x", "bbbb", 1), example("x", "bbbbb", 2), example("y", "bbbbb", 3)]
    found = find_misfits(encoder(tokenizer, 10), examples)
    assert found == (Misfit("file:2", 7), Misfit("file:3", 7))


def test_a_reading_counts_what_is_cut_and_measures_what_fits(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    # BOS and the letters; the answer "b" has 3 tokens, so 7 are left for the prompt.
    examples = [
        example("x" * 5, "b", 1),
        example("x" * 6, "b", 2),
        example("x" * 7, "b", 3),
        example("x", "b" * 9, 4),
    ]
    found = read_member(encoder(tokenizer, 10), "one", examples)
    assert (found.reader, found.member, found.num_examples) == ("one/slm", "one", 4)
    assert (found.num_cut, found.longest, found.longest_answer) == (1, 10, 3)
    # Prompts of 6, 7 and 7 tokens.
    assert (found.num_tokens, found.num_answer_tokens) == (6 + 7 + 7 + 3 * 3, 3 * 3)
    assert found.misfits == (Misfit("file:4", 11),)


def test_mean_lengths_are_of_all_that_fits_in_all_texts(tokenizer: PreTrainedTokenizerFast) -> None:
    one = [example("x" * 5, "b", 1), example("x" * 3, "b" * 3, 2), example("x", "b" * 9, 3)]
    two = [example("x" * 7, "b", 4)]
    read = [read_member(encoder(tokenizer, 10), "m", each) for each in (one, two, [])]
    # BOS and letters, space, letters and EOS: 6 + 3, 4 + 5, and 8 + 3 cut to 10.
    assert lengths_of(read) == Lengths(10, 5, (9 + 9 + 10) / 3, (3 + 5 + 3) / 3)
    assert lengths_of(read[2:]) is None


def test_nothing_to_read_is_a_reading_of_nothing(tokenizer: PreTrainedTokenizerFast) -> None:
    found = read_member(encoder(tokenizer, 10), "one", [])
    assert (found.num_examples, found.longest, found.misfits) == (0, 0, ())


def test_one_error_names_the_place_the_numbers_and_a_length_that_suffices() -> None:
    text = str(misfit_error("one/slm", [Misfit("a.jsonl:7", 30), Misfit("a.jsonl:9", 40)], 32))
    assert text == (
        "a.jsonl:7: the answer has 30 tokens for 'one/slm', and data.max_length is 32 (1 more do "
        "not fit: a.jsonl:9). Answers are never cut: raise data.max_length to 44 or more, or "
        "shorten these answers."
    )


def test_many_misfits_are_not_all_listed() -> None:
    text = str(misfit_error("llm", [Misfit(f"a:{line}", 30) for line in range(9)], 32))
    assert "(8 more do not fit: a:1, a:2, a:3, a:4, ...)" in text


def test_a_device_reads_its_own_and_the_servers_text_and_the_llms_tokenizer_reads_all() -> None:
    data = ConsortiumData(EMPTY, (), {"one": EMPTY, "two": EMPTY}, ())
    assert list(sources_of(data, "one")) == ["one", "server"]
    assert list(sources_of(data, "server")) == ["server", "one", "two"]
