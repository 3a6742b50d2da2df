"""Divergences of class probabilities with their derivatives, for blocks `[classes, rows]`."""

from torch import Tensor

from coplms.losses.rows import FLOOR, Divergence


def divergence_slope(own: Tensor, peer: Tensor, kind: Divergence) -> tuple[Tensor, Tensor]:
    """The divergence of every row, and its derivative by the learner's probabilities.

    The derivative is right up to a constant of each row, which the softmax takes out again, and
    up to the floor of the logarithm.

    Args:
        own: The learner's probabilities P, `[classes, rows]`.
        peer: The peer's probabilities Q.
        kind: As for `coplms.losses.rows.divergence`.

    Returns:
        Nats `[rows]`, and d / dP `[classes, rows]`.
    """
    if kind == "forward_kl":  # sum Q log(Q / P); d/dP = -Q / P
        ratio = (peer + FLOOR).div_(own + FLOOR)
        value = ratio.log().mul_(peer).sum(0)
        return value, ratio.neg_()
    if kind == "reverse_kl":  # sum P log(P / Q); d/dP = log(P / Q) + 1
        ratio = (own + FLOOR).div_(peer + FLOOR).log_()
        return (ratio * own).sum(0), ratio
    middle = (own + peer).div_(2).add_(FLOOR)  # d/dP = log(P / M) / 2
    of_peer = (peer + FLOOR).div_(middle).log_().mul_(peer).sum(0)
    ratio = (own + FLOOR).div_(middle).log_()
    return ((ratio * own).sum(0) + of_peer) / 2, ratio.div_(2)
