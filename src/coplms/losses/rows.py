"""Losses of rows of logits, the plain way: what autograd differentiates and tests compare with.

Everything is computed in float32, or in float64 where the logits are. Rows are predictions of
answer tokens; classes are the outcomes that two vocabularies have in common
(`coplms.alignment.classes`).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Divergence = Literal["forward_kl", "reverse_kl", "jsd"]

FLOOR = 1e-20
"""Added to every probability inside a logarithm; far below what a float32 softmax resolves."""


def wide(logits: Tensor) -> Tensor:
    """The logits in float32, or in float64 where they are."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    return wide(logits) if temperature == 1 else wide(logits) / temperature


def token_nll(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """Negative log-likelihood of every row's target, in nats.

    Args:
        logits: `[rows, vocabulary]`.
        targets: Token ids, `[rows]`.
        temperature: tau; above 0.

    Returns:
        `[rows]`, float32 or wider.

    Raises:
        ValueError: If `temperature` is not above 0.

    >>> token_nll(torch.zeros(1, 4), torch.tensor([2])).exp().item()
    4.0
    """
    tempered = _tempered(logits, temperature)
    return torch.nn.functional.cross_entropy(tempered, targets, reduction="none")


def probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Softmax over the last dimension, in float32 or wider.

    Args:
        logits: `[..., vocabulary]`.
        temperature: tau; above 0.

    Raises:
        ValueError: If `temperature` is not above 0.
    """
    return _tempered(logits, temperature).softmax(dim=-1)


def class_probabilities(
    logits: Tensor, classes: Tensor, num_classes: int, temperature: float = 1.0
) -> Tensor:
    """Probabilities of the common classes: each the sum over its tokens; mass is preserved.

    Args:
        logits: `[rows, vocabulary]`; columns of `-inf` have no part in the mass.
        classes: Class of every token, `[vocabulary]`.
        num_classes: Number of classes.
        temperature: tau; above 0.

    Returns:
        `[rows, num_classes]`, each row sums to 1.

    Raises:
        ValueError: If `temperature` is not above 0.

    >>> class_probabilities(torch.zeros(1, 4), torch.tensor([0, 1, 1, 1]), 2)
    tensor([[0.2500, 0.7500]])
    """
    of_tokens = probabilities(logits, temperature)
    return of_tokens.new_zeros(len(logits), num_classes).index_add(1, classes, of_tokens)


def divergence(own: Tensor, peer: Tensor, kind: Divergence = "forward_kl") -> Tensor:
    """How far the learner is from its peer, per row, in nats.

    Args:
        own: The learner's class probabilities, `[rows, classes]`; gets the gradient.
        peer: The peer's; detached here, not by the caller.
        kind: `forward_kl` is KL(peer || own), `reverse_kl` KL(own || peer), `jsd` the
            Jensen-Shannon divergence (both against their even mixture).

    Returns:
        `[rows]`, never negative beyond rounding.
    """
    peer = peer.detach()
    if kind == "forward_kl":
        return _kl(peer, own)
    if kind == "reverse_kl":
        return _kl(own, peer)
    mixture = (own + peer) / 2
    return (_kl(own, mixture) + _kl(peer, mixture)) / 2


def _kl(first: Tensor, second: Tensor) -> Tensor:
    return (first * ((first + FLOOR).log() - (second + FLOOR).log())).sum(dim=-1)


def with_event(
    classes: Tensor, first_class: Tensor, event_log_probability: Tensor, is_chunk: Tensor
) -> Tensor:
    """Class probabilities with the whole chunk as one more outcome (docs/paper.md, "Classes").

    The chunk's probability is taken out of its first token's class, which keeps at least 1e-6
    (or all that it has, where that is less); the total stays 1.

    Args:
        classes: `[chunks, classes]`.
        first_class: Class of each chunk's first token, `[chunks]`.
        event_log_probability: Sum of the log-probabilities of the chunk's tokens, `[chunks]`.
        is_chunk: True where the chunk is not one-to-one; elsewhere the event has no mass.

    Returns:
        `[chunks, classes + 1]`, each row sums to 1.
    """
    index = first_class.unsqueeze(1)
    available = classes.gather(1, index).squeeze(1)
    event = torch.minimum(event_log_probability.exp(), (available - 1e-6).clamp_min(0.0))
    event = torch.where(is_chunk, event, torch.zeros_like(event))
    rest = classes.scatter_add(1, index, -event.unsqueeze(1))
    return torch.cat([rest, event.unsqueeze(1)], dim=1)


@dataclass(frozen=True, eq=False)
class TopK:
    """What is known of a teacher: the K likeliest tokens of every row, in the learner's tokens.

    Attributes:
        ids: No token twice in a row; -1 where there are fewer, `[rows, K]`.
        probabilities: The teacher's, out of all its tokens, so that they sum to 1 or less.
        weights: What each row counts, such as 0 where there is nothing to learn, `[rows]`.
    """

    ids: Tensor
    probabilities: Tensor
    weights: Tensor


def top_k_probabilities(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Probabilities of some tokens of every row, and of all others together; never renormalised.

    Args:
        logits: `[rows, vocabulary]`.
        ids: Tokens, -1 for none, `[rows, K]`.
        temperature: tau; above 0.

    Returns:
        `[rows, K + 1]`, the tail last; each row sums to 1.

    >>> top_k_probabilities(torch.zeros(1, 4), torch.tensor([[2, -1]]))
    tensor([[0.2500, 0.0000, 0.7500]])
    """
    of_tokens = probabilities(logits, temperature)
    known = of_tokens.gather(1, ids.clamp_min(0)) * (ids >= 0)
    return torch.cat([known, (1 - known.sum(1, keepdim=True)).clamp_min(0.0)], dim=1)
