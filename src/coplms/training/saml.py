"""SAML: two models, two tokenizers, one text (docs/paper.md, "SAML").

    L_A = CE_A + lambda * tau^2 * KL(sg(Q) || P)      and L_B mirrored,

from one forward of each model and one backward for both. P and Q are the models' distributions
over common classes at the first row of each common chunk.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
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
        learns: Whether this side gets a loss.
    """

    logits: Tensor
    targets: Tensor
    classes: Tensor
    first: Tensor
    count: Tensor
    learns: bool = True


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
    left_nll, right_nll = token_nll(left.logits, left.targets), token_nll(right.logits, right.targets)
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
    p = class_probabilities(
        side.logits[side.first], side.classes, num_classes, exchange.temperature
    )
    if not exchange.chunk_event:
        return p
    first_class = side.classes[side.targets[side.first]]
    if exchange.temperature != 1:
        nll = token_nll(side.logits / exchange.temperature, side.targets)
    return with_event(p, first_class, -_sums(nll, side.first, side.count), is_chunk)


def _sums(values: Tensor, first: Tensor, count: Tensor) -> Tensor:
    total = torch.cat([values.new_zeros(1), values.cumsum(0)])
    return total[first + count] - total[first]


@torch.no_grad()
def _chunk_sums(nll: Tensor, side: Side) -> Tensor:
    return _sums(nll, side.first, side.count)


def _sample_sums(chunk_values: Tensor, samples: Tensor) -> Tensor:
    sums = chunk_values.new_zeros(int(samples.max()) + 1).index_add(0, samples, chunk_values)
    return sums[samples]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Two learners and their common classes, ready for batches.

    Attributes:
        left: One learner; either may be the larger.
        right: The other.
        left_classes: Class of each of the left's tokens, on its device.
        right_classes: Likewise.
        num_classes: Number of common classes.
    """

    left: Learner
    right: Learner
    left_classes: Tensor
    right_classes: Tensor
    num_classes: int


def pair(left: Learner, right: Learner, class_map: ClassMap) -> Pairing:
    """The two learners with their class map on the models' devices."""
    return Pairing(
        left,
        right,
        torch.from_numpy(class_map.left).to(left.model.device),
        torch.from_numpy(class_map.right).to(left.model.device),
        class_map.num_classes,
    )


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
        learns: Which sides get a loss.
    """
    device = pairing.left.model.device
    left = collate(examples[0], pairing.left.pad, device)
    right = collate(examples[1], pairing.right.pad, device)
    chunks = align(left.ends, left.samples, right.ends, right.samples)
    sides = (
        _side(pairing.left, left, pairing.left_classes, chunks.left_first, chunks.left_count, learns[0]),
        _side(pairing.right, right, pairing.right_classes, chunks.right_first, chunks.right_count, learns[1]),
    )
    samples = torch.from_numpy(chunks.sample).to(device)
    loss = mutual_loss(*sides, samples, pairing.num_classes, exchange)
    total = sum((part for part, on in ((loss.left, learns[0]), (loss.right, learns[1])) if on), start=torch.zeros((), device=device))
    return StepLoss(total, _metrics(loss), left.input_ids.numel() + right.input_ids.numel())


def _side(learner: Learner, batch: Batch, classes: Tensor, first: object, count: object, learns: bool) -> Side:
    with nullcontext() if learns else torch.no_grad():
        logits = row_logits(learner.model, batch)
    device = logits.device
    return Side(
        logits,
        batch.targets,
        classes,
        torch.as_tensor(first, device=device),
        torch.as_tensor(count, device=device),
        learns,
    )


def _metrics(loss: MutualLoss) -> dict[str, Tensor]:
    names = ("left_ce", "right_ce", "left_kl", "right_kl", "left_open", "right_open")
    metrics = {name: getattr(loss, name).detach() for name in names}
    return {"loss": (loss.left_ce + loss.right_ce).detach(), **metrics}
