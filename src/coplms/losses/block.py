"""Predictions of a few rows at a time, and the gradients that they leave behind.

Everything is transposed: a block is `[vocabulary, rows]`. A token is then a contiguous run of
numbers, so sums over a class and copies to its tokens move whole runs instead of single numbers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from coplms.losses.head import Rows
from coplms.losses.rows import wide


@dataclass(eq=False)
class Block:
    """Softmax of some rows before it is divided by its sum.

    Attributes:
        index: Which rows, `[block]`.
        exps: exp(z - max z), `[vocabulary, block]`, float32 or wider.
        total: Their sum, `[block]`.
        nll: -log softmax of the targets, `[block]`.
        tempered: As `exps` of z / tau; the same tensor at tau = 1.
        tempered_total: Their sum.
        tempered_nll: As `nll` of z / tau.
        slope: d z / d (z before the cap), `[vocabulary, block]`; None without a cap.
    """

    index: Tensor
    exps: Tensor
    total: Tensor
    nll: Tensor
    tempered: Tensor
    tempered_total: Tensor
    tempered_nll: Tensor
    slope: Tensor | None


def predict(rows: Rows, index: Tensor, temperature: float = 1.0) -> Block:
    """The block of the rows `index`; without a graph."""
    with torch.no_grad():
        logits, slope = _logits(rows, index)
        targets = rows.targets[index].unsqueeze(0)
        exps = logits.sub_(logits.amax(0))
        of_target = exps.gather(0, targets).squeeze(0)
        tempered = exps if temperature == 1 else (exps / temperature).exp_()
        exps.exp_()
        total = exps.sum(0)
        nll = total.log() - of_target
        if temperature == 1:
            return Block(index, exps, total, nll, exps, total, nll, slope)
        tempered_total = tempered.sum(0)
        tempered_nll = tempered_total.log() - of_target / temperature
        return Block(index, exps, total, nll, tempered, tempered_total, tempered_nll, slope)


def _logits(rows: Rows, index: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits `[vocabulary, block]`, free to be overwritten, and the slope of the cap."""
    head = rows.head
    product = head.weights[0] @ rows.inputs[0][index].t()
    for weight, hidden in zip(head.weights[1:], rows.inputs[1:], strict=True):
        product.addmm_(weight, hidden[index].t())
    if head.bias is not None:
        product += head.bias.unsqueeze(1)
    if head.softcap is None:
        return wide(product), None
    squashed = wide(product.div_(head.softcap).tanh_())
    return squashed * head.softcap, 1 - squashed.square()


class RowGradients:
    """Gradients of one side's inputs, weights and bias, gathered block by block.

    Only what takes a gradient is computed. Sums over blocks are kept in float32 or wider.
    """

    def __init__(self, rows: Rows, *, learns: bool = True) -> None:
        self._rows = rows
        head = rows.head
        self._inputs = [
            torch.empty_like(x) if learns and x.requires_grad else None for x in rows.inputs
        ]
        self._weights = [_sum_of(w) if learns and w.requires_grad else None for w in head.weights]
        bias = head.bias
        self._bias = None if bias is None or not (learns and bias.requires_grad) else _sum_of(bias)

    @property
    def needed(self) -> bool:
        """Whether anything takes a gradient."""
        found = [*self._inputs, *self._weights, self._bias]
        return any(gradient is not None for gradient in found)

    def add(self, block: Block, of_logits: Tensor) -> None:
        """Take in d loss / d logits, `[vocabulary, block]`, of rows not seen before.

        `of_logits` is overwritten.
        """
        if block.slope is not None:
            of_logits.mul_(block.slope)
        rows = self._rows
        narrow = of_logits.to(rows.inputs[0].dtype)
        for number, (hidden, weight) in enumerate(zip(rows.inputs, rows.head.weights, strict=True)):
            of_input, of_weight = self._inputs[number], self._weights[number]
            if of_input is not None:
                of_input.index_copy_(0, block.index, narrow.t() @ weight.detach())
            if of_weight is not None:
                columns = hidden.detach()[block.index]
                if of_weight.dtype == narrow.dtype:
                    of_weight.addmm_(narrow, columns)
                else:
                    of_weight += narrow @ columns
        if self._bias is not None:
            self._bias += of_logits.sum(1)

    def result(self) -> list[Tensor | None]:
        """In the order of `Rows.tensors`; every row must have been added once."""
        head = self._rows.head
        found = [*self._inputs, *map(_in_dtype, self._weights, head.weights)]
        return found if head.bias is None else [*found, _in_dtype(self._bias, head.bias)]


def _sum_of(parameter: Tensor) -> Tensor:
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    return torch.zeros(parameter.shape, dtype=dtype, device=parameter.device)


def _in_dtype(gradient: Tensor | None, parameter: Tensor) -> Tensor | None:
    return None if gradient is None else gradient.to(parameter.dtype)


def cross_entropy_gradient(
    block: Block, targets: Tensor, per_row: float, pull: Tensor | None = None
) -> Tensor:
    """per_row (softmax - one-hot) + pull (tempered softmax - one-hot), `[vocabulary, block]`.

    Args:
        block: Predictions; `exps` is overwritten.
        targets: `[block]`.
        per_row: Weight of a row's nats.
        pull: Weight of a row's tempered nats times tau, `[block]`.
    """
    total = torch.full_like(block.total, per_row)
    gradient = block.exps
    if pull is None:
        gradient *= per_row / block.total
    elif block.tempered is block.exps:
        total += pull
        gradient *= total / block.total
    else:
        total += pull
        gradient *= per_row / block.total
        gradient.addcmul_(block.tempered, (pull / block.tempered_total).unsqueeze(0))
    return gradient.scatter_add_(0, targets.unsqueeze(0), -total.unsqueeze(0))
