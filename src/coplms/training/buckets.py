"""Which examples each step sees: seeded, in shuffled epochs, of similar length.

Examples of many batches are drawn together (a window), divided into batches that need little
padding, and the batches shuffled. A batch of two models must be short of padding for both, and
their lengths do not rise together, so no single order of the examples will do: the window is
halved again and again, each time by that length which leaves the fewest places to compute.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

WINDOW = 48
"""Batches that are drawn together: more leave less padding, and batches that are more alike."""


def batch_indices(
    pools: Sequence[NDArray[np.int64]], counts: Sequence[int], steps: int, seed: int
) -> Iterator[list[tuple[int, int]]]:
    """Which examples each step sees, each pool in shuffled epochs.

    A batch has as many examples as `counts` add up to. How many of them are of which pool varies:
    where pools differ in length a fixed share in every batch would be a fixed share of padding. In
    every window each pool has exactly its share. A window is no longer than an epoch of any pool,
    so that an example does not meet itself in a batch.

    Args:
        pools: For each pool the lengths of its examples in tokens, `[examples, models]`.
        counts: For each pool, examples per batch on average.
        steps: Number of batches.
        seed: Decides the order.

    Yields:
        Pairs of pool and index in it.

    Raises:
        ValueError: If a pool is empty.

    >>> lengths = np.array([[5], [9], [5], [9]])
    >>> sorted(sorted(i for _, i in batch) for batch in batch_indices([lengths], [2], 2, seed=0))
    [[0, 2], [1, 3]]
    """
    if not all(len(pool) for pool in pools):
        raise ValueError("a pool without examples cannot be drawn from")
    return islice(_batches(pools, counts, np.random.default_rng(seed)), steps)


def _batches(
    pools: Sequence[NDArray[np.int64]], counts: Sequence[int], generator: np.random.Generator
) -> Iterator[list[tuple[int, int]]]:
    epochs = [_epochs(len(pool), generator) for pool in pools]
    width = min(len(pool) // count for pool, count in zip(pools, counts, strict=True))
    width = min(max(1, width), WINDOW)
    while True:
        window = [
            (number, index)
            for number, count in enumerate(counts)
            for index in islice(epochs[number], width * count)
        ]
        lengths = np.array([pools[number][index] for number, index in window])
        batches = alike(lengths, sum(counts))
        for batch in generator.permutation(width):
            yield [window[place] for place in batches[batch]]


def _epochs(size: int, generator: np.random.Generator) -> Iterator[int]:
    while True:
        yield from (int(index) for index in generator.permutation(size))


def alike(lengths: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """The examples divided into batches that need little padding, as indices.

    Args:
        lengths: Of each example for each model, `[examples, models]`.
        size: Examples per batch; a divisor of their number.

    >>> [batch.tolist() for batch in alike(np.array([[3, 9], [8, 2], [2, 8], [9, 3]]), 2)]
    [[2, 0], [1, 3]]
    """
    return _halved(np.arange(len(lengths)), lengths, size)


def _halved(
    chosen: NDArray[np.int64], lengths: NDArray[np.int64], size: int
) -> list[NDArray[np.int64]]:
    num_batches = len(chosen) // size
    if num_batches <= 1:
        return [chosen]
    border = num_batches // 2 * size
    own = lengths[chosen]
    halves = []
    for key in (own.sum(axis=1), *own.T):
        order = chosen[np.argsort(key, kind="stable")]
        halves.append((order[:border], order[border:]))
    few, many = min(halves, key=lambda pair: sum(_places(half, lengths) for half in pair))
    return [*_halved(few, lengths, size), *_halved(many, lengths, size)]


def _places(chosen: NDArray[np.int64], lengths: NDArray[np.int64]) -> int:
    """Tokens and padding of all models, were these examples one batch."""
    return len(chosen) * int(lengths[chosen].max(axis=0).sum())
