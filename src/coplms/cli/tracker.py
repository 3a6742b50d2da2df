"""Where a run stands, gathered from its events."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from coplms.api.schedule import Plan
from coplms.cli.remaining import Remaining


@dataclass(frozen=True)
class Work:
    """What is being done right now.

    Attributes:
        title: Such as `round 1, hospital: saml`.
        started: When, by the tracker's clock.
        step: Optimiser steps taken.
        steps: Steps that it will take; 0 where nothing has been logged.
        loss: Newest loss, if known.
        tokens_per_second: Newest speed, if known.
        answer_tokens_per_second: Likewise, of tokens that the loss counts.
    """

    title: str
    started: float
    step: int = 0
    steps: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None
    answer_tokens_per_second: float | None = None

    def details(self) -> str:
        """`step 20 of 60, 3,100 tokens/s (900 of answers), loss 1.234`, as far as known."""
        parts = []
        if self.steps:
            parts.append(f"step {self.step} of {self.steps}")
        if self.tokens_per_second is not None:
            answers = self.answer_tokens_per_second
            of_answers = "" if answers is None else f" ({answers:,.0f} of answers)"
            parts.append(f"{self.tokens_per_second:,.0f} tokens/s{of_answers}")
        if self.loss is not None:
            parts.append(f"loss {self.loss:.3f}")
        return ", ".join(parts)


@dataclass
class Tracker:
    """Counts phases and estimates the time that is left.

    Attributes:
        title: The run's name.
        planned: The phases that are expected; others count as they come.
        clock: Seconds that only grow.
        seconds: Finished phase -> how long it took.
        work: What is being done right now.
    """

    title: str
    planned: Plan
    clock: Callable[[], float] = time.monotonic
    seconds: dict[str, float] = field(default_factory=dict)
    work: Work | None = None
    _left: tuple[float, float] | None = None
    _num_unplanned: int = 0

    def __post_init__(self) -> None:
        self.started = self.clock()
        self._remaining = Remaining(self.planned)
        self._rounds = max((_round_of(name) for name in self.planned), default=1) - 1

    @property
    def num_done(self) -> int:
        """Finished phases, those of earlier starts included."""
        return len(self.seconds)

    @property
    def num_phases(self) -> int:
        """All phases, as far as known."""
        return len(self.planned) + self._num_unplanned

    @property
    def elapsed(self) -> float:
        """Seconds since this process began."""
        return self.clock() - self.started

    @property
    def left(self) -> float | None:
        """Seconds that the rest may take; None where nothing is known yet."""
        if self._left is None:
            return None
        estimate, at = self._left
        return max(0.0, estimate - (self.clock() - at))

    def phase_started(self, name: str) -> None:
        self.work = Work(self.phase_title(name), self.clock())

    def logged(self, title: str, row: Mapping[str, float]) -> None:
        """Take the newest metrics of the phase or mini model called `title`."""
        if self.work is None or self.work.title != title:
            self.work = Work(title, self.clock())
        self.work = replace(
            self.work,
            step=int(row["step"]),
            steps=int(row["steps"]),
            loss=row.get("loss"),
            tokens_per_second=row.get("tokens_per_second"),
            answer_tokens_per_second=row.get("answer_tokens_per_second"),
        )

    def phase_finished(self, name: str, seconds: float) -> None:
        self.work = None
        if name not in self.seconds:
            self._remaining.finish(name, seconds)
            self._num_unplanned += name not in self.planned
        self.seconds[name] = seconds
        estimate = self._remaining.seconds
        self._left = None if estimate is None else (estimate, self.clock())

    def phase_title(self, name: str) -> str:
        """`round 1, hospital: saml`; before the rounds is `start`, after them `end`."""
        number, (_, member, kind) = _round_of(name), name.split("/")
        when = "start" if number == 0 else "end" if number > self._rounds else f"round {number}"
        return f"{when}, {member}: {kind}"

    def times(self) -> str:
        """`1:05, about 2:10 left`."""
        left = self.left
        return clock_text(self.elapsed) + (f", about {clock_text(left)} left" if left else "")


def clock_text(seconds: float) -> str:
    """Minutes and seconds, and hours where there are any.

    >>> clock_text(65.4), clock_text(3661)
    ('1:05', '1:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _round_of(name: str) -> int:
    return int(name.split("/")[0].removeprefix("round-"))
