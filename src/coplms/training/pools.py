"""What a phase trains on: pools of examples, and how much of each batch comes from which."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coplms.data.example import Example
from coplms.training.batches import batch_indices
from coplms.training.encoding import EncodedExample
from coplms.training.learner import Learner


@dataclass(frozen=True)
class Pool:
    """Examples that are drawn from together.

    Attributes:
        examples: At least one.
        count: Examples of each batch that come from here.
    """

    examples: Sequence[Example]
    count: int


def draw(
    learners: Sequence[Learner], pools: Sequence[Pool], steps: int, seed: int, pieces: int
) -> Iterator[list[tuple[list[list[EncodedExample]], float]]]:
    """For each step the pieces of its batch, in every learner's tokens, with their weights.

    Args:
        learners: Who reads the batch; the first one's lengths decide the buckets.
        pools: Where the batch comes from; those with a count of 0 are left out.
        steps: Number of batches.
        seed: Decides the order.
        pieces: Parts that a batch is divided into.

    Yields:
        Pieces `(encoded[learner][example], weight)`: the weight is the piece's share of the
        batch's answer tokens for the first learner, so that the pieces' mean losses add up to
        the batch's.
    """
    used = [pool for pool in pools if pool.count]
    encoded = [[learner.encoder(pool.examples) for pool in used] for learner in learners]
    lengths = [[len(example) for example in pool] for pool in encoded[0]]
    counts = [pool.count for pool in used]
    for batch in batch_indices(lengths, counts, steps, seed):
        total = sum(len(encoded[0][pool][index].answer) for pool, index in batch)
        size = -(-len(batch) // pieces)
        step = []
        for start in range(0, len(batch), size):
            chosen = batch[start : start + size]
            views = [[view[pool][index] for pool, index in chosen] for view in encoded]
            step.append((views, sum(len(example.answer) for example in views[0]) / total))
        yield step
