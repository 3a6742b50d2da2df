"""The only optimiser loop."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, autograd

from coplms.training.part import Part

LOG_EVERY = 10
"""Steps between two lines of metrics; the only points at which the loop waits for the device."""


@dataclass(frozen=True, eq=False)
class StepLoss:
    """What a step's loss function returns.

    Attributes:
        total: Scalar with a graph.
        metrics: Detached scalars by name, averaged over the logging interval.
        tokens: Tokens that went through a model, padding included.
        weight: Share of the whole batch's answer tokens, when a batch comes in pieces.
    """

    total: Tensor
    metrics: dict[str, Tensor]
    tokens: int
    weight: float = 1.0


Log = Callable[[dict[str, float]], None]
"""Takes `step`, `steps`, `tokens_per_second` and the averaged metrics."""


@contextmanager
def training(parts: Sequence[Part], frozen: Sequence[Part] = ()) -> Iterator[None]:
    """Let exactly `parts` take gradients while the block runs."""
    for part in frozen:
        part.set_trainable(trainable=False)
    for part in parts:
        part.set_trainable(trainable=True)
    try:
        yield
    finally:
        for part in parts:
            part.set_trainable(trainable=False)


def optimize(
    parts: Sequence[Part],
    pieces_of_steps: Iterable[Iterable[Callable[[], StepLoss]]],
    steps: int,
    log: Log,
) -> dict[str, float]:
    """Take one optimiser step of every part per element; returns the last interval's metrics.

    Args:
        parts: What learns; one backward pass serves all of them.
        pieces_of_steps: For each step the pieces of its batch (gradient accumulation).
        steps: How many steps will come.
        log: Called every `LOG_EVERY` steps and at the last.
    """
    gathered: dict[str, Tensor] = {}
    count, tokens, started = 0, 0, time.perf_counter()
    latest: dict[str, float] = {}
    for number, pieces in enumerate(pieces_of_steps, start=1):
        for piece in pieces:
            loss = piece()
            autograd.backward(loss.total * loss.weight)
            tokens += loss.tokens
            for name, value in loss.metrics.items():
                gathered[name] = gathered.get(name, 0) + value * loss.weight
        for part in parts:
            part.step()
        count += 1
        if number % LOG_EVERY == 0 or number == steps:
            seconds = time.perf_counter() - started
            latest = {name: float(value) / count for name, value in gathered.items()}
            log({"step": number, "steps": steps, "tokens_per_second": tokens / seconds, **latest})
            gathered, count, tokens, started = {}, 0, 0, time.perf_counter()
    return latest
