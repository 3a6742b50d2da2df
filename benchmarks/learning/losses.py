"""What a learner is taught by: one loss per method, all on the same two models and texts.

Everywhere the left side is the peer and the right one the learner; peers are not changed, but for
`ours` between two models that both learn.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coplms.config.method import SamlConfig
from coplms.losses.rows import token_nll
from coplms.training.batches import Batch, PairedBatch, collate_pair
from coplms.training.head import row_logits
from coplms.training.pair import Pairing
from coplms.training.pair_encoding import PairedExample
from coplms.training.saml import Standing, exchange_of, mutual_step
from coplms.training.sft import sft_step
from learning.gold import gold
from learning.scales import Done, Setting

Pairs = Sequence[PairedExample]
"""The same texts in the left's and in the right's tokens."""

_STRIDE = 2**20
"""Above the number of an answer's tokens."""

_LEAST = 1e-6
"""Log-chances stay below minus this, so that the chance of anything else is above 0."""


def cross_entropy(pairing: Pairing, pairs: Pairs, _: Setting, done: Done) -> Tensor:
    """Mean nats per answer token."""
    return sft_step(pairing.right, [pair.right for pair in pairs]).total


def two_cross_entropies(pairing: Pairing, pairs: Pairs, _: Setting, done: Done) -> Tensor:
    """Each model's own."""
    left = sft_step(pairing.left, [pair.left for pair in pairs]).total
    return left + sft_step(pairing.right, [pair.right for pair in pairs]).total


def ours(pairing: Pairing, pairs: Pairs, setting: Setting, done: Done) -> Tensor:
    """The learner's side of the mutual loss, the peer frozen."""
    return _mutual(pairing, pairs, setting, done, (False, True))


def both(pairing: Pairing, pairs: Pairs, setting: Setting, done: Done) -> Tensor:
    """The mutual loss of two models that learn from each other."""
    return _mutual(pairing, pairs, setting, done, (True, True))


def _mutual(
    pairing: Pairing, pairs: Pairs, setting: Setting, done: Done, learns: tuple[bool, bool]
) -> Tensor:
    config = SamlConfig.model_validate(
        {
            "weight": setting.weight,
            "ramp_fraction": setting.ramp,
            "temperature": setting.temperature or 1.0,
            "divergence": setting.divergence,
            "gate": setting.gate,
            "chunk_event": setting.chunk_event,
            "fresh_passes": setting.fresh_passes,
        }
    )
    # Peers here are of like strength, or better: what a far worse one may not teach is left out.
    standing = Standing(done.passes, cost=1.0)
    exchange = exchange_of(config, done.progress, standing, standing)
    return mutual_step(pairing, pairs, exchange, learns).total


# Peers -------------------------------------------------------------------------------------


def universal_logits(pairing: Pairing, pairs: Pairs, setting: Setting, done: Done) -> Tensor:
    """ULD (arXiv:2402.12030): distance of sorted probabilities.

    The k-th answer token of one model meets the k-th of the other, up to the shorter answer. Mean
    over the tokens that meet.
    """
    batch, peer, own = _predict(pairing, pairs)
    rows, peer_rows = _same_positions(batch.right, batch.left)
    distance = sorted_distance(own[rows], peer[peer_rows]).mean()
    return token_nll(own, batch.right.targets).mean() + setting.weight * distance


def sorted_distance(own: Tensor, peer: Tensor) -> Tensor:
    """L1 distance of the sorted probabilities, per row; zeros pad the smaller vocabulary."""
    p = own.softmax(dim=-1).sort(dim=-1, descending=True).values
    q = peer.softmax(dim=-1).sort(dim=-1, descending=True).values
    width = max(p.shape[1], q.shape[1])
    p, q = (torch.nn.functional.pad(each, (0, width - each.shape[1])) for each in (p, q))
    return (p - q).abs().sum(dim=-1)


def _same_positions(one: Batch, other: Batch) -> tuple[Tensor, Tensor]:
    """Rows of both whose tokens have the same number in the same answer."""
    places = [
        batch.samples * _STRIDE + np.arange(len(batch.samples)) - _starts(batch)
        for batch in (one, other)
    ]
    _, rows, other_rows = np.intersect1d(*places, assume_unique=True, return_indices=True)
    return torch.from_numpy(rows), torch.from_numpy(other_rows)


def _starts(batch: Batch) -> NDArray[np.int64]:
    """For every row the first row of its sample."""
    first: NDArray[np.int64] = np.searchsorted(batch.samples, batch.samples)
    return first


def chunk_likelihoods(pairing: Pairing, pairs: Pairs, setting: Setting, done: Done) -> Tensor:
    """ALM (arXiv:2503.20083, section 3): whole chunks as binary outcomes.

    A chunk's chance is the product over its tokens, to the power 1 / tau. The divergence is taken
    times tau, so that its size does not depend on tau. Without debiasing of chunks and without
    hidden states. Mean over the chunks.
    """
    tau = setting.temperature or 100.0
    batch, peer, own = _predict(pairing, pairs)
    chunks = batch.chunks
    nll, peer_nll = token_nll(own, batch.right.targets), token_nll(peer, batch.left.targets)
    p = chunk_log_chance(nll, chunks.right_first, chunks.right_count) / tau
    q = chunk_log_chance(peer_nll, chunks.left_first, chunks.left_count) / tau
    return nll.mean() + setting.weight * tau * binary_divergence(p, q).mean()


def chunk_log_chance(nll: Tensor, first: NDArray[np.int64], count: NDArray[np.int64]) -> Tensor:
    """Log-probability of every chunk's tokens in a row."""
    total = torch.cat([nll.new_zeros(1), nll.cumsum(0, dtype=torch.float64)])
    start = torch.from_numpy(first)
    return (total[start] - total[start + torch.from_numpy(count)]).to(nll.dtype)


def binary_divergence(own: Tensor, peer: Tensor) -> Tensor:
    """KL of "this chunk or anything else", peer first, from log-chances; in nats."""
    own, peer = own.clamp_max(-_LEAST), peer.clamp_max(-_LEAST)
    rest, own_rest = -torch.expm1(peer), -torch.expm1(own)
    return peer.exp() * (peer - own) + rest * (rest.log() - own_rest.log())


def _predict(pairing: Pairing, pairs: Pairs) -> tuple[PairedBatch, Tensor, Tensor]:
    """The batch, the peer's logits without a graph, and the learner's."""
    left, right = pairing.left, pairing.right
    batch = collate_pair(pairs, (left.pad, right.pad), (left.model.device, right.model.device))
    with torch.no_grad():
        peer = row_logits(left.model, batch.left).float()
    return batch, peer, row_logits(right.model, batch.right).float()


Loss = Callable[[Pairing, Pairs, Setting, Done], Tensor]
"""Takes the models, a batch, what the method is told, and how far the run is."""

LOSSES: dict[str, Loss] = {
    "ce": cross_entropy,
    "uld": universal_logits,
    "gold": gold,
    "alm": chunk_likelihoods,
    "ours": ours,
    "ce-both": two_cross_entropies,
    "ours-both": both,
}
