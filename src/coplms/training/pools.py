"""What a phase trains on: pools of examples, and how much of each batch comes from which."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from coplms.data.example import Example
from coplms.training.buckets import batch_indices


class Encoded(Protocol):
    """An example in the tokens of one model or of several."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens for each model."""


E = TypeVar("E", bound=Encoded)


@dataclass(frozen=True)
class Pool:
    """Examples that are drawn from together.

    Attributes:
        examples: At least one.
        count: Examples per batch that come from here, on average over a window of batches
            (`training.buckets`).
    """

    examples: Sequence[Example]
    count: int


def draw(
    encode: Callable[[Sequence[Example]], Sequence[E]],
    pools: Sequence[Pool],
    steps: int,
    seed: int,
    pieces: int,
) -> Iterator[list[list[E]]]:
    """For each step the pieces of its batch, encoded.

    Args:
        encode: An `Encoder` for one model, a `PairEncoder` for two; asked once for each pool.
        pools: Where the batch comes from; those with a count of 0 are left out.
        steps: Number of batches.
        seed: Decides the order.
        pieces: Parts that a batch is divided into. Losses are means over the whole batch: divide a
            piece's sums by what all pieces have together (`pair_encoding.totals_of`).
    """
    used = [pool for pool in pools if pool.count]
    encoded = [encode(pool.examples) for pool in used]
    lengths = [np.array([example.lengths for example in pool]) for pool in encoded]
    counts = [pool.count for pool in used]
    for batch in batch_indices(lengths, counts, steps, seed):
        chosen = [encoded[pool][index] for pool, index in batch]
        size = -(-len(chosen) // pieces)
        yield [chosen[start : start + size] for start in range(0, len(chosen), size)]
