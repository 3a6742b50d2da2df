"""Every model tuned alone: what co-tuning is measured against."""

from collections.abc import Sequence

from coplms.config.method import OptimizerConfig
from coplms.consortium.members import OWN
from coplms.data.example import Example
from coplms.training.learner import Learner
from coplms.training.phases import Phase, tune
from coplms.training.pools import Pool


def tune_alone(
    learner: Learner,
    text: Sequence[Example],
    steps: int,
    optimizer: OptimizerConfig,
    phase: Phase,
) -> dict[str, float]:
    """Cross-entropy on all labelled text that the member may see, for as many steps as co-tuned.

    Args:
        learner: A fresh copy of the member's model.
        text: A device's private and the public examples; the server's public ones.
        steps: Optimiser steps.
        optimizer: Batches and AdamW, as in co-tuning.
        phase: Seed and log.
    """
    pools = [Pool(text, optimizer.batch_size)]
    return tune(learner, learner.parts[OWN], pools, steps, optimizer, phase)
