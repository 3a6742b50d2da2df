"""Two learners and what their tokens have in common."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coplms.alignment.classes import ClassMap
from coplms.losses.fold import Fold
from coplms.training.learner import Learner
from coplms.training.pair_encoding import PairEncoder


@dataclass(frozen=True, eq=False)
class Seat:
    """One learner of a pair.

    Attributes:
        learner: The model.
        classes: Class of each of its tokens, on its device, `[vocabulary]`.
        fold: The same for fused losses; None where the two vocabularies are one, and each token is
            a class of its own.
        foreign: True for tokens of classes that the other has no token of, `[vocabulary]`; None
            where there is no such class.
    """

    learner: Learner
    classes: Tensor
    fold: Fold | None
    foreign: Tensor | None


@dataclass(frozen=True, eq=False)
class Pairing:
    """Two learners and their common classes, ready for batches.

    Attributes:
        num_classes: Number of common classes.
        seats: Left and right with their classes.
        encoder: Examples in both models' tokens.
    """

    num_classes: int
    seats: tuple[Seat, Seat]
    encoder: PairEncoder

    @property
    def left(self) -> Learner:
        """One learner; either may be the larger."""
        return self.seats[0].learner

    @property
    def right(self) -> Learner:
        """The other; may be on another device."""
        return self.seats[1].learner

    @property
    def is_fused(self) -> bool:
        """Whether both models' heads let their losses be computed block by block."""
        return self.left.head is not None and self.right.head is not None


def pair(left: Learner, right: Learner, class_map: ClassMap) -> Pairing:
    """The two learners with their class map on the models' devices."""
    maps = (class_map.left, class_map.right)
    is_one = class_map.left.shape == class_map.right.shape and bool(
        np.array_equal(*maps) and np.bincount(maps[0]).max() == 1
    )
    foreign = (_foreign(*maps), _foreign(maps[1], maps[0]))
    left_out = class_map.other_class if any(mask is not None for mask in foreign) else None
    seats = []
    for learner, own, mask in zip((left, right), maps, foreign, strict=True):
        device = learner.model.device
        classes = torch.from_numpy(own).to(device)
        fold = None if is_one else Fold.of(classes, class_map.num_classes, left_out)
        on_device = None if mask is None else torch.from_numpy(mask).to(device)
        seats.append(Seat(learner, classes, fold, on_device))
    encoder = PairEncoder(left.encoder, right.encoder)
    return Pairing(class_map.num_classes, (seats[0], seats[1]), encoder)


def _foreign(own: NDArray[np.int64], peer: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    foreign = ~np.isin(own, peer)
    return foreign if foreign.any() else None
