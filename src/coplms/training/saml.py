"""SAML: two models, two tokenizers, one text (docs/paper.md, "SAML").

    L_A = CE_A + lambda * tau^2 * KL(sg(Q) || P)      and L_B mirrored,

from one forward of each model and one backward for both. P and Q are the models' distributions
over common classes at the first row of each common chunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from coplms.config.method import SamlConfig
from coplms.losses.mutual import Exchange, MutualLoss, Totals
from coplms.training.batches import collate_pair
from coplms.training.loop import StepLoss
from coplms.training.pair import Pairing
from coplms.training.pair_encoding import PairedExample
from coplms.training.pair_loss import joint, pair_loss

_HEARD = {"both": (1.0, 1.0), "to_proxy": (1.0, 0.0), "to_own": (0.0, 1.0)}
"""What the left side, a DPM, and the right side take in from the other."""


@dataclass(frozen=True)
class Standing:
    """How well a model of a pair knows its text, and what it is worth.

    Attributes:
        passes: How often it has seen the text that it learns from.
        cost: Nats per byte on text that it does not learn from.
    """

    passes: float
    cost: float


def exchange_of(
    config: SamlConfig, progress: float, left: Standing | None = None, right: Standing | None = None
) -> Exchange:
    """The exchange of a step.

    Args:
        config: What does not change.
        progress: Part of all planned steps that are done, 0 to 1: lambda rises over the ramp.
        left: How the left side stands; gates leak only where both are known.
        right: How the right side does.
    """
    ramp = config.ramp_fraction
    rise = 1.0 if ramp == 0 else min(1.0, progress / ramp)
    leaks = (0.0, 0.0)
    if left is not None and right is not None:
        leaks = (_leak(config, left, right), _leak(config, right, left))
    return Exchange(
        weight=config.weight * rise,
        temperature=config.temperature,
        divergence=config.divergence,
        gate=config.gate,
        chunk_event=config.chunk_event,
        leaks=leaks,
        heard=_HEARD[config.direction],
    )


def _leak(config: SamlConfig, own: Standing, peer: Standing) -> float:
    """What a shut gate lets through to a model (docs/paper.md, "Gate").

    >>> peers = [Standing(0.0, cost) for cost in (0.5, 1.0, 1.5, 3.0)]
    >>> [_leak(SamlConfig(fresh_passes=2.0), Standing(4.0, 1.0), peer) for peer in peers]
    [0.5, 0.5, 0.25, 0.0]
    """
    if own.passes <= config.fresh_passes:
        return 0.0
    known = 1.0 - config.fresh_passes / own.passes
    return known * min(1.0, max(0.0, 2.0 - peer.cost / own.cost))


def mutual_step(
    pairing: Pairing,
    examples: Sequence[PairedExample],
    exchange: Exchange,
    learns: tuple[bool, bool] = (True, True),
    totals: Totals | None = None,
) -> StepLoss:
    """The loss of one batch for both models; a side that does not learn saves no graph.

    Args:
        pairing: The two models.
        examples: The texts in both models' tokens (`Pairing.encoder`).
        exchange: lambda, tau, divergence, gate of this step.
        learns: Which sides get a loss; at least one.
        totals: Of the whole step, where this is a piece of it.
    """
    left, right = pairing.left, pairing.right
    devices = (left.model.device, right.model.device)
    batch = collate_pair(examples, (left.pad, right.pad), devices)
    loss = pair_loss(pairing, batch, exchange, learns, totals)
    return StepLoss(
        total=joint(loss, learns),
        metrics=_metrics(loss, learns),
        tokens=batch.left.tokens + batch.right.tokens,
        answer_tokens=batch.left.answer_tokens + batch.right.answer_tokens,
        places=batch.left.places + batch.right.places,
    )


def _metrics(loss: MutualLoss, learns: tuple[bool, bool]) -> dict[str, Tensor]:
    """What both sides cost, and what those that learn get from the other."""
    metrics = {"left_ce": loss.left_ce, "right_ce": loss.right_ce}
    for side, on in zip(("left", "right"), learns, strict=True):
        if on:
            metrics[f"{side}_kl"] = getattr(loss, f"{side}_kl")
            metrics[f"{side}_open"] = getattr(loss, f"{side}_open")
    total = loss.left_ce + loss.right_ce.to(loss.left_ce.device)
    return {"loss": total.detach(), **{name: value.detach() for name, value in metrics.items()}}
