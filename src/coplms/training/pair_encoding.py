"""Examples in two models' tokens, and the chunks in which their answers meet."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from coplms.alignment.places import Chunks, align
from coplms.data.example import Example
from coplms.losses.mutual import Totals
from coplms.training.encoding import BLOCK, EncodedExample, Encoder


@dataclass(frozen=True, eq=False)
class PairedExample:
    """One example for two tokenizers.

    Attributes:
        left: In the left model's tokens.
        right: In the right model's.
        chunks: Where the answers meet; indices count the example's own answer tokens, and its
            sample is 0.
    """

    left: EncodedExample
    right: EncodedExample
    chunks: Chunks

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens for each of the two models."""
        return (len(self.left), len(self.right))


def totals_of(pairs: Iterable[PairedExample]) -> Totals:
    """What losses of these examples are means over: answer tokens of either side, chunks."""
    left_rows = right_rows = chunks = 0
    for pair in pairs:
        left_rows += len(pair.left.answer)
        right_rows += len(pair.right.answer)
        chunks += len(pair.chunks.sample)
    return Totals(left_rows, right_rows, chunks)


class PairEncoder:
    """Encodes examples for two models and aligns them, each of them once.

    Those that are new are aligned together, a block of them at a time.
    """

    def __init__(self, left: Encoder, right: Encoder) -> None:
        self.left = left
        self.right = right
        self._cache: dict[Example, PairedExample] = {}

    def __call__(self, examples: Sequence[Example]) -> list[PairedExample]:
        """The examples in both models' tokens.

        Raises:
            DataError: If an answer does not fit the context of one of the models.
        """
        new = [example for example in dict.fromkeys(examples) if example not in self._cache]
        left, right = self.left(new), self.right(new)
        for start in range(0, len(new), BLOCK):
            block = slice(start, start + BLOCK)
            self._cache.update(zip(new[block], align_pairs(left[block], right[block]), strict=True))
        return [self._cache[example] for example in examples]


def align_pairs(
    left: Sequence[EncodedExample], right: Sequence[EncodedExample]
) -> list[PairedExample]:
    """The same examples in two models' tokens, aligned all at once."""
    if not left:
        return []
    left_samples, left_first = _samples(left)
    right_samples, right_first = _samples(right)
    chunks = align(_ends(left), left_samples, _ends(right), right_samples)
    own = Chunks(
        sample=np.zeros_like(chunks.sample),
        left_first=chunks.left_first - left_first[chunks.sample],
        left_count=chunks.left_count,
        right_first=chunks.right_first - right_first[chunks.sample],
        right_count=chunks.right_count,
    )
    borders = np.searchsorted(chunks.sample, np.arange(len(left) + 1)).tolist()
    columns = [getattr(own, field.name) for field in fields(Chunks)]
    return [
        PairedExample(one, other, Chunks(*(column[first:last] for column in columns)))
        for one, other, (first, last) in zip(left, right, pairwise(borders), strict=True)
    ]


def _ends(examples: Sequence[EncodedExample]) -> NDArray[np.int64]:
    return np.concatenate([example.ends for example in examples])


def _samples(examples: Sequence[EncodedExample]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The example that each answer token belongs to, and each example's first answer token."""
    counts = np.array([len(example.ends) for example in examples], dtype=np.int64)
    return np.repeat(np.arange(len(counts)), counts), np.cumsum(counts) - counts
