"""Scalars whose gradients were computed together with them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def with_gradients(
    value: Tensor, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]
) -> Tensor:
    """`value` with a graph whose backward pass hands `gradients` to `tensors`.

    Args:
        value: Scalar without a graph.
        tensors: What it was computed from; those without gradient are left alone.
        gradients: d value / d tensor, of the same shape and device. They are scaled in place by
            the one backward pass that may follow; None where there is none.

    Raises:
        RuntimeError: In a second backward pass.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> with_gradients(x.detach().sum(), [x], [torch.ones(2)]).mul(3).backward()
    >>> x.grad
    tensor([3., 3.])
    """
    pairs = [
        (tensor, gradient)
        for tensor, gradient in zip(tensors, gradients, strict=True)
        if gradient is not None and tensor.requires_grad
    ]
    if not pairs:
        return value
    kept = [gradient for _, gradient in pairs]
    known: Tensor = _Known.apply(value, kept, *(tensor for tensor, _ in pairs))  # type: ignore[no-untyped-call]
    return known


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("this loss was differentiated before; its gradients are used up")
        gradients, ctx.gradients = ctx.gradients, None
        return (None, None, *(g.mul_(outer.to(g.device, g.dtype)) for g in gradients))
