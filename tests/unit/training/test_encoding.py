from collections.abc import Callable

import pytest

from coplms.data.example import Example
from coplms.errors import DataError
from coplms.training.encoding import MIN_PROMPT_TOKENS, Encoder
from coplms.training.learner import Learner

MakeLearner = Callable[..., Learner]


def example(text: str, answer: str) -> Example:
    return Example("", text, (answer,), "d", "d", "data.jsonl:7")


def test_prompt_and_answer_are_the_examples_text(make_learner: MakeLearner) -> None:
    learner = make_learner("llama")
    (encoded,) = learner.encoder([example("book a flight", "book flight")])
    decode = learner.model.tokenizer.decode
    assert decode(encoded.prompt, skip_special_tokens=True) == "book a flight\nAnswer:"
    assert decode(encoded.answer[:-1]) == " book flight"
    assert encoded.answer[-1] == learner.eos
    assert encoded.ends[-2:].tolist() == [len(" book flight"), len(" book flight") + 1]
    assert len(encoded) == len(encoded.prompt) + len(encoded.answer)


def test_an_empty_answer_is_the_eos_token(make_learner: MakeLearner) -> None:
    learner = make_learner("neox")
    (encoded,) = learner.encoder([example("pay", "")])
    assert encoded.answer == (learner.eos,)


def test_long_prompts_are_cut_and_answers_are_not(make_learner: MakeLearner) -> None:
    learner = make_learner("llama")
    (whole,) = learner.encoder([example("pay " * 100, "book flight")])
    assert len(whole) == 64
    assert learner.model.tokenizer.decode(whole.answer[:-1]) == " book flight"
    tight = Encoder(learner.model, "{input}", len(whole.answer) + MIN_PROMPT_TOKENS)
    (encoded,) = tight([example("pay " * 100, "book flight")])
    assert encoded.answer == whole.answer
    assert len(encoded.prompt) == MIN_PROMPT_TOKENS


def test_an_answer_that_does_not_fit_is_refused(make_learner: MakeLearner) -> None:
    learner = make_learner("llama")
    with pytest.raises(DataError, match=r"data.jsonl:7: the answer has \d+ tokens for 'llama'"):
        learner.encoder([example("pay", "xyz" * 30)])


def test_a_prompt_alone_leaves_room_for_the_answer(make_learner: MakeLearner) -> None:
    encoder = make_learner("llama").encoder
    assert len(encoder.prompt(example("pay " * 100, ""), 20)) == 44
    assert len(encoder.prompt(example("pay " * 100, ""), 100)) == MIN_PROMPT_TOKENS


def test_an_example_is_encoded_once(make_learner: MakeLearner) -> None:
    encoder = make_learner("llama").encoder
    first, second = encoder([example("pay", "x"), example("pay", "x")])
    assert first is second
    assert encoder([example("pay", "y")])[0] is not first
