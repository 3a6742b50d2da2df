"""The time that expected phases may take."""

import pytest

from coplms.api.schedule import Plan
from coplms.cli.remaining import Remaining


def seconds_left(planned: Plan, finished: dict[str, float]) -> float | None:
    remaining = Remaining(planned)
    for name, seconds in finished.items():
        remaining.finish(name, seconds)
    return remaining.seconds


def test_nothing_is_known_before_anything_was_trained() -> None:
    assert seconds_left({"round-1/a/dst": 10, "round-1/a/end": 0}, {"round-1/a/end": 1.0}) is None


def test_a_phase_takes_as_long_as_others_of_its_kind() -> None:
    planned = {"round-1/a/dst": 10, "round-1/b/dst": 10, "round-2/a/dst": 10}
    seconds = {"round-1/a/dst": 4.0, "round-1/b/dst": 6.0}
    assert seconds_left(planned, seconds) == pytest.approx(5.0)


def test_a_new_kind_takes_as_long_as_its_steps_did_on_average() -> None:
    planned = {"round-0/server/distill": 10, "round-1/a/dst": 30}
    assert seconds_left(planned, {"round-0/server/distill": 2.0}) == pytest.approx(6.0)


def test_a_new_scoring_takes_as_long_as_the_average_one() -> None:
    planned = {"round-0/a/dst": 1, "round-0/a/evaluate-before-slm": 0, "round-1/b/evaluate-dpm": 0}
    seconds = {"round-0/a/dst": 9.0, "round-0/a/evaluate-before-slm": 4.0}
    assert seconds_left(planned, seconds) == pytest.approx(4.0)
