"""How long the phases of a run that are left may take."""

from dataclasses import dataclass, field

from coplms.api.schedule import Plan

_SERVER = "server"


@dataclass
class _Kind:
    """Phases that take equally long, as far as is known.

    Attributes:
        left: Planned ones that are not done.
        steps_left: Their optimiser steps.
        done: Finished ones, planned or not.
        seconds: How long those took.
        is_scoring: Whether they score models.
    """

    left: int = 0
    steps_left: int = 0
    done: int = 0
    seconds: float = 0.0
    is_scoring: bool = False


@dataclass
class Remaining:
    """How long the planned phases that are not done may take; each finished one costs the same.

    A phase takes as long as finished ones of its kind did; of a new kind, as long as its optimiser
    steps did on average, or as an average scoring.

    Attributes:
        planned: All phases.
    """

    planned: Plan
    _kinds: dict[str, _Kind] = field(default_factory=dict)
    _steps: int = 0
    _seconds: float = 0.0

    def __post_init__(self) -> None:
        for name, steps in self.planned.items():
            kind = self._kind(name)
            kind.left += 1
            kind.steps_left += steps

    def finish(self, name: str, seconds: float) -> None:
        """Take note of a phase that is done; to be called once for each."""
        kind, steps = self._kind(name), self.planned.get(name)
        kind.done += 1
        kind.seconds += seconds
        if steps is None:
            return
        kind.left -= 1
        kind.steps_left -= steps
        self._steps += steps
        self._seconds += seconds if steps else 0.0

    @property
    def seconds(self) -> float | None:
        """The estimate; None before anything was trained."""
        if not self._steps:
            return None
        per_step = self._seconds / self._steps
        scorings = [kind for kind in self._kinds.values() if kind.is_scoring]
        num_scored = sum(kind.done for kind in scorings)
        scoring = sum(kind.seconds for kind in scorings) / max(1, num_scored)

        def estimate(kind: _Kind) -> float:
            if kind.done:
                return kind.left * kind.seconds / kind.done
            return kind.left * scoring if kind.is_scoring else kind.steps_left * per_step

        return sum(map(estimate, self._kinds.values()))

    def _kind(self, name: str) -> _Kind:
        key = _kind(name)
        if key not in self._kinds:
            self._kinds[key] = _Kind(is_scoring=_is_scoring(name))
        return self._kinds[key]


def _kind(name: str) -> str:
    """What phases that take equally long share."""
    _, member, kind = name.split("/")
    return f"server {kind}" if member == _SERVER else kind


def _is_scoring(name: str) -> bool:
    return "evaluate" in name.rpartition("/")[2]
