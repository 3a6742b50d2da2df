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
    """What a step's loss function returns; of a piece of a batch, its share.

    Attributes:
        total: Scalar with a graph.
        metrics: Detached scalars by name, averaged over the logging interval.
        tokens: Tokens that the models read, padding not counted.
        answer_tokens: Tokens that were predicted and count in the loss.
        places: Tokens and padding that went through the models.
    """

    total: Tensor
    metrics: dict[str, Tensor]
    tokens: int
    answer_tokens: int
    places: int


Log = Callable[[dict[str, float]], None]
"""Takes `step`, `steps`, the interval's speed and padding (`Interval.speed`), and its averaged
metrics."""


class Interval:
    """The steps since metrics were logged last: sums on the device, and counts."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._tokens = self._answer_tokens = self._places = 0

    def add(self, loss: StepLoss) -> None:
        """Take in a step, or a piece of one; nothing waits for the device."""
        self._tokens += loss.tokens
        self._answer_tokens += loss.answer_tokens
        self._places += loss.places
        for name, value in loss.metrics.items():
            self._sums[name] = self._sums.get(name, 0) + value

    def end_step(self) -> None:
        """Count a step."""
        self._steps += 1

    def metrics(self) -> dict[str, float]:
        """Means over the steps; waits until the device has computed them."""
        return {name: float(value) / self._steps for name, value in self._sums.items()}

    def speed(self) -> dict[str, float]:
        """Tokens per second, read and predicted; and padding as part of all places, 0 to 1.

        To be asked after `metrics`, or what the device still has to do counts as done.
        """
        seconds = time.perf_counter() - self._started
        return {
            "tokens_per_second": self._tokens / seconds,
            "answer_tokens_per_second": self._answer_tokens / seconds,
            "padding": 1 - self._tokens / self._places if self._places else 0.0,
        }


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
        pieces_of_steps: For each step the pieces of its batch (gradient accumulation), whose
            losses and metrics add up to the batch's.
        steps: How many steps will come.
        log: Called every `LOG_EVERY` steps and at the last.
    """
    interval = Interval()
    latest: dict[str, float] = {}
    for number, pieces in enumerate(pieces_of_steps, start=1):
        for piece in pieces:
            loss = piece()
            autograd.backward(loss.total)
            interval.add(loss)
        for part in parts:
            part.step()
        interval.end_step()
        if number % LOG_EVERY == 0 or number == steps:
            latest = interval.metrics()
            log({"step": number, "steps": steps, **interval.speed(), **latest})
            interval = Interval()
    return latest
