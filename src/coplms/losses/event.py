"""The whole chunk as an outcome of its own, in blocks `[classes, chunks]`."""

from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST = 1e-6
"""What the first token's class keeps of its probability."""


@dataclass(frozen=True, eq=False)
class Event:
    """One more outcome of every chunk; `coplms.losses.rows.with_event` is the plain way.

    Attributes:
        probability: Of the chunk, 0 where it is one token on both sides, `[chunks]`.
        first_class: Class of its first token, `[chunks]`.
        is_cut: Where the class had no more than this to give: its probability then moves the
            event, and not the chunk's tokens.
    """

    probability: Tensor
    first_class: Tensor
    is_cut: Tensor

    @classmethod
    def taken_from(
        cls, classes: Tensor, first_class: Tensor, log_probability: Tensor, is_chunk: Tensor
    ) -> "Event":
        """Takes the events out of `classes`, `[classes, chunks]`, in place.

        Args:
            classes: Class probabilities.
            first_class: Class of each chunk's first token.
            log_probability: Sum of the log-probabilities of the chunk's tokens.
            is_chunk: Where the event has mass.
        """
        index = first_class.unsqueeze(0)
        room = (classes.gather(0, index).squeeze(0) - _LEAST).clamp_min(0.0)
        whole = log_probability.exp()
        probability = torch.where(is_chunk, torch.minimum(whole, room), torch.zeros_like(room))
        classes.scatter_add_(0, index, -probability.unsqueeze(0))
        return cls(probability, first_class, is_chunk & (whole > room) & (room > 0))

    def push(self, of_classes: Tensor, of_event: Tensor) -> Tensor:
        """Derivative by the log-probability of the chunk's tokens, `[chunks]`.

        Args:
            of_classes: Derivative by the class probabilities that are left, `[classes, chunks]`;
                becomes, in place, the derivative by those before the events were taken out.
            of_event: Derivative by the events' probabilities, `[chunks]`.
        """
        index = self.first_class.unsqueeze(0)
        of_first = of_classes.gather(0, index).squeeze(0)
        of_classes.scatter_(0, index, torch.where(self.is_cut, of_event, of_first).unsqueeze(0))
        push = (of_event - of_first) * self.probability
        return torch.where(self.is_cut, torch.zeros_like(push), push)
