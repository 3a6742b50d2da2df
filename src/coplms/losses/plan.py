"""How a batch is cut into blocks, so that a fused loss stays within its memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

WIDEST_ON_CPU = 128
"""Rows of a block beyond which a CPU's caches are left (docs/performance.md)."""

WIDEST = 4096
"""Rows of a block beyond which no GPU gets faster."""


@dataclass(frozen=True)
class Span:
    """Chunks `start` to `stop` of a batch: one block of each side."""

    start: int
    stop: int


@dataclass(frozen=True)
class Group:
    """Blocks whose gates open together.

    Attributes:
        spans: One after the other, without gaps.
        is_held: Whether the predictions of all its blocks fit into memory until their gates are
            known; otherwise they are made twice.
    """

    spans: tuple[Span, ...]
    is_held: bool


@dataclass(frozen=True)
class BlockSizes:
    """What fits into a memory budget.

    Attributes:
        width: Chunks (or rows) of a block.
        capacity: Chunks whose predictions can be held at a time beside one block's work.
    """

    width: int
    capacity: int

    @classmethod
    def within(
        cls, num_bytes: int, vocab_sizes: tuple[int, int], num_classes: int, item: int, widest: int
    ) -> "BlockSizes":
        """The sizes for two vocabularies.

        Args:
            num_bytes: The budget; a block has at least one row, whatever it says.
            vocab_sizes: Columns of both models' logits.
            num_classes: Common classes.
            item: Bytes of a number: 4, or 8 in float64.
            widest: Most rows of a block.
        """
        held = sum(vocab_sizes) * item
        work = (4 * num_classes + max(vocab_sizes)) * item
        width = max(1, min(widest, num_bytes // (held + work)))
        return cls(width, max(width, (num_bytes - width * work) // held))


def plan_groups(samples: NDArray[np.int64], gate: str, sizes: BlockSizes) -> list[Group]:
    """All chunks of a batch in blocks; samples stay whole where a gate looks at them as a whole.

    Samples share a group only as far as they share a block: holding more than one would be memory
    for nothing.

    Args:
        samples: The text of every chunk, never falling, `[chunks]`.
        gate: `none`, `sample` or `chunk`.
        sizes: Of the blocks.

    >>> sizes = BlockSizes(width=2, capacity=4)
    >>> for group in plan_groups(np.array([0, 0, 0, 1, 2, 2, 2, 2, 2]), "sample", sizes):
    ...     print(group.is_held, [(span.start, span.stop) for span in group.spans])
    True [(0, 2), (2, 3)]
    True [(3, 4)]
    False [(4, 6), (6, 8), (8, 9)]
    """
    if gate != "sample":
        return [Group((span,), True) for span in _spans(0, len(samples), sizes.width)]
    starts = np.flatnonzero(np.diff(samples, prepend=samples[:1] - 1))
    borders = [*(int(start) for start in starts), len(samples)]
    groups, first = [], 0
    for number in range(1, len(borders)):
        is_last = number == len(borders) - 1
        if is_last or borders[number + 1] - borders[first] > sizes.width:
            start, stop = borders[first], borders[number]
            spans = _spans(start, stop, sizes.width)
            groups.append(Group(tuple(spans), stop - start <= sizes.capacity))
            first = number
    return groups


def _spans(start: int, stop: int, width: int) -> list[Span]:
    return [Span(at, min(stop, at + width)) for at in range(start, stop, width)]


def in_blocks(rows: Tensor, width: int) -> Sequence[Tensor]:
    """Row numbers in blocks of at most `width`."""
    return [rows[at : at + width] for at in range(0, len(rows), width)]
