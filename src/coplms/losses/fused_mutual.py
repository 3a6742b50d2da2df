"""The mutual losses of two models block by block: logits of all rows never exist.

The same losses and gradients as `coplms.losses.mutual`. Rows that begin no chunk owe cross-entropy
alone and go first; then every block of chunks gets both models' predictions, class probabilities,
divergences, and the gradients of hidden states and heads, and is forgotten (docs/paper.md,
"Execution").
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from coplms.losses.block import Block
from coplms.losses.fused_side import FusedSide, LearningSide
from coplms.losses.mutual import Exchange, MutualLoss, Totals, open_gates
from coplms.losses.plan import Group, Span

_Sides = tuple[LearningSide, LearningSide]
_Blocks = tuple[Block, Block]


def fused_mutual_loss(
    left: FusedSide,
    right: FusedSide,
    samples: Tensor,
    groups: Sequence[Group],
    exchange: Exchange,
    totals: Totals | None = None,
) -> MutualLoss:
    """The two losses of one batch; swapping the sides swaps them.

    Args:
        left: One model's view.
        right: The other's, of the same texts; may be on another device.
        samples: The text that each chunk belongs to, `[chunks]`, on the left's device.
        groups: All chunks in blocks (`coplms.losses.plan.plan_groups`).
        exchange: lambda, tau, divergence, gate.
        totals: Of the whole step, where this is a piece of it.

    Returns:
        Losses whose backward pass only hands over what was computed here. Divergence and gate of a
        side that takes no gradient are 0.
    """
    totals = totals or Totals(len(left.rows), len(right.rows), len(samples))
    is_active = exchange.weight > 0 and len(samples) > 0
    is_chunk = None
    if is_active and exchange.chunk_event:
        is_chunk = (left.count > 1) | (right.count > 1).to(left.count.device)
    sides = (
        LearningSide(left, exchange, totals, is_chunk),
        LearningSide(
            right,
            exchange,
            totals.swapped,
            None if is_chunk is None else is_chunk.to(right.count.device),
        ),
    )
    with torch.no_grad():
        for side in sides:
            side.pass_others()
        for group in groups:
            _pass_group(sides, samples, group, exchange if is_active else None)
        for side in sides:
            side.pass_events()
    return _results(sides)


def _pass_group(sides: _Sides, samples: Tensor, group: Group, exchange: Exchange | None) -> None:
    """The costs of all chunks of a group, then the gates, then what each side learns."""
    held: list[_Blocks | None] = [None] * len(group.spans)
    if group.is_held or exchange is not None:
        for number, span in enumerate(group.spans):
            blocks = _predict(sides, span)
            held[number] = blocks if group.is_held else None
    start, stop = group.spans[0].start, group.spans[-1].stop
    gates = _gates(sides, samples, slice(start, stop), exchange) if exchange else None
    for number, span in enumerate(group.spans):
        blocks = held[number] or _predict(sides, span)
        held[number] = None
        if gates is None:
            for side, block in zip(sides, blocks, strict=True):
                side.learn_alone(block)
        else:
            part = slice(span.start - start, span.stop - start)
            _learn(sides, blocks, span, (gates[0][part], gates[1][part]))


def _predict(sides: _Sides, span: Span) -> _Blocks:
    return sides[0].predict(span), sides[1].predict(span)


def _gates(
    sides: _Sides, samples: Tensor, chunks: slice, exchange: Exchange
) -> tuple[Tensor, Tensor]:
    left, right = sides[0].costs(chunks), sides[1].costs(chunks)
    on_left, on_right = open_gates(left, right.to(left.device), samples[chunks], exchange)
    return on_left, on_right.to(right.device)


def _learn(sides: _Sides, blocks: _Blocks, span: Span, gates: tuple[Tensor, Tensor]) -> None:
    learning = [side.learns and not _is_shut(gate) for side, gate in zip(sides, gates, strict=True)]
    if any(learning):
        seen = [side.outcomes(block, span) for side, block in zip(sides, blocks, strict=True)]
    for own, peer in ((0, 1), (1, 0)):
        if learning[own]:
            sides[own].learn(blocks[own], span, seen[own], seen[peer], gates[own])
        else:
            sides[own].learn_alone(blocks[own])


def _is_shut(gate: Tensor) -> bool:
    """Whether no chunk's gate is open; asked only where asking does not wait for a device."""
    return gate.device.type == "cpu" and not gate.numpy().any()


def _results(sides: _Sides) -> MutualLoss:
    left, right = sides
    return MutualLoss(
        left=left.loss(),
        right=right.loss(),
        left_ce=left.cross_entropy(),
        right_ce=right.cross_entropy(),
        left_kl=left.divergence,
        right_kl=right.divergence,
        left_open=left.opened,
        right_open=right.opened,
    )
