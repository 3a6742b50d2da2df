"""SAML: two models, two tokenizers, one text (docs/paper.md, "SAML").

    L_A = CE_A + lambda * tau^2 * KL(sg(Q) || P)      and L_B mirrored,

from one forward of each model and one backward for both. P and Q are the models' distributions
over common classes at the first row of each common chunk.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coplms.alignment.classes import ClassMap
from coplms.alignment.places import align
from coplms.config.method import SamlConfig
from coplms.losses import Divergence, class_probabilities, divergence, token_nll, with_event
from coplms.training.batches import Batch, collate
from coplms.training.encoding import EncodedExample
from coplms.training.learner import Learner, row_logits
from coplms.training.loop import StepLoss


@dataclass(frozen=True)
class Exchange:
    """How strongly two models learn from each other, and where.

    Attributes:
        weight: lambda of this step, after the ramp.
        temperature: tau.
        divergence: Seen from the learner.
        gate: Learn everywhere, or where the peer has fewer nats over the same bytes.
        chunk_event: Whether a chunk is an outcome of its own.
    """

    weight: float
    temperature: float = 1.0
    divergence: Divergence = "forward_kl"
    gate: str = "sample"
    chunk_event: bool = False


def exchange_of(config: SamlConfig, progress: float) -> Exchange:
    """The exchange at `progress` (0 to 1) of all planned steps: lambda rises over the ramp."""
    ramp = config.ramp_fraction
    rise = 1.0 if ramp == 0 else min(1.0, progress / ramp)
    return Exchange(
        weight=config.weight * rise,
        temperature=config.temperature,
        divergence=config.divergence,
        gate=config.gate,
        chunk_event=config.chunk_event,
    )


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
        left_kl: Mean nats per chunk where the gate is open, shut ones counting 0.
        right_kl: Likewise.
        left_open: Part of the chunks where the left side learns from the right.
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
    left: Side, right: Side, samples: Tensor, num_classes: int, exchange: Exchange
) -> MutualLoss:
    """The two losses of one batch; swapping the sides swaps them.

    Args:
        left: One model's predictions.
        right: The other's, of the same texts.
        samples: The text that each chunk belongs to, `[chunks]`.
        num_classes: Number of common classes.
        exchange: lambda, tau, divergence, gate.
    """
    left_nll = token_nll(left.logits, left.targets)
    right_nll = token_nll(right.logits, right.targets)
    left_ce, right_ce = left_nll.mean(), right_nll.mean()
    if len(samples) == 0 or exchange.weight == 0:
        zero = left_ce.detach() * 0
        return MutualLoss(left_ce, right_ce, left_ce, right_ce, zero, zero, zero, zero)
    is_chunk = (left.count > 1) | (right.count > 1)
    p = _outcomes(left, left_nll, num_classes, is_chunk, exchange)
    q = _outcomes(right, right_nll, num_classes, is_chunk, exchange)
    left_cost, right_cost = _chunk_sums(left_nll, left), _chunk_sums(right_nll, right)
    if exchange.gate == "sample":
        left_cost, right_cost = _sample_sums(left_cost, samples), _sample_sums(right_cost, samples)
    ungated = exchange.gate == "none"
    left_open = torch.ones_like(left_cost) if ungated else (right_cost < left_cost).to(p.dtype)
    right_open = torch.ones_like(left_cost) if ungated else (left_cost < right_cost).to(p.dtype)
    left_kl = (left_open * divergence(p, q, exchange.divergence)).mean()
    right_kl = (right_open * divergence(q, p, exchange.divergence)).mean()
    scale = exchange.weight * exchange.temperature**2
    return MutualLoss(
        left=left_ce + scale * left_kl,
        right=right_ce + scale * right_kl,
        left_ce=left_ce,
        right_ce=right_ce,
        left_kl=left_kl,
        right_kl=right_kl,
        left_open=left_open.mean(),
        right_open=right_open.mean(),
    )


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
    return with_event(p, first_class, -_sums(nll, side.first, side.count), is_chunk)


def _sums(values: Tensor, first: Tensor, count: Tensor) -> Tensor:
    """Sum of every chunk's rows; in float64, so that it does not depend on the rows before."""
    total = torch.cat([values.new_zeros(1), values.cumsum(0, dtype=torch.float64)])
    return (total[first + count] - total[first]).to(values.dtype)


@torch.no_grad()
def _chunk_sums(nll: Tensor, side: Side) -> Tensor:
    return _sums(nll, side.first, side.count)


def _sample_sums(chunk_values: Tensor, samples: Tensor) -> Tensor:
    """For every chunk the sum over its sample's chunks, without waiting for the device."""
    number = torch.zeros_like(samples)
    number[1:] = (samples[1:] != samples[:-1]).cumsum(0)
    return torch.zeros_like(chunk_values).index_add(0, number, chunk_values)[number]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Two learners and their common classes, ready for batches.

    Attributes:
        left: One learner; either may be the larger.
        right: The other.
        left_classes: Class of each of the left's tokens, on its device.
        right_classes: Likewise.
        num_classes: Number of common classes.
        left_foreign: Tokens of classes that the right has no token of (`Side.foreign`).
        right_foreign: Likewise.
    """

    left: Learner
    right: Learner
    left_classes: Tensor
    right_classes: Tensor
    num_classes: int
    left_foreign: Tensor | None = None
    right_foreign: Tensor | None = None


def pair(left: Learner, right: Learner, class_map: ClassMap) -> Pairing:
    """The two learners with their class map on the models' devices."""
    device = left.model.device
    return Pairing(
        left,
        right,
        torch.from_numpy(class_map.left).to(device),
        torch.from_numpy(class_map.right).to(device),
        class_map.num_classes,
        _foreign(class_map.left, class_map.right, device),
        _foreign(class_map.right, class_map.left, device),
    )


def _foreign(
    own: NDArray[np.int64], peer: NDArray[np.int64], device: torch.device
) -> Tensor | None:
    foreign = ~np.isin(own, peer)
    return torch.from_numpy(foreign).to(device) if foreign.any() else None


def mutual_step(
    pairing: Pairing,
    examples: tuple[Sequence[EncodedExample], Sequence[EncodedExample]],
    exchange: Exchange,
    learns: tuple[bool, bool] = (True, True),
) -> StepLoss:
    """The loss of one batch for both models; a side that does not learn saves no graph.

    Args:
        pairing: The two models.
        examples: The same texts in the left's and in the right's tokens.
        exchange: lambda, tau, divergence, gate of this step.
        learns: Which sides get a loss; at least one.
    """
    device = pairing.left.model.device
    left = collate(examples[0], pairing.left.pad, device)
    right = collate(examples[1], pairing.right.pad, device)
    chunks = align(left.ends, left.samples, right.ends, right.samples)
    left_side = Side(
        _logits(pairing.left, left, learns[0]),
        left.targets,
        pairing.left_classes,
        torch.from_numpy(chunks.left_first).to(device),
        torch.from_numpy(chunks.left_count).to(device),
        pairing.left_foreign,
    )
    right_side = Side(
        _logits(pairing.right, right, learns[1]),
        right.targets,
        pairing.right_classes,
        torch.from_numpy(chunks.right_first).to(device),
        torch.from_numpy(chunks.right_count).to(device),
        pairing.right_foreign,
    )
    samples = torch.from_numpy(chunks.sample).to(device)
    loss = mutual_loss(left_side, right_side, samples, pairing.num_classes, exchange)
    losses = (loss.left, loss.right)
    total = torch.stack([value for value, on in zip(losses, learns, strict=True) if on]).sum()
    return StepLoss(total, _metrics(loss), left.input_ids.numel() + right.input_ids.numel())


def _logits(learner: Learner, batch: Batch, learns: bool) -> Tensor:
    with nullcontext() if learns else torch.no_grad():
        return row_logits(learner.model, batch)


def _metrics(loss: MutualLoss) -> dict[str, Tensor]:
    names = ("left_ce", "right_ce", "left_kl", "right_kl", "left_open", "right_open")
    metrics = {name: getattr(loss, name).detach() for name in names}
    return {"loss": (loss.left_ce + loss.right_ce).detach(), **metrics}
