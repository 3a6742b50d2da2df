"""Supervised fine-tuning: cross-entropy on answers, for DST and for models alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from coplms.losses.fused_rows import fused_cross_entropy
from coplms.losses.rows import token_nll
from coplms.training.batches import Batch, collate
from coplms.training.encoding import EncodedExample
from coplms.training.head import hidden_rows, row_logits
from coplms.training.learner import Learner
from coplms.training.loop import StepLoss


def sft_step(
    learner: Learner, examples: Sequence[EncodedExample], total_rows: int | None = None
) -> StepLoss:
    """Mean nats per answer token of one batch.

    Args:
        learner: The model.
        examples: The batch, in its tokens.
        total_rows: Answer tokens of the whole step, where this is a piece of it.
    """
    batch = collate(examples, learner.pad, learner.model.device)
    loss = _nats(learner, batch, total_rows or len(batch.targets))
    return StepLoss(
        loss,
        {"loss": loss.detach()},
        tokens=batch.tokens,
        answer_tokens=batch.answer_tokens,
        places=batch.places,
    )


def _nats(learner: Learner, batch: Batch, divisor: int) -> Tensor:
    """Sum of the answer tokens' nats over `divisor`."""
    if learner.head is None:
        return token_nll(row_logits(learner.model, batch), batch.targets).sum() / divisor
    rows = hidden_rows(learner.model, batch, learner.head)
    return fused_cross_entropy(rows, learner.block_sizes(0, 0).width, divisor)


@torch.no_grad()
def nats_per_byte(learner: Learner, examples: Sequence[EncodedExample], batch_size: int) -> float:
    """Cross-entropy of the answers in nats per byte: comparable between tokenizers.

    Args:
        learner: The model.
        examples: At least one, in its tokens.
        batch_size: Examples per forward pass.
    """
    order = sorted(range(len(examples)), key=lambda index: len(examples[index]))
    nats, num_bytes = 0.0, 0
    for start in range(0, len(order), batch_size):
        chosen = [examples[index] for index in order[start : start + batch_size]]
        batch = collate(chosen, learner.pad, learner.model.device)
        nats += float(_nats(learner, batch, 1))
        num_bytes += sum(int(example.ends[-1]) for example in chosen)
    return nats / num_bytes
