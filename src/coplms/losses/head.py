"""An output head as plain tensors, and the rows of hidden states that it turns into logits."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Head:
    """logits = cap * tanh(z / cap) of z = sum_i x_i W_i^T + b; without a cap z itself.

    More than one pair of x and W stands for a head that is a sum, as with LoRA on it: x_2 is then
    A x_1 and W_2 the scaled B.

    Attributes:
        weights: W_i, `[vocabulary, width_i]`.
        bias: b, `[vocabulary]`.
        softcap: Cap of the logits (Gemma 2, arXiv:2408.00118, section 2).
    """

    weights: tuple[Tensor, ...]
    bias: Tensor | None = None
    softcap: float | None = None

    @property
    def vocab_size(self) -> int:
        """Columns of the logits."""
        return len(self.weights[0])


@dataclass(frozen=True, eq=False)
class Rows:
    """Predictions of answer tokens, not yet made.

    Attributes:
        inputs: x_i, what each of the head's weights is multiplied with, `[rows, width_i]`.
        head: The output head.
        targets: The tokens to be predicted, `[rows]`.
    """

    inputs: tuple[Tensor, ...]
    head: Head
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.targets.device

    def tensors(self) -> list[Tensor]:
        """Everything that may take a gradient: inputs, weights, bias."""
        bias = [] if self.head.bias is None else [self.head.bias]
        return [*self.inputs, *self.head.weights, *bias]

    def logits(self) -> Tensor:
        """All logits at once, `[rows, vocabulary]`: what the fused losses never hold."""
        terms = [x @ w.T for x, w in zip(self.inputs, self.head.weights, strict=True)]
        total = torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]
        if self.head.bias is not None:
            total = total + self.head.bias
        cap = self.head.softcap
        return total if cap is None else cap * torch.tanh(total / cap)
