"""Losses of one model's rows, block by block: cross-entropy, and a teacher's top-K tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor

from coplms.losses.block import Block, RowGradients, cross_entropy_gradient, predict
from coplms.losses.head import Rows
from coplms.losses.known import with_gradients
from coplms.losses.plan import in_blocks
from coplms.losses.rows import Divergence, TopK
from coplms.losses.slopes import divergence_slope


@dataclass(frozen=True, eq=False)
class RowLoss:
    """A loss and what it is made of; scalars.

    Attributes:
        total: Cross-entropy and divergence, with the graph.
        ce: Nats per row.
        divergence: Nats per row; rows that learn nothing from the teacher count 0.
    """

    total: Tensor
    ce: Tensor
    divergence: Tensor


def fused_cross_entropy(rows: Rows, width: int, total_rows: int | None = None) -> Tensor:
    """Mean nats per row, with the gradients of all that takes one.

    Args:
        rows: Predictions to be made.
        width: Rows of a block.
        total_rows: Rows of the whole step, where this is a piece of it.
    """
    per_row = 1 / (total_rows or len(rows))
    gradients = RowGradients(rows, learns=torch.is_grad_enabled())
    total = torch.zeros((), device=rows.device, dtype=_sum_dtype(rows))
    with torch.no_grad():
        for index in _blocks(rows, width):
            block = predict(rows, index)
            total += block.nll.sum()
            if gradients.needed:
                found = cross_entropy_gradient(block, rows.targets[index], per_row)
                gradients.add(block, found)
    return with_gradients(total * per_row, rows.tensors(), gradients.result())


def fused_top_k_loss(
    rows: Rows,
    teacher: TopK,
    width: int,
    *,
    ce_weight: float = 1.0,
    weight: float = 1.0,
    temperature: float = 1.0,
    divergence: Divergence = "forward_kl",
    total_rows: int | None = None,
) -> RowLoss:
    """Cross-entropy and the divergence from a teacher of whom only the top K tokens are known.

    The plain way is `token_nll`, `top_k_probabilities` and `divergence` of `coplms.losses.rows`.

    Args:
        rows: Predictions to be made.
        teacher: K tokens of every row and their probabilities at `temperature`.
        width: Rows of a block.
        ce_weight: Weight of cross-entropy.
        weight: lambda, weight of the divergence.
        temperature: tau; the divergence is scaled by its square.
        divergence: Seen from the student.
        total_rows: Rows of the whole step, where this is a piece of it.
    """
    per_row = 1 / (total_rows or len(rows))
    gradients = RowGradients(rows, learns=torch.is_grad_enabled())
    nats = torch.zeros((), device=rows.device, dtype=_sum_dtype(rows))
    apart = torch.zeros_like(nats)
    with torch.no_grad():
        for index in _blocks(rows, width):
            block = predict(rows, index, temperature)
            nats += block.nll.sum()
            share = teacher.weights[index].to(block.total.dtype)
            known = _Known.of(block, teacher, index)
            value, slope = divergence_slope(known.own, known.peer, divergence)
            apart += (value * share).sum()
            if not gradients.needed:
                continue
            slope.sub_((slope * known.own).sum(0))
            slope *= share * (weight * temperature * per_row) / block.tempered_total
            found = _spread(block, known, slope, ce_weight * per_row)
            target = torch.full_like(block.total, -ce_weight * per_row)
            found.scatter_add_(0, rows.targets[index].unsqueeze(0), target.unsqueeze(0))
            gradients.add(block, found)
    ce, apart = nats * per_row, apart * per_row
    value = ce_weight * ce + weight * temperature**2 * apart
    return RowLoss(with_gradients(value, rows.tensors(), gradients.result()), ce, apart)


@dataclass(frozen=True, eq=False)
class _Known:
    """The teacher's tokens in a block, and the tail, as classes: `[K + 1, block]`."""

    ids: Tensor
    of_ids: Tensor
    own: Tensor
    peer: Tensor

    @classmethod
    def of(cls, block: Block, teacher: TopK, index: Tensor) -> "_Known":
        ids = teacher.ids[index].t()
        is_one = ids >= 0
        ids = ids.clamp_min(0)
        of_ids = block.tempered.gather(0, ids) * is_one
        own = of_ids / block.tempered_total
        peer = teacher.probabilities[index].t().to(own.dtype) * is_one
        return cls(ids, of_ids, _with_tail(own), _with_tail(peer))


def _with_tail(probabilities: Tensor) -> Tensor:
    tail = (1 - probabilities.sum(0, keepdim=True)).clamp_min(0.0)
    return torch.cat([probabilities, tail])


def _spread(block: Block, known: _Known, of_classes: Tensor, per_row: float) -> Tensor:
    """of_classes * tempered exponentials + per_row * softmax, `[vocabulary, block]`."""
    tail = of_classes[-1]
    at_ids = known.of_ids * (of_classes[:-1] - tail)
    if block.tempered is block.exps:
        gradient = block.exps.mul_(tail + per_row / block.total)
    else:
        gradient = block.tempered.mul_(tail)
        gradient.addcmul_(block.exps, (per_row / block.total).unsqueeze(0))
    return gradient.scatter_add_(0, known.ids, at_ids)


def _blocks(rows: Rows, width: int) -> list[Tensor]:
    return list(in_blocks(torch.arange(len(rows), device=rows.device), width))


def _sum_dtype(rows: Rows) -> torch.dtype:
    return torch.promote_types(rows.inputs[0].dtype, torch.float32)
