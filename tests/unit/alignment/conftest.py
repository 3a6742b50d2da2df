"""Real tokenizers of every supported kind, trained in a second on a few lines of text."""

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from coplms.alignment.token_bytes import TokenBytes, token_bytes

TEXT = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on through the afternoon.",
    "In 2015 the hospital counted 201 patients; in 2016 there were 1,234 of them.",
    "What is the intent of this question? transfer money, pay a bill, book a flight.",
    "Déjà vu: the café served crème brûlée, naïve façades and jalapeños.",
    "She said: “hello”, then left … and never came back (again) — or did she?",
    "def forward(self, x):\n    return self.head(x)\n",
    "人工知能は 面白い。 我们 学习 语言 模型。",
    "Answer: yes. Answer: no. Answer: positive. Answer: negative.",
    "playing plays played player; walking walks walked walker",
] * 4
SPECIAL = ["<s>", "</s>", "<unk>", "<pad>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
CHARACTERS = zlib.decompress(
    base64.b64decode(
        "eNod03XMl1UUAODLB4w/mBtztMAERstHC9LdKSkh0t3dPwQ3GR0KUtKjJBQQkE9BOqS7uxsERBGel3d7"
        "3nPvdrZzd8+5IUkIYVKi0K5k4nAgxIWRGUNIEUIs4YMQkomxFHFhbNIQfbHE0T5DXIjZJ7JeGeUPC0Fq"
        "bL5fcvFDialISRpSk460fER6lAgZ2LIxLmQSM/MxWclCNpYkhJBDzE4ucpKH3OTlE/IRTwHyU4iCFKEw"
        "RfmUzyhGCYpTipKUoTTlKEsFylOJilShMtWoSg2qU4ua1KE29ahLfT6nIQ1oTCO+oAnNaEoLmtOSL2nF"
        "V7ShNe1oSwfa04mOdKEz3ehKD7rTi570oTf96MsA+jOIgQxhMFoWhjKC4YyMmssovuYbRnPVbFxzsWOs"
        "v2UsjxaFMF4cx0QmMDkaIaYyhe+YxnS+5wdmMIuZzGE2PzKX+cxjIQtYjDLhT4deIi5jKStYzk+sZDWr"
        "WMsafuFn1rOOX9nAJjbyG5tJiGaPP/idbWxle1STnexgN7vYyx72s4+/OMAhDnKEwxzjKCc4zilOcobT"
        "nOMsFzjPJS5yhctci+6cG1znFje5w23ucZcH3I96wUOe8JhnPOVvnvOSF/zDK/7lNW/4j7f8H94/vvj4"
        "+FAgX0FPoX2nsH1ZeAez55Ns"
    )
)
"""SentencePiece's table of characters to replace, with seven entries: "ﬁ" -> "fi", "…" -> "...",
"½" -> "1/2", U+FF21 -> "A", U+3000 -> " ", "e" + U+0301 -> "é", U+200B -> ""."""


def _fast(tokenizer: Tokenizer, name: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        name_or_path=name,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
    )


def _byte_level(
    size: int,
    normalizer: normalizers.Normalizer | None = None,
    trim: bool = False,
    prepends: bool = False,
    words: str | None = None,
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prepends)
    if words is not None:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(words), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def _llama3_style(size: int) -> Tokenizer:
    """Words by a regular expression; a word that is a token is taken whole, without merges."""
    words = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+"
    tokenizer = _byte_level(size, words=words)
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary["Ġtransformation"] = len(vocabulary)
    state["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(state))


def _unigram(size: int, normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def _fallback(size: int, prepends: bool) -> Tokenizer:
    """Metaspace BPE with byte fallback; its byte tokens are marked special by the trainer."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    replace = normalizers.Replace(" ", "▁")
    if prepends:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace])
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(?=▁)"), "isolated")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size, limit_alphabet=60, special_tokens=SPECIAL + BYTES, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def _gemma_style(size: int) -> Tokenizer:
    """Metaspace BPE with byte fallback, the mark written by the normaliser alone."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        limit_alphabet=60,
        special_tokens=[*SPECIAL, *BYTES, "▁▁"],
        max_token_length=12,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    state = json.loads(tokenizer.to_str())
    for token in state["added_tokens"]:
        token["special"] = token["content"] in SPECIAL
    return Tokenizer.from_str(json.dumps(state))


def _unmark_bytes(tokenizer: Tokenizer) -> Tokenizer:
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] not in BYTES]
    return Tokenizer.from_str(json.dumps(state))


def _word_piece(size: int, lowercase: bool = True) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


BUILDERS: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": lambda: _byte_level(420),
    "byte_level_larger": lambda: _byte_level(560, trim=True),
    "byte_level_nfc": lambda: _byte_level(420, normalizers.NFC(), trim=True),
    "byte_level_lower": lambda: _byte_level(420, normalizers.Lowercase()),
    "byte_level_prefix": lambda: _byte_level(420, prepends=True),
    "llama3_style": lambda: _llama3_style(500),
    "unigram": lambda: _unigram(400),
    "unigram_nfkc": lambda: _unigram(400, normalizers.NFKC()),
    "unigram_table": lambda: _unigram(
        400,
        normalizers.Sequence(
            [normalizers.Precompiled(CHARACTERS), normalizers.Replace(Regex(" {2,}"), " ")]
        ),
    ),
    "fallback": lambda: _unmark_bytes(_fallback(600, prepends=False)),
    "fallback_special": lambda: _fallback(600, prepends=False),
    "llama_style": lambda: _unmark_bytes(_fallback(640, prepends=True)),
    "gemma_style": lambda: _gemma_style(640),
    "word_piece": lambda: _word_piece(400),
    "word_piece_cased": lambda: _word_piece(400, lowercase=False),
}


@dataclass(frozen=True)
class Kind:
    """A tokenizer with its bytes."""

    tokenizer: PreTrainedTokenizerFast
    bytes: TokenBytes


@pytest.fixture(scope="session")
def kinds() -> dict[str, Kind]:
    """One tokenizer of each kind, by name."""
    built = {name: _fast(build(), name) for name, build in BUILDERS.items()}
    return {name: Kind(tokenizer, token_bytes(tokenizer)) for name, tokenizer in built.items()}
