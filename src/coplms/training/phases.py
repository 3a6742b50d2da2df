"""Whole phases of training: so many steps of one kind on some pools of text."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import ParamSpec

import torch

from coplms.config.method import DistillConfig, OptimizerConfig
from coplms.losses.mutual import Exchange
from coplms.models.language_model import LanguageModel
from coplms.training.distill import distill_step
from coplms.training.learner import Learner
from coplms.training.loop import Log, StepLoss, optimize, training
from coplms.training.part import Part
from coplms.training.pools import Pool, draw
from coplms.training.saml import Pairing, mutual_step
from coplms.training.sft import sft_step

P = ParamSpec("P")
Steps = Iterator[list[Callable[[], StepLoss]]]


@dataclass(frozen=True)
class Phase:
    """What a phase gets from the run.

    Attributes:
        seed: Decides the order of its batches.
        log: Takes its metrics while it runs.
    """

    seed: int
    log: Log


def tune(
    learner: Learner,
    part: Part,
    pools: Sequence[Pool],
    steps: int,
    optimizer: OptimizerConfig,
    phase: Phase,
) -> dict[str, float]:
    """Train one part by cross-entropy on answers; the model's other parts stay as they are."""

    def batches() -> Steps:
        for step in draw([learner], pools, steps, phase.seed, optimizer.accumulation):
            yield [
                partial(_weighted, weight, sft_step, learner, views[0]) for views, weight in step
            ]

    with training([part], list(learner.parts.values())), _training_mode(learner.model):
        return optimize([part], batches(), steps, phase.log)


def mutual_learn(
    pairing: Pairing,
    parts: tuple[Part | None, Part | None],
    pools: Sequence[Pool],
    steps: int,
    exchange_at: Callable[[], Exchange],
    optimizer: OptimizerConfig,
    phase: Phase,
) -> dict[str, float]:
    """Let two models learn from the same text and from each other.

    Args:
        pairing: The models.
        parts: What of each is trained; None leaves that side as it is, without a graph.
        pools: Where batches come from.
        steps: Optimiser steps, the same for both.
        exchange_at: The exchange of the coming step.
        optimizer: Accumulation.
        phase: Seed and log.
    """
    learns = (parts[0] is not None, parts[1] is not None)
    trained = [part for part in parts if part is not None]
    both = [pairing.left, pairing.right]
    frozen = [part for learner in both for part in learner.parts.values()]

    def batches() -> Steps:
        for step in draw(both, pools, steps, phase.seed, optimizer.accumulation):
            exchange = exchange_at()
            yield [
                partial(
                    _weighted, weight, mutual_step, pairing, (views[0], views[1]), exchange, learns
                )
                for views, weight in step
            ]

    with (
        training(trained, frozen),
        _training_mode(*(side.model for side, on in zip(both, learns, strict=True) if on)),
    ):
        return optimize(trained, batches(), steps, phase.log)


def distill(
    teacher: LanguageModel,
    student: LanguageModel,
    part: Part,
    blocks: torch.Tensor,
    config: DistillConfig,
    phase: Phase,
) -> dict[str, float]:
    """Train the whole DPM to predict as the LLM does, on full blocks of the server's text."""
    generator = torch.Generator().manual_seed(phase.seed)

    def batches() -> Steps:
        for _ in range(config.steps):
            chosen = torch.randint(len(blocks), (config.batch_size,), generator=generator)
            batch = blocks[chosen].to(student.device)
            yield [partial(distill_step, teacher, student, batch, config.temperature)]

    with training([part]), _training_mode(student):
        return optimize([part], batches(), config.steps, phase.log)


def _weighted(
    weight: float, step: Callable[P, StepLoss], *args: P.args, **kwargs: P.kwargs
) -> StepLoss:
    return replace(step(*args, **kwargs), weight=weight)


@contextmanager
def _training_mode(*models: LanguageModel) -> Iterator[None]:
    """Dropout on for these models while the block runs."""
    for model in models:
        model.network.train(True)
    try:
        yield
    finally:
        for model in models:
            model.network.train(False)
