"""Where a run stands."""

from coplms.cli.tracker import Tracker

PLAN = {"round-0/server/distill": 10, "round-1/a/dst": 10, "round-2/a/transfer": 10}


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_passes_and_less_is_left() -> None:
    clock = Clock()
    tracker = Tracker("Tiny", PLAN, clock)
    assert tracker.times() == "0:00"
    tracker.phase_started("round-0/server/distill")
    clock.now = 160.0
    tracker.phase_finished("round-0/server/distill", 60.0)
    assert tracker.times() == "1:00, about 2:00 left"
    clock.now = 190.0
    assert tracker.times() == "1:30, about 1:30 left"
    clock.now = 900.0
    assert tracker.times() == "13:20"


def test_a_phase_that_nobody_planned_counts_too() -> None:
    tracker = Tracker("Tiny", PLAN, Clock())
    tracker.phase_finished("round-1/a/extra", 1.0)
    assert (tracker.num_done, tracker.num_phases) == (1, 4)


def test_phases_are_called_by_round_member_and_kind() -> None:
    tracker = Tracker("Tiny", PLAN, Clock())
    assert [tracker.phase_title(name) for name in PLAN] == [
        "start, server: distill",
        "round 1, a: dst",
        "end, a: transfer",
    ]


def test_what_is_logged_shows_in_the_details() -> None:
    tracker = Tracker("Tiny", PLAN, Clock())
    row = {"step": 20, "steps": 60, "tokens_per_second": 3100.4, "loss": 1.2344}
    tracker.logged("round 1, a: dst", row)
    assert tracker.work is not None
    assert tracker.work.details() == "step 20 of 60, 3,100 tokens/s, loss 1.234"
    tracker.logged("round 1, a: dst", {**row, "answer_tokens_per_second": 1200.0})
    expected = "step 20 of 60, 3,100 tokens/s (1,200 of answers), loss 1.234"
    assert tracker.work.details() == expected
