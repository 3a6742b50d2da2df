"""One side of a fused mutual loss while the blocks of a batch go by.

With y one-hot, p the learner's softmax, P and Q the class probabilities of learner and peer:

    dL/dz_a = (p_a - y_a) / rows + (lambda tau / chunks) p_a (g_k(a) - sum_k P_k g_k),   g = dD/dP
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coplms.losses.block import Block, RowGradients, cross_entropy_gradient, predict
from coplms.losses.event import Event
from coplms.losses.fold import Fold
from coplms.losses.head import Rows
from coplms.losses.known import with_gradients
from coplms.losses.mutual import Exchange, Totals, chunk_sums
from coplms.losses.plan import Span
from coplms.losses.slopes import divergence_slope

_SMALLEST = 1e-10
"""Mass of the classes that count, as part of the likeliest token's, below which a chunk is left
out: a softmax may have put everything on a token that counts for nobody."""


@dataclass(frozen=True, eq=False)
class FusedSide:
    """One model's view of a batch.

    Attributes:
        rows: Predictions of its answer tokens, to be made.
        first: First row of every chunk, `[chunks]`.
        count: Rows of every chunk, `[chunks]`.
        others: Rows that begin no chunk, in blocks.
        fold: Classes of its tokens; None where both sides have the same tokens and each is a
            class of its own.
        learns: Whether it gets a loss.
    """

    rows: Rows
    first: Tensor
    count: Tensor
    others: Sequence[Tensor]
    fold: Fold | None = None
    learns: bool = True


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What a side thinks possible at the chunks of a span.

    Attributes:
        classes: Probabilities, `[classes, chunks]`.
        mass: What the tempered exponentials of the tokens that count sum to, `[chunks]`.
        is_known: 1 where that is enough to tell anything, else 0, `[chunks]`.
        event: The whole chunk, where it is an outcome of its own.
    """

    classes: Tensor
    mass: Tensor
    is_known: Tensor
    event: Event | None


class LearningSide:
    """Costs, gradients and sums of one side."""

    def __init__(
        self, side: FusedSide, exchange: Exchange, totals: Totals, is_chunk: Tensor | None
    ) -> None:
        """Start before the first block.

        Args:
            side: The side; what it calls rows is `totals.left_rows`.
            exchange: lambda, tau, divergence.
            totals: Of the whole step.
            is_chunk: Where the event has mass, `[chunks]`; None without events.
        """
        self.side = side
        self.exchange = exchange
        self.is_chunk = is_chunk
        self.gradients = RowGradients(side.rows, learns=side.learns and torch.is_grad_enabled())
        self.learns = self.gradients.needed
        self._per_row = 1 / totals.left_rows
        self._per_chunk = 1 / max(1, totals.chunks)
        dtype = torch.promote_types(side.rows.inputs[0].dtype, torch.float32)
        self.nll = torch.zeros(len(side.rows), dtype=dtype, device=side.rows.device)
        self.tempered_nll = torch.zeros_like(self.nll)
        self.rest = self.tempered_rest = self.nll.new_zeros(len(side.first))
        self._pull = torch.zeros_like(self.rest)
        self.divergence = self.opened = self.nll.new_zeros(())

    def predict(self, span: Span) -> Block:
        """The predictions of a span's chunks, whose costs are noted."""
        return self._predict(self.side.first[span.start : span.stop])

    def _predict(self, index: Tensor) -> Block:
        block = predict(self.side.rows, index, self.exchange.temperature)
        self.nll[index] = block.nll
        self.tempered_nll[index] = block.tempered_nll
        return block

    def costs(self, chunks: slice) -> Tensor:
        """Nats of every chunk."""
        return self.rest[chunks] + self.nll[self.side.first[chunks]]

    def pass_others(self) -> None:
        """Cross-entropy of the rows that begin no chunk, and what they add to chunks' costs."""
        for index in self.side.others:
            block = self._predict(index)
            if self.learns and self.is_chunk is None:
                self._add_cross_entropy(block)
        self.rest = chunk_sums(self.nll, self.side.first, self.side.count)
        if self.is_chunk is not None:
            first, count = self.side.first, self.side.count
            self.tempered_rest = chunk_sums(self.tempered_nll, first, count)

    def pass_events(self) -> None:
        """The same rows once more: events move every row of their chunk."""
        if not self.learns or self.is_chunk is None:
            return
        first, count = self.side.first, self.side.count
        steps = self.nll.new_zeros(len(self.nll) + 1, dtype=torch.float64)
        steps.index_add_(0, first, self._pull.double()).index_add_(
            0, first + count, -self._pull.double()
        )
        pull = steps.cumsum(0).to(self.nll.dtype)
        for index in self.side.others:
            self._add_cross_entropy(self._predict(index), pull[index])

    def _add_cross_entropy(self, block: Block, pull: Tensor | None = None) -> None:
        targets = self.side.rows.targets[block.index]
        gradient = cross_entropy_gradient(block, targets, self._per_row, pull)
        self.gradients.add(block, gradient)

    def outcomes(self, block: Block, span: Span) -> Outcomes:
        """Class probabilities at a span's chunks."""
        fold, mass = self.side.fold, block.tempered_total
        classes = block.tempered.clone() if fold is None else fold.sums(block.tempered)
        if fold is not None and fold.left_out is not None:
            classes[fold.left_out] = 0
            mass = classes.sum(0)
        is_known = (mass > _SMALLEST).to(mass.dtype)
        mass = mass.clamp_min(_SMALLEST)
        classes /= mass
        if self.is_chunk is None:
            return Outcomes(classes, mass, is_known, None)
        chunks = slice(span.start, span.stop)
        first = self.side.rows.targets[block.index]
        event = Event.taken_from(
            classes,
            first if fold is None else fold.classes[first],
            -(self.tempered_rest[chunks] + block.tempered_nll),
            self.is_chunk[chunks],
        )
        return Outcomes(classes, mass, is_known, event)

    def learn_alone(self, block: Block) -> None:
        """Cross-entropy of a span's chunks, where there is nothing to learn from the peer."""
        if self.learns:
            self._add_cross_entropy(block)

    def learn(
        self, block: Block, span: Span, own: Outcomes, peer: Outcomes, opened: Tensor
    ) -> None:
        """Cross-entropy and divergence of a span's chunks.

        Args:
            block: Predictions; their exponentials are overwritten.
            span: Which chunks.
            own: What this side thinks possible.
            peer: What the other does.
            opened: 1 where the gate is open, `[chunks]`.
        """
        kind, tau = self.exchange.divergence, self.exchange.temperature
        assert kind != "uld"  # which has no fused form
        opened = opened * own.is_known * peer.is_known.to(opened.device)
        value, slope = divergence_slope(own.classes, peer.classes.to(opened.device), kind)
        force = opened * (self.exchange.weight * tau * self._per_chunk)
        pull = torch.zeros_like(force)
        of_events = None
        if own.event is not None and peer.event is not None:
            event, of_peer = own.event.probability, peer.event.probability.to(opened.device)
            extra, of_event = divergence_slope(event.unsqueeze(0), of_peer.unsqueeze(0), kind)
            value = value + extra
            pull = -force * own.event.push(slope, of_event.squeeze(0))
            self._pull[span.start : span.stop] = pull
            of_events = event * slope.gather(0, own.event.first_class.unsqueeze(0)).squeeze(0)
        mean = (own.classes * slope).sum(0)
        slope.sub_(mean if of_events is None else mean + of_events).mul_(force / own.mass)
        self._add(block, slope, pull)
        self.divergence = self.divergence + (opened * value).sum() * self._per_chunk
        self.opened = self.opened + opened.sum() * self._per_chunk

    def _add(self, block: Block, of_classes: Tensor, pull: Tensor) -> None:
        """Take in (of_classes + pull) * tempered softmax + per_row * softmax - one-hot."""
        fold = self.side.fold
        if fold is not None and fold.left_out is not None:
            of_classes[fold.left_out] = 0
        if self.is_chunk is not None:
            of_classes += pull / block.tempered_total
        is_plain = block.tempered is block.exps
        if is_plain:
            of_classes += self._per_row / block.total
        gradient = of_classes if fold is None else fold.spread(of_classes)
        gradient *= block.tempered
        if not is_plain:
            gradient.addcmul_(block.exps, (self._per_row / block.total).unsqueeze(0))
        targets = self.side.rows.targets[block.index].unsqueeze(0)
        gradient.scatter_add_(0, targets, -(pull + self._per_row).unsqueeze(0))
        self.gradients.add(block, gradient)

    def cross_entropy(self) -> Tensor:
        """Nats per answer token."""
        return self.nll.sum() * self._per_row

    def loss(self) -> Tensor:
        """Cross-entropy and divergence, with the gradients of all that takes one."""
        scale = self.exchange.weight * self.exchange.temperature**2
        value = self.cross_entropy() + scale * self.divergence
        if not self.learns:
            return value
        return with_gradients(value, self.side.rows.tensors(), self.gradients.result())
