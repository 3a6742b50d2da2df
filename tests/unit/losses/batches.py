"""Random batches for losses: hidden rows, heads, classes and chunks of two models."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from coplms.losses.fold import Fold
from coplms.losses.fused_mutual import fused_mutual_loss
from coplms.losses.fused_side import FusedSide
from coplms.losses.head import Head, Rows
from coplms.losses.mutual import Exchange, MutualLoss, Side, Totals, mutual_loss
from coplms.losses.plan import BlockSizes, in_blocks, plan_groups

F64 = torch.float64
NUM_CLASSES = 7
OTHER = 6


@dataclass(frozen=True, eq=False)
class View:
    """One model's part of a batch."""

    rows: Rows
    classes: Tensor
    first: Tensor
    count: Tensor
    foreign: Tensor | None = None
    learns: bool = True

    def logits(self) -> Tensor:
        logits = self.rows.logits()
        return logits if self.learns else logits.detach()

    def gradients(self, loss: Tensor) -> list[Tensor | None]:
        tensors = [tensor for tensor in self.rows.tensors() if tensor.requires_grad]
        return list(torch.autograd.grad(loss, tensors, allow_unused=True, retain_graph=True))


@dataclass(frozen=True, eq=False)
class Texts:
    """A batch of both models."""

    left: View
    right: View
    samples: Tensor

    @property
    def totals(self) -> Totals:
        return Totals(len(self.left.rows), len(self.right.rows), len(self.samples))

    def swapped(self) -> "Texts":
        return Texts(self.right, self.left, self.samples)

    def plain(self, exchange: Exchange, totals: Totals | None = None) -> MutualLoss:
        sides = [
            Side(v.logits(), v.rows.targets, v.classes, v.first, v.count, v.foreign)
            for v in (self.left, self.right)
        ]
        return mutual_loss(*sides, self.samples, NUM_CLASSES, exchange, totals)

    def fused(
        self, exchange: Exchange, sizes: BlockSizes, totals: Totals | None = None
    ) -> MutualLoss:
        views = (self.left, self.right)
        left_out = OTHER if any(view.foreign is not None for view in views) else None
        sides = [
            FusedSide(
                rows=view.rows,
                first=view.first,
                count=view.count,
                others=in_blocks(others(view), sizes.width),
                fold=Fold.of(view.classes, NUM_CLASSES, left_out),
                learns=view.learns,
            )
            for view in views
        ]
        groups = plan_groups(self.samples.numpy(), exchange.gate, sizes)
        return fused_mutual_loss(*sides, self.samples, groups, exchange, totals)


def others(view: View) -> Tensor:
    begins = torch.zeros(len(view.rows), dtype=torch.bool)
    begins[view.first] = True
    return torch.from_numpy(np.flatnonzero(~begins.numpy()))


def make_texts(
    seed: int = 0,
    *,
    dtype: torch.dtype = F64,
    foreign: bool = False,
    bias: bool = False,
    terms: int = 1,
    softcap: float | None = None,
    scale: float = 1.0,
    num_samples: int = 4,
) -> Texts:
    """A batch with one-to-one chunks and longer ones, and rows that are in no chunk.

    Args:
        seed: Decides everything.
        dtype: Of inputs and heads.
        foreign: Whether the left has tokens of the class OTHER and the right has none.
        bias: Whether the heads have one.
        terms: Products that the logits are the sum of.
        softcap: Cap of the logits.
        scale: Size of the logits.
        num_samples: Texts.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=F64).to(dtype)

    def number(most: int) -> int:
        return int(torch.randint(1, most + 1, (1,), generator=generator))

    starts: tuple[list[int], list[int]] = ([], [])
    counts: tuple[list[int], list[int]] = ([], [])
    lengths, samples = [0, 0], []
    for sample in range(num_samples):
        for _ in range(number(5)):
            samples.append(sample)
            for side in (0, 1):
                starts[side].append(lengths[side])
                counts[side].append(number(3) if number(3) == 1 else 1)
                lengths[side] += counts[side][-1]
        lengths[sample % 2] += number(2)  # a truncated end: rows in no chunk
    tokens = ([0, 1, 1, 2, 3, 4, 5, 5, 0, OTHER, OTHER], [3, 4, 2, 2, 0, 1, 5, OTHER])
    if foreign:
        tokens[1][-1] = 1
    views = []
    for side in (0, 1):
        classes = torch.tensor(tokens[side])
        vocab_size = len(classes)
        head = Head(
            tuple((draw(vocab_size, 3 + n) * scale).requires_grad_() for n in range(terms)),
            draw(vocab_size).requires_grad_() if bias else None,
            softcap,
        )
        inputs = tuple(draw(lengths[side], 3 + n).requires_grad_() for n in range(terms))
        targets = torch.randint(vocab_size, (lengths[side],), generator=generator)
        views.append(
            View(
                Rows(inputs, head, targets),
                classes,
                torch.tensor(starts[side]),
                torch.tensor(counts[side]),
                classes == OTHER if foreign and side == 0 else None,
            )
        )
    return Texts(views[0], views[1], torch.tensor(samples))


def frozen(view: View) -> View:
    return replace(view, learns=False)
