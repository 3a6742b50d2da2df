"""Small tokenizers of three kinds, trained on text."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Literal

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from coplms.errors import ModelError

TokenizerKind = Literal["byte_bpe", "unigram", "fallback_bpe"]

BOS, EOS, PAD, UNK = "<s>", "</s>", "<pad>", "<unk>"
_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's word borders; transformers gives them to any tokenizer beside a Qwen2 network."""
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train_tokenizer(
    kind: TokenizerKind, vocab_size: int, texts: Iterable[str]
) -> PreTrainedTokenizerFast:
    """A tokenizer of `kind` that gives back every text of its training alphabet.

    `<s>`, `</s>`, `<pad>` (and `<unk>`, but for `byte_bpe`) are its special tokens; encoding adds
    none of them by itself. Text in which nothing repeats gives fewer tokens than asked for.

    Args:
        kind: `byte_bpe`: byte-level BPE. `unigram`: Unigram with metaspace, which knows the
            characters of `texts` and no others. `fallback_bpe`: BPE with metaspace, where rare
            and unknown characters are spelt in byte tokens `<0xNN>`.
        vocab_size: Tokens at most, special ones included.
        texts: What to train on; read once.

    Raises:
        ModelError: If `vocab_size` cannot hold special tokens, bytes and characters.
    """
    tokenizer = _TRAINERS[kind](vocab_size, texts)
    if tokenizer.get_vocab_size() > vocab_size:
        raise ModelError(_too_small(kind, vocab_size, tokenizer.get_vocab_size()))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=None if kind == "byte_bpe" else UNK,
        clean_up_tokenization_spaces=False,
    )


def _too_small(kind: TokenizerKind, vocab_size: int, needed: int) -> str:
    return (
        f"a '{kind}' tokenizer of vocab_size {vocab_size} cannot hold the characters of its text. "
        f"Ask for {needed} tokens at least."
    )


def _byte_bpe(vocab_size: int, texts: Iterable[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _unigram(vocab_size: int, texts: Iterable[str]) -> Tokenizer:
    texts = list(texts)
    special = [UNK, BOS, EOS, PAD]
    alphabet = {"\n", "▁"}.union(*(set(text) for text in texts)) - {" "}
    if len(special) + len(alphabet) > vocab_size:
        raise ModelError(_too_small("unigram", vocab_size, len(special) + len(alphabet)))
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        unk_token=UNK,
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pieces = tokenizer.get_vocab().keys() | alphabet
    _score_by_counts(tokenizer, special, sorted(pieces - set(special)), texts)
    return tokenizer


def _score_by_counts(
    tokenizer: Tokenizer, special: list[str], pieces: list[str], texts: list[str]
) -> None:
    """Gives the pieces the log-probabilities of three rounds of best segmentations.

    The trainer's own scores and order change a little from call to call (it adds in the order of a
    hash map); its set of pieces does not.
    """
    scores = dict.fromkeys(special, 0.0) | dict.fromkeys(pieces, -1.0)
    for _ in range(3):
        tokenizer.model = models.Unigram(list(scores.items()), unk_id=0)
        counts: Counter[str] = Counter()
        for start in range(0, len(texts), 1000):
            encodings = tokenizer.encode_batch_fast(texts[start : start + 1000])
            counts.update(chain.from_iterable(encoding.tokens for encoding in encodings))
        total = sum(counts.values()) + 0.5 * len(pieces)
        scores |= {piece: math.log((counts[piece] + 0.5) / total) for piece in pieces}
    tokenizer.model = models.Unigram(list(scores.items()), unk_id=0)


def _fallback_bpe(vocab_size: int, texts: Iterable[str]) -> Tokenizer:
    texts = list(texts)
    special = [UNK, BOS, EOS, PAD]
    tokenizer = Tokenizer(models.BPE(unk_token=UNK, byte_fallback=True, fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    room = vocab_size - len(special) - len(_BYTES)
    alphabet = _most_frequent_characters(texts, max(room // 2, 1))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special + _BYTES,
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _without_byte_specials(tokenizer)


def _most_frequent_characters(texts: list[str], limit: int) -> list[str]:
    """At most `limit` characters, the metaspace first; equal counts go by code point."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    del counts[" "], counts["▁"]
    return ["▁", *sorted(counts, key=lambda character: (-counts[character], character))][:limit]


def _without_byte_specials(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer where `<0xNN>` are ordinary tokens, not text that is looked for."""
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [
        token for token in content["added_tokens"] if token["content"] not in _BYTES
    ]
    return Tokenizer.from_str(json.dumps(content))


_TRAINERS: dict[TokenizerKind, Callable[[int, Iterable[str]], Tokenizer]] = {
    "byte_bpe": _byte_bpe,
    "unigram": _unigram,
    "fallback_bpe": _fallback_bpe,
}
