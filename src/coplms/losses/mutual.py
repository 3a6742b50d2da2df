"""The mutual losses of two models, the plain way: logits in, autograd does the rest.

    L_A = CE_A + lambda * tau^2 * D(sg(Q), P)      and L_B mirrored,

where P and Q are the models' distributions over common classes at the first row of each common
chunk (docs/paper.md, "SAML"). This is the reference for `coplms.losses.fused_mutual`, and what runs
where a model's output head is of an unknown form.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from coplms.losses.rows import (
    Divergence,
    class_probabilities,
    divergence,
    probabilities,
    token_nll,
    with_event,
)


@dataclass(frozen=True)
class Exchange:
    """How strongly two models learn from each other, and where.

    Attributes:
        weight: lambda of this step, after the ramp.
        temperature: tau.
        divergence: Seen from the learner.
        gate: Learn everywhere, or where the peer has fewer nats over the same bytes.
        chunk_event: Whether a chunk is an outcome of its own.
        leaks: What a shut gate lets through to the left and to the right side, 0 to 1.
        heard: What of that the left and the right side take in, 0 to 1: 0 where it only teaches.
    """

    weight: float
    temperature: float = 1.0
    divergence: Divergence | Literal["uld"] = "forward_kl"
    gate: str = "sample"
    chunk_event: bool = False
    leaks: tuple[float, float] = (0.0, 0.0)
    heard: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Totals:
    """What sums of losses are divided by: counts of a whole optimiser step.

    A step may come in pieces; each piece then adds its share, and the shares sum to the means.

    Attributes:
        left_rows: Answer tokens of the left side.
        right_rows: Of the right side.
        chunks: Common chunks.
    """

    left_rows: int
    right_rows: int
    chunks: int

    @property
    def swapped(self) -> "Totals":
        """As the other side sees them."""
        return Totals(self.right_rows, self.left_rows, self.chunks)


@dataclass(frozen=True, eq=False)
class Side:
    """One model's view of a batch: predictions of its answer tokens.

    Attributes:
        logits: `[rows, vocabulary]`.
        targets: `[rows]`.
        classes: Class of every token, `[vocabulary]`.
        first: First row of every chunk, `[chunks]`.
        count: Rows of every chunk, `[chunks]`.
        foreign: True for tokens of classes that the peer has no token of, `[vocabulary]`; None
            where there is no such class. The peer cannot say anything about them, so the divergence
            takes both distributions given that none of them comes next.
    """

    logits: Tensor
    targets: Tensor
    classes: Tensor
    first: Tensor
    count: Tensor
    foreign: Tensor | None = None


@dataclass(frozen=True, eq=False)
class MutualLoss:
    """Both losses and what they are made of; scalars.

    Attributes:
        left: CE + divergence of the left side.
        right: Of the right side.
        left_ce: Mean nats per answer token.
        right_ce: Mean nats per answer token.
        left_kl: Mean nats per chunk, each counting as far as its gate is open.
        right_kl: Likewise.
        left_open: How far the left side's gates are open, on average.
        right_open: Likewise.
    """

    left: Tensor
    right: Tensor
    left_ce: Tensor
    right_ce: Tensor
    left_kl: Tensor
    right_kl: Tensor
    left_open: Tensor
    right_open: Tensor


def mutual_loss(
    left: Side,
    right: Side,
    samples: Tensor,
    num_classes: int,
    exchange: Exchange,
    totals: Totals | None = None,
) -> MutualLoss:
    """The two losses of one batch; swapping the sides swaps them.

    Args:
        left: One model's predictions.
        right: The other's, of the same texts.
        samples: The text that each chunk belongs to, `[chunks]`.
        num_classes: Number of common classes.
        exchange: lambda, tau, divergence, gate.
        totals: Of the whole step, where this is a piece of it.
    """
    totals = totals or Totals(len(left.targets), len(right.targets), len(samples))
    left_nll = token_nll(left.logits, left.targets)
    right_nll = token_nll(right.logits, right.targets)
    left_ce, right_ce = left_nll.sum() / totals.left_rows, right_nll.sum() / totals.right_rows
    if len(samples) == 0 or exchange.weight == 0:
        zero = left_ce.detach() * 0
        return MutualLoss(left_ce, right_ce, left_ce, right_ce, zero, zero, zero, zero)
    is_chunk = (left.count > 1) | (right.count > 1)
    left_cost = chunk_sums(left_nll.detach(), left.first, left.count)
    right_cost = chunk_sums(right_nll.detach(), right.first, right.count)
    left_open, right_open = open_gates(left_cost, right_cost, samples, exchange)
    if exchange.divergence == "uld":
        width = max(left.logits.shape[1], right.logits.shape[1])
        p, q = (_ranked(side, width, exchange.temperature) for side in (left, right))
        to_left, to_right = (p - q.detach()).abs().sum(1), (q - p.detach()).abs().sum(1)
    else:
        p = _outcomes(left, left_nll, num_classes, is_chunk, exchange)
        q = _outcomes(right, right_nll, num_classes, is_chunk, exchange)
        kind = exchange.divergence
        to_left, to_right = divergence(p, q, kind), divergence(q, p, kind)
    left_kl = (left_open * to_left).sum() / totals.chunks
    right_kl = (right_open * to_right).sum() / totals.chunks
    scale = exchange.weight * exchange.temperature**2
    return MutualLoss(
        left=left_ce + scale * left_kl,
        right=right_ce + scale * right_kl,
        left_ce=left_ce,
        right_ce=right_ce,
        left_kl=left_kl,
        right_kl=right_kl,
        left_open=left_open.sum() / totals.chunks,
        right_open=right_open.sum() / totals.chunks,
    )


def open_gates(
    left_cost: Tensor, right_cost: Tensor, samples: Tensor, exchange: Exchange
) -> tuple[Tensor, Tensor]:
    """How far the left (the right) side learns from the other, for every chunk: 1, or its leak.

    Args:
        left_cost: Nats that every chunk costs the left side, `[chunks]`.
        right_cost: Likewise.
        samples: The text of every chunk, `[chunks]`; whole texts only.
        exchange: The gate and its leaks. Equally good models leave a gate shut.

    >>> chunk_gate = Exchange(1.0, gate="chunk", leaks=(0.0, 0.5))
    >>> open_gates(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 3.0]), torch.zeros(2), chunk_gate)
    (tensor([0., 1.]), tensor([1.0000, 0.5000]))
    """
    to_left, to_right = exchange.heard
    if exchange.gate == "none":
        return torch.full_like(left_cost, to_left), torch.full_like(left_cost, to_right)
    if exchange.gate == "sample":
        left_cost, right_cost = _sample_sums(left_cost, samples), _sample_sums(right_cost, samples)
    dtype = left_cost.dtype
    left, right = (right_cost < left_cost).to(dtype), (left_cost < right_cost).to(dtype)
    leaks = exchange.leaks
    return to_left * left.clamp_min(leaks[0]), to_right * right.clamp_min(leaks[1])


def chunk_sums(values: Tensor, first: Tensor, count: Tensor) -> Tensor:
    """Sum of every chunk's rows; in float64, so that it does not depend on the rows before."""
    total = torch.cat([values.new_zeros(1), values.cumsum(0, dtype=torch.float64)])
    return (total[first + count] - total[first]).to(values.dtype)


def _ranked(side: Side, width: int, temperature: float) -> Tensor:
    """Probabilities of tokens, falling, at every chunk, filled with zeros: `[chunks, width]`.

    What ULD compares (arXiv:2402.12030, eq. 4): whatever a token is, only its rank counts.
    """
    ranked = probabilities(side.logits[side.first], temperature).sort(1, descending=True).values
    return torch.nn.functional.pad(ranked, (0, width - ranked.shape[1]))


def _outcomes(
    side: Side, nll: Tensor, num_classes: int, is_chunk: Tensor, exchange: Exchange
) -> Tensor:
    logits = side.logits[side.first]
    if side.foreign is not None:
        logits = logits.masked_fill(side.foreign, -torch.inf)
    p = class_probabilities(logits, side.classes, num_classes, exchange.temperature)
    if not exchange.chunk_event:
        return p
    first_class = side.classes[side.targets[side.first]]
    if exchange.temperature != 1:
        nll = token_nll(side.logits, side.targets, exchange.temperature)
    return with_event(p, first_class, -chunk_sums(nll, side.first, side.count), is_chunk)


def _sample_sums(chunk_values: Tensor, samples: Tensor) -> Tensor:
    """For every chunk the sum over its sample's chunks, without waiting for the device."""
    number = torch.zeros_like(samples, dtype=torch.long)
    number[1:] = (samples[1:] != samples[:-1]).cumsum(0)
    return torch.zeros_like(chunk_values).index_add(0, number, chunk_values)[number]
