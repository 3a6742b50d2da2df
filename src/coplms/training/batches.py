"""Seeded, length-bucketed batches, and the tensors that a step needs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coplms.training.encoding import EncodedExample

BUCKET_BATCHES = 16
"""Batches whose examples are sorted by length together, so that padding stays small."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Right-padded sequences of one model.

    Attributes:
        input_ids: `[batch, sequence]`.
        attention_mask: 1 where a token is, `[batch, sequence]`.
        rows: Flat index into `[batch * sequence]` of the row that predicts each answer token.
        targets: The answer tokens, `[rows]`.
        samples: The sequence that each answer token belongs to, `[rows]`.
        ends: Byte places of the answer tokens, `[rows]`.
    """

    input_ids: Tensor
    attention_mask: Tensor
    rows: Tensor
    targets: Tensor
    samples: NDArray[np.int64]
    ends: NDArray[np.int64]


def collate(examples: Sequence[EncodedExample], pad: int, device: torch.device) -> Batch:
    """The batch's tensors; the last answer token is predicted, never read."""
    width = max(len(example) for example in examples) - 1
    input_ids = np.full((len(examples), width), pad, dtype=np.int64)
    mask = np.zeros((len(examples), width), dtype=np.int64)
    rows, targets, samples = [], [], []
    for index, example in enumerate(examples):
        tokens = (*example.prompt, *example.answer[:-1])
        input_ids[index, : len(tokens)] = tokens
        mask[index, : len(tokens)] = 1
        first = index * width + len(example.prompt) - 1
        rows.append(np.arange(first, first + len(example.answer), dtype=np.int64))
        targets.append(np.asarray(example.answer, dtype=np.int64))
        samples.append(np.full(len(example.answer), index, dtype=np.int64))
    return Batch(
        input_ids=torch.from_numpy(input_ids).to(device),
        attention_mask=torch.from_numpy(mask).to(device),
        rows=torch.from_numpy(np.concatenate(rows)).to(device),
        targets=torch.from_numpy(np.concatenate(targets)).to(device),
        samples=np.concatenate(samples),
        ends=np.concatenate([example.ends for example in examples]),
    )


def batch_indices(
    pools: Sequence[Sequence[int]], counts: Sequence[int], steps: int, seed: int
) -> Iterator[list[tuple[int, int]]]:
    """Which examples each step sees: `counts[p]` of pool p, each pool in shuffled epochs.

    Args:
        pools: For each pool, the lengths of its examples in tokens.
        counts: For each pool, examples per batch.
        steps: Number of batches.
        seed: Decides the order.

    Yields:
        Pairs of pool and index in it. Examples of similar length come together.

    Raises:
        ValueError: If a pool is empty.

    >>> list(batch_indices([[5, 5], [9]], [1, 1], steps=2, seed=0))
    [[(0, 0), (1, 0)], [(0, 1), (1, 0)]]
    """
    if not all(len(pool) for pool in pools):
        raise ValueError("a pool without examples cannot be drawn from")
    generator = np.random.default_rng(seed)
    streams = [_epochs(len(pool), generator) for pool in pools]
    for done in range(0, steps, BUCKET_BATCHES):
        width = min(BUCKET_BATCHES, steps - done)
        columns: list[list[list[tuple[int, int]]]] = []
        for number, (pool, count) in enumerate(zip(pools, counts, strict=True)):
            drawn = [next(streams[number]) for _ in range(width * count)]
            drawn.sort(key=lambda index, pool=pool: pool[index])  # type: ignore[misc]
            columns.append(
                [[(number, i) for i in drawn[b * count : (b + 1) * count]] for b in range(width)]
            )
        for batch in generator.permutation(width):
            yield [pair for column in columns for pair in column[batch]]


def _epochs(size: int, generator: np.random.Generator) -> Iterator[int]:
    while True:
        yield from (int(index) for index in generator.permutation(size))
