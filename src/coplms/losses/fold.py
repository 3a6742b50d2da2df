"""Tokens -> common classes, for predictions that lie token by token in memory."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


@dataclass(frozen=True, eq=False)
class Fold:
    """The classes of one side's tokens, ready for sums.

    Attributes:
        classes: Class of every token, `[vocabulary]`.
        order: The tokens sorted by class, `[vocabulary]`.
        offsets: Where each class starts in `order`, `[classes]`.
        left_out: Last class that counts for nobody, because only one side has tokens of it
            (special tokens); None where every class counts.
    """

    classes: Tensor
    order: Tensor
    offsets: Tensor
    left_out: int | None = None

    @classmethod
    def of(cls, classes: Tensor, num_classes: int, left_out: int | None = None) -> "Fold":
        """The fold of a map from tokens to classes.

        >>> Fold.of(torch.tensor([1, 0, 1]), 2).sums(torch.tensor([[1.0], [2.0], [3.0]]))
        tensor([[2.],
                [4.]])
        """
        order = torch.argsort(classes, stable=True)
        numbers = torch.arange(num_classes, device=classes.device)
        return cls(classes, order, torch.searchsorted(classes[order], numbers), left_out)

    def sums(self, of_tokens: Tensor) -> Tensor:
        """`[vocabulary, rows]` -> `[classes, rows]`; sums of a class in one fixed order."""
        return embedding_bag(self.order, of_tokens, self.offsets, mode="sum")

    def spread(self, of_classes: Tensor) -> Tensor:
        """`[classes, rows]` -> `[vocabulary, rows]`: every token gets what its class has."""
        return of_classes.index_select(0, self.classes)
