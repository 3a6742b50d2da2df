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
from coplms.losses.mutual import Exchange, MutualLoss, Side, mutual_loss
from coplms.training.batches import Batch, collate
from coplms.training.encoding import EncodedExample
from coplms.training.learner import Learner, row_logits
from coplms.training.loop import StepLoss


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
