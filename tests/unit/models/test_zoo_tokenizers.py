"""`coplms.models.zoo_tokenizers`: three kinds that lose nothing and always come out alike."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from coplms.errors import ModelError
from coplms.models.zoo_tokenizers import TokenizerKind, train_tokenizer

KINDS: list[TokenizerKind] = ["byte_bpe", "unigram", "fallback_bpe"]
TEXTS = [
    f"the {adjective} café  pays {number} € 東\nAnswer: it's {adjective}\n\n"
    for adjective in ("quick", "naïve", "lazy")
    for number in range(30)
]

Train = Callable[[TokenizerKind], PreTrainedTokenizerFast]


@pytest.fixture(scope="module")
def train() -> Train:
    made = {kind: train_tokenizer(kind, 330, TEXTS) for kind in KINDS}
    return lambda kind: made[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", [TEXTS[0], TEXTS[42], "lazy\ncafé", "\n", "a  quick\n\n\n 7", "thethe", "the "]
)
def test_text_comes_back(kind: TokenizerKind, text: str, train: Train) -> None:
    tokenizer = train(kind)
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("kind", ["byte_bpe", "fallback_bpe"])
@pytest.mark.parametrize("text", ["👩‍🚀 Ωmega", "<0x41> is not A", "tab\there"])
def test_unseen_characters_come_back_as_bytes(kind: TokenizerKind, text: str, train: Train) -> None:
    tokenizer = train(kind)
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_unigram_knows_no_other_characters(train: Train) -> None:
    tokenizer = train("unigram")
    assert tokenizer.unk_token_id in tokenizer("Ω").input_ids


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_stand_in_front_and_are_never_added(
    kind: TokenizerKind, train: Train
) -> None:
    tokenizer = train(kind)
    assert max(tokenizer.all_special_ids) <= 3
    assert not set(tokenizer.all_special_ids) & set(tokenizer("the lazy café").input_ids)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<s>",
        "</s>",
        "<pad>",
    )
    assert len(tokenizer) <= 330


def test_byte_tokens_are_in_the_vocabulary_and_not_special(train: Train) -> None:
    tokenizer = train("fallback_bpe")
    vocabulary = tokenizer.get_vocab()
    assert all(f"<0x{byte:02X}>" in vocabulary for byte in range(256))
    assert "<0x41>" not in tokenizer.all_special_tokens


@pytest.mark.parametrize("kind", KINDS)
def test_training_again_gives_the_same_tokenizer(kind: TokenizerKind, train: Train) -> None:
    again = train_tokenizer(kind, 330, iter(TEXTS))
    assert again.backend_tokenizer.to_str() == train(kind).backend_tokenizer.to_str()


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_loads_as_it_was(
    kind: TokenizerKind, train: Train, tmp_path: Path
) -> None:
    train(kind).save_pretrained(tmp_path)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert loaded(TEXTS).input_ids == train(kind)(TEXTS).input_ids


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_too_small_for_the_characters_is_refused(kind: TokenizerKind) -> None:
    with pytest.raises(ModelError, match=r"vocab_size 6 cannot hold .* Ask for \d+ tokens"):
        train_tokenizer(kind, 6, TEXTS)
