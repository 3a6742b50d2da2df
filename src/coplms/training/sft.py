"""Supervised fine-tuning: cross-entropy on answers, for DST and for models alone."""

from collections.abc import Sequence

import torch

from coplms.losses.rows import token_nll
from coplms.training.batches import collate
from coplms.training.encoding import EncodedExample
from coplms.training.learner import Learner, row_logits
from coplms.training.loop import StepLoss


def sft_step(learner: Learner, examples: Sequence[EncodedExample]) -> StepLoss:
    """Mean nats per answer token of one batch."""
    batch = collate(examples, learner.pad, learner.model.device)
    loss = token_nll(row_logits(learner.model, batch), batch.targets).mean()
    return StepLoss(loss, {"loss": loss.detach()}, batch.input_ids.numel())


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
        nats += float(token_nll(row_logits(learner.model, batch), batch.targets).sum())
        num_bytes += sum(int(example.ends[-1]) for example in chosen)
    return nats / num_bytes
