"""Whole phases of training: so many steps of one kind on some pools of text."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch

from coplms.config.method import DistillConfig, OptimizerConfig
from coplms.data.example import Example
from coplms.losses.mutual import Exchange
from coplms.training.distill import distill_step
from coplms.training.learner import Learner
from coplms.training.loop import Log, StepLoss, optimize, training
from coplms.training.mode import in_step_mode, training_mode
from coplms.training.pair import Pairing
from coplms.training.pair_encoding import totals_of
from coplms.training.part import Part
from coplms.training.pools import Pool, draw
from coplms.training.saml import mutual_step
from coplms.training.sft import sft_step
from coplms.training.soft_targets import Lesson, lesson_step

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
        for step in draw(learner.encoder, pools, steps, phase.seed, optimizer.accumulation):
            rows = sum(len(example.answer) for piece in step for example in piece)
            yield [
                in_step_mode([learner], partial(sft_step, learner, piece, rows)) for piece in step
            ]

    with training([part], list(learner.parts.values())), training_mode([learner], [learner]):
        return optimize([part], batches(), steps, phase.log)


def learn_lessons(
    learner: Learner,
    part: Part,
    text: Sequence[Example],
    lessons: Sequence[Lesson],
    weight: float,
    steps: int,
    optimizer: OptimizerConfig,
    phase: Phase,
) -> dict[str, float]:
    """Train one part on a text and on what a teacher said of it.

    Args:
        learner: The model.
        part: What of it is trained.
        text: At least one example.
        lessons: Of each example of the text, in its order.
        weight: Of cross-entropy; the rest is the teacher's.
        steps: Optimiser steps.
        optimizer: Batch and accumulation.
        phase: Seed and log.
    """
    pools = [Pool(text, optimizer.batch_size)]

    def batches() -> Steps:
        for step in draw(lambda _: lessons, pools, steps, phase.seed, optimizer.accumulation):
            rows = sum(len(lesson.example.answer) for piece in step for lesson in piece)
            yield [
                in_step_mode([learner], partial(lesson_step, learner, piece, weight, rows))
                for piece in step
            ]

    with training([part], list(learner.parts.values())), training_mode([learner], [learner]):
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
        for step in draw(pairing.encoder, pools, steps, phase.seed, optimizer.accumulation):
            exchange = exchange_at()
            totals = totals_of(chain(*step))
            yield [
                in_step_mode(both, partial(mutual_step, pairing, piece, exchange, learns, totals))
                for piece in step
            ]

    learning = [learner for learner, on in zip(both, learns, strict=True) if on]
    with training(trained, frozen), training_mode(both, learning):
        return optimize(trained, batches(), steps, phase.log)


def distill(
    pairing: Pairing, part: Part, blocks: torch.Tensor, config: DistillConfig, phase: Phase
) -> dict[str, float]:
    """Train the whole DPM to predict as the LLM does, on full blocks of the server's text.

    Args:
        pairing: The LLM (left) and the DPM (right).
        part: The DPM's weights.
        blocks: Token ids on the CPU, `[blocks, tokens]`.
        config: Steps, batch and temperature.
        phase: Seed and log.
    """
    generator = torch.Generator().manual_seed(phase.seed)
    both = [pairing.left, pairing.right]

    def batches() -> Steps:
        for _ in range(config.steps):
            chosen = torch.randint(len(blocks), (config.batch_size,), generator=generator)
            step = partial(distill_step, pairing, blocks[chosen], config.temperature)
            yield [in_step_mode(both, step)]

    with training([part]), training_mode(both, [pairing.right]):
        return optimize([part], batches(), config.steps, phase.log)
