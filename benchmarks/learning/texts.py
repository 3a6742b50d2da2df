"""The benchmark's task: examples to learn from, and held-out ones."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coplms.config.data import SourceConfig
from coplms.data import jsonl
from coplms.data.example import Example
from coplms.data.text import read_text
from learning.scales import DOMAINS, Scale

LONGEST, SHORT = 256, 160
"""Characters of input and answer together: of what tuned models learn, and of all the rest. Longer
examples are left out, so that runs are short."""


@dataclass(frozen=True)
class Task:
    """Examples of the task; those of `dev` and `test` share no input with any other.

    Attributes:
        pool: What runs draw their training examples from.
        teacher: What tuned models learnt from; none of it is in the pool.
        dev: For choosing weights and learning rates.
        test: For the figures.
    """

    pool: tuple[Example, ...]
    teacher: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]


def read_task(data: Path, scale: Scale) -> Task:
    train, dev, test = (
        _read(data / DOMAINS / f"{name}.jsonl") for name in ("train", "dev", "test")
    )
    random.Random(0).shuffle(train)
    seen = {example.input for example in train}
    dev = [example for example in dev if _length(example) <= SHORT and example.input not in seen]
    seen |= {example.input for example in dev}
    test = [example for example in test if _length(example) <= SHORT and example.input not in seen]
    return Task(
        pool=tuple(example for example in train[: scale.pool] if _length(example) <= SHORT),
        teacher=tuple(train[scale.pool :]),
        dev=tuple(random.Random(1).sample(dev, min(scale.dev, len(dev)))),
        test=tuple(random.Random(2).sample(test, min(scale.test, len(test)))),
    )


def _read(path: Path) -> list[Example]:
    examples = jsonl.read(SourceConfig(path=str(path)))
    return [example for example in examples if _length(example) <= LONGEST]


def _length(example: Example) -> int:
    return len(example.input) + len(example.answer)


def draw(task: Task, scale: Scale, seed: int) -> list[Example]:
    """The examples that a run of this seed learns from."""
    return random.Random(seed).sample(task.pool, min(scale.train, len(task.pool)))


def plain_text(paths: Sequence[Path], most: int) -> list[str]:
    """Documents of the files, up to `most` characters."""
    texts, length = [], 0
    for text in read_text([str(path) for path in paths]):
        texts.append(text)
        length += len(text)
        if length >= most:
            break
    return texts
