from collections.abc import Callable

import numpy as np
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


def test_prompts_of_many_examples_are_those_of_each(make_learner: MakeLearner) -> None:
    encoder = make_learner("llama").encoder
    examples = [example("pay " * 100, ""), example("book", "")]
    assert encoder.prompts(examples, 20) == [encoder.prompt(each, 20) for each in examples]
    assert encoder.prompts([], 20) == []


def test_examples_fit_whose_answers_leave_room_for_a_prompt(make_learner: MakeLearner) -> None:
    encoder = make_learner("llama").encoder
    tokens = len(encoder([example("pay", "pay bill")])[0].answer)
    short, long = example("pay", "pay bill"), example("pay", "xyz" * 30)
    assert encoder.fitting([long, short]) == [short]
    tight = Encoder(encoder.model, "{input}", tokens + MIN_PROMPT_TOKENS)
    assert tight.fitting([short]) == [short]
    assert Encoder(encoder.model, "{input}", tokens + MIN_PROMPT_TOKENS - 1).fitting([short]) == []


CHAT = "{% for message in messages %}<s>{{ message.content }}{% endfor %}</s>"
TEXTS = ["pay the bill", "", "née 人 👩‍👩‍👧  x", "pay " * 100, "book </s> a flight", "<0x41>"]
ANSWERS = ["pay bill", "", "née 人", "👩‍👩‍👧  x ", "<0x41> e\u0301", "pay bill"]


@pytest.mark.parametrize("architecture", ["llama", "neox"])
@pytest.mark.parametrize("chat", [None, CHAT])
def test_many_examples_at_once_are_encoded_as_one_by_one(
    make_learner: MakeLearner,
    architecture: str,
    chat: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_learner(architecture).model
    monkeypatch.setattr(model.tokenizer, "chat_template", chat)
    examples = [example(text, answer) for text in TEXTS for answer in ANSWERS]
    together = Encoder(model, "{input}", 64)(examples)
    for found, each in zip(together, examples, strict=True):
        (alone,) = Encoder(model, "{input}", 64)([each])
        assert (found.prompt, found.answer) == (alone.prompt, alone.answer)
        assert np.array_equal(found.ends, alone.ends)


def test_new_examples_are_given_to_the_tokenizer_together(
    make_learner: MakeLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_learner("llama").encoder
    backend = encoder.model.tokenizer.backend_tokenizer
    sizes: list[int] = []

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(backend, name)

        def encode_batch(self, texts: list[str], **options: object) -> object:
            sizes.append(len(texts))
            return backend.encode_batch(texts, **options)

    monkeypatch.setattr(encoder.model.tokenizer, "_tokenizer", Counting())
    examples = [example(text, "pay bill") for text in ("pay", "book", "sea", "pay")]
    encoder(examples)
    # The answer as it is, then after a space, as this tokenizer adds none; then three prompts.
    assert sizes == [1, 1, 3]
    encoder(examples)
    assert sizes == [1, 1, 3]


def test_the_first_answer_that_does_not_fit_is_named(make_learner: MakeLearner) -> None:
    long = [Example("", "pay", (f"{'xyz' * 30}{n}",), "d", "d", f"data.jsonl:{n}") for n in (3, 1)]
    with pytest.raises(DataError, match=r"data\.jsonl:3"):
        make_learner("llama").encoder([example("pay", "x"), *long])


def test_lengths_are_one_for_each_model(make_learner: MakeLearner) -> None:
    (encoded,) = make_learner("llama").encoder([example("pay", "x")])
    assert encoded.lengths == (len(encoded),)


def test_an_example_is_encoded_once(make_learner: MakeLearner) -> None:
    encoder = make_learner("llama").encoder
    first, second = encoder([example("pay", "x"), example("pay", "x")])
    assert first is second
    assert encoder([example("pay", "y")])[0] is not first
