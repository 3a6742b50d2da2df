"""Texts that the benchmarks measure on."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from coplms.data.text import read_text

MAX_CHARACTERS = 3_000_000
"""Text beyond this is not read: the tokenizers do not change much any more."""


@dataclass(frozen=True)
class Shape:
    """Texts of a batch, and tokens of each for the left model, prompt and EOS included."""

    samples: int
    tokens: int

    @classmethod
    def parse(cls, text: str) -> "Shape":
        samples, tokens = text.lower().split("x")
        return cls(int(samples), int(tokens))


def read_some(paths: Sequence[str], most: int) -> list[str]:
    """Texts of the files, until they have `most` characters."""
    texts, length = [], 0
    for text in read_text(paths):
        texts.append(text)
        length += len(text)
        if length >= most:
            break
    return texts


def cut(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], samples: int, tokens: int
) -> list[str]:
    """The running text in pieces of so many of the tokenizer's tokens; no two share any."""
    words = " ".join(texts).split()
    running = " ".join(words[: samples * tokens * 2])
    encoded = tokenizer(running, return_offsets_mapping=True, add_special_tokens=False)
    offsets = encoded["offset_mapping"]
    if len(offsets) < samples * tokens:
        raise SystemExit(
            f"the text has {len(offsets)} tokens, too few for {samples} x {tokens}: "
            "give more --text"
        )
    starts = range(0, samples * tokens, tokens)
    borders = [(offsets[start][0], offsets[start + tokens - 1][1]) for start in starts]
    return [running[first:last].strip() for first, last in borders]
