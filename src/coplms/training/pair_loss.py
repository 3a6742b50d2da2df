"""The mutual losses of a pair on one batch, fused or plain."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coplms.losses.fused_mutual import fused_mutual_loss
from coplms.losses.fused_side import FusedSide
from coplms.losses.mutual import Exchange, MutualLoss, Side, Totals, mutual_loss
from coplms.losses.plan import BlockSizes, plan_groups
from coplms.training.batches import Batch, PairedBatch, on_device
from coplms.training.head import hidden_rows, row_logits
from coplms.training.pair import Pairing, Seat


def pair_loss(
    pairing: Pairing,
    batch: PairedBatch,
    exchange: Exchange,
    learns: tuple[bool, bool],
    totals: Totals | None = None,
) -> MutualLoss:
    """Forward passes of both models and their losses; a side that does not learn saves no graph.

    Args:
        pairing: The two models.
        batch: The same texts in the left's and in the right's tokens.
        exchange: lambda, tau, divergence, gate.
        learns: Which sides get a loss.
        totals: Of the whole step, where this is a piece of it.
    """
    chunks = batch.chunks
    places = ((chunks.left_first, chunks.left_count), (chunks.right_first, chunks.right_count))
    views = list(zip(pairing.seats, (batch.left, batch.right), places, learns, strict=True))
    samples = on_device(chunks.sample, pairing.left.model.device)
    if not pairing.is_fused or exchange.divergence == "uld":
        one, other = (_side(*view) for view in views)
        return mutual_loss(one, other, samples, pairing.num_classes, exchange, totals)
    vocab_size = pairing.seats[1].classes.numel()
    sizes = pairing.left.block_sizes(vocab_size, pairing.num_classes)
    groups = plan_groups(chunks.sample, exchange.gate, sizes)
    left, right = (_fused_side(*view, sizes) for view in views)
    with _without_autocast(left.rows.device, right.rows.device):
        return fused_mutual_loss(left, right, samples, groups, exchange, totals)


_Places = tuple[NDArray[np.int64], NDArray[np.int64]]


def _side(seat: Seat, batch: Batch, places: _Places, learns: bool) -> Side:
    device = seat.learner.model.device
    with nullcontext() if learns else torch.no_grad():
        logits = row_logits(seat.learner.model, batch)
    first, count = (on_device(place, device) for place in places)
    return Side(logits, batch.targets, seat.classes, first, count, seat.foreign)


def _fused_side(
    seat: Seat, batch: Batch, places: _Places, learns: bool, sizes: BlockSizes
) -> FusedSide:
    device, form = seat.learner.model.device, seat.learner.head
    assert form is not None
    with nullcontext() if learns else torch.no_grad():
        rows = hidden_rows(seat.learner.model, batch, form)
    first, count = (on_device(place, device) for place in places)
    return FusedSide(
        rows=rows,
        first=first,
        count=count,
        others=[on_device(part, device) for part in _others(len(rows), places[0], sizes.width)],
        fold=seat.fold,
        learns=learns,
    )


def _others(num_rows: int, first: NDArray[np.int64], width: int) -> Sequence[NDArray[np.int64]]:
    """The rows that begin no chunk, in blocks."""
    begins_none = np.ones(num_rows, dtype=bool)
    begins_none[first] = False
    others = np.flatnonzero(begins_none)
    return [others[at : at + width] for at in range(0, len(others), width)]


@contextmanager
def _without_autocast(*devices: torch.device) -> Iterator[None]:
    """Products are in the rows' own dtype, and sums are wide, without autocast's help."""
    with ExitStack() as stack:
        for kind in {device.type for device in devices}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def joint(loss: MutualLoss, learns: tuple[bool, bool]) -> Tensor:
    """The sum of the losses of the sides that learn: one backward pass serves both."""
    losses = [value for value, on in zip((loss.left, loss.right), learns, strict=True) if on]
    device = losses[0].device
    return torch.stack([value.to(device) for value in losses]).sum()
