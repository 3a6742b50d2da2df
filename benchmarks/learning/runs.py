"""One run: a method, what it is told, and a seed -> a curve of held-out nats per byte."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from measuring import alternate, median
from torch import autograd

from coplms.data.example import Example
from coplms.training.loop import training
from coplms.training.pair import Pairing
from coplms.training.pair_encoding import PairedExample
from coplms.training.part import Part
from coplms.training.pools import Pool
from coplms.training.pools import draw as draw_pieces
from learning.losses import LOSSES
from learning.members import held_out, open_pair, own_part
from learning.scales import Done, Scale, Setting
from learning.texts import draw, read_task

Record = dict[str, Any]
"""A run's specification and its result, as one line of JSON."""


@dataclass(frozen=True)
class Run:
    """What makes a run the run that it is.

    Attributes:
        part: Which question it belongs to.
        models: The peer and the learner; both learn in the methods that end in `-both`.
        method: A key of `losses.LOSSES`.
        seed: Decides the training examples and their order.
        learning_rate: Of every learner, after the warm-up.
        setting: What the method is told.
    """

    part: str
    models: tuple[str, str]
    method: str
    seed: int
    learning_rate: float
    setting: Setting = field(default_factory=Setting)

    def key(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Place:
    """Where a run finds its texts and models.

    Attributes:
        data: Folder of the texts.
        cache: Folder of built models and class maps.
        scale: How large everything is.
    """

    data: Path
    cache: Path
    scale: Scale


def work(run: Run, place: Place) -> Record:
    """Train and evaluate; the curve has one entry per evaluation, step 0 included."""
    torch.set_num_threads(1)
    torch.manual_seed(run.seed)
    scale, task = place.scale, read_task(place.data, place.scale)
    pairing = open_pair(run.models, place.data, scale, place.cache)
    parts = learning_parts(run, pairing, scale.steps)
    steps = scale.steps_of(run.method)
    examples = draw(task, scale, run.seed)
    stream = batches(pairing, examples, scale.batch_size, scale.most_steps, run.seed)
    curve = [_evaluate(pairing, parts, task, 0, 0.0)]
    seconds = 0.0
    with training(list(parts.values())):
        for step, batch in enumerate(islice(stream, steps), start=1):
            started = time.process_time()
            passes = (step - 1) * scale.batch_size / len(examples)
            take_step(run, pairing, parts, batch, Done((step - 1) / scale.steps, passes))
            seconds += time.process_time() - started
            if step % scale.every == 0 or step == steps:
                curve.append(_evaluate(pairing, parts, task, step, seconds))
    return {**asdict(run), "curve": curve}


def learning_parts(run: Run, pairing: Pairing, steps: int) -> dict[str, Part]:
    """Side -> what of it learns."""
    parts = {"right": own_part(pairing.right, run.learning_rate, steps)}
    if run.method.endswith("-both"):
        parts["left"] = own_part(pairing.left, run.learning_rate, steps)
    return parts


def batches(
    pairing: Pairing, examples: Sequence[Example], size: int, steps: int, seed: int
) -> Iterator[list[PairedExample]]:
    """The batch of each step; the same for every method."""
    for [batch] in draw_pieces(pairing.encoder, [Pool(examples, size)], steps, seed, pieces=1):
        yield batch


def take_step(
    run: Run,
    pairing: Pairing,
    parts: dict[str, Part],
    batch: Sequence[PairedExample],
    done: Done,
) -> None:
    autograd.backward(LOSSES[run.method](pairing, batch, run.setting, done))
    for part in parts.values():
        part.step()


def _evaluate(
    pairing: Pairing, parts: dict[str, Part], task: Any, step: int, seconds: float
) -> Record:
    nats: Record = {"step": step, "cpu_seconds": round(seconds, 3)}
    for side in parts:
        learner = pairing.left if side == "left" else pairing.right
        nats[side] = {
            "dev": round(held_out(learner, task.dev), 6),
            "test": round(held_out(learner, task.test), 6),
        }
    return nats


# Time --------------------------------------------------------------------------------------


def time_methods(runs: list[Run], place: Place) -> Record:
    """Median CPU seconds per step of every run's method; they take turns on the same batches."""
    torch.set_num_threads(1)
    scale, task = place.scale, read_task(place.data, place.scale)
    works = []
    for run in runs:
        pairing = open_pair(run.models, place.data, scale, place.cache)
        works.append(_repeated_step(run, pairing, draw(task, scale, 0), scale))
    times = alternate(works, scale.repeats, warm_up=2)
    return {
        "part": "time",
        "models": runs[0].models,
        "repeats": scale.repeats,
        "seconds_per_step": {
            run.method: round(median(each, cpu=True), 5)
            for run, each in zip(runs, times, strict=True)
        },
    }


def _repeated_step(run: Run, pairing: Pairing, examples: Any, scale: Scale) -> Any:
    parts = learning_parts(run, pairing, scale.steps)
    for part in parts.values():
        part.set_trainable(trainable=True)
    stream = batches(pairing, examples, scale.batch_size, scale.repeats + 2, seed=0)

    late = Done(progress=1.0, passes=scale.steps * scale.batch_size / len(examples))

    def step() -> None:
        take_step(run, pairing, parts, next(stream), late)

    return step
