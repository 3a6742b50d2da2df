"""Plain lines and the live display, from the same events."""

import io
import itertools

import pytest
from rich.console import Console

from coplms.cli.progress import LiveDisplay, PlainLines, Progress, watch
from coplms.cli.tracker import Tracker

PLAN = {"round-0/server/distill": 20, "round-0/server/evaluate-before-llm": 0}
DISTILL = {"phase": "round-0/server/distill", "seconds": 1.5, "result": {"loss": 2.0}}
SCORED = {
    "phase": "round-0/server/evaluate-before-llm",
    "seconds": 0.25,
    "result": {"evaluations": [{"exact_match": 12.34}]},
}


def lines_of(seconds_between_events: float, again: bool = False) -> list[str]:
    """What a small run prints, where the clock moves on at each look."""
    clock = itertools.count(0, seconds_between_events)
    console = Console(file=io.StringIO(), width=200)
    plain = PlainLines(Tracker("Tiny", PLAN, lambda: next(clock)), console)
    if again:
        plain.phase_finished(DISTILL, again=True)
    else:
        play(plain)
    plain.phase_started("round-0/server/evaluate-before-llm")
    plain.phase_finished(SCORED, again=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def play(progress: Progress) -> None:
    progress.phase_started("round-0/server/distill")
    for step in (10, 20):
        row = {"step": step, "steps": 20, "tokens_per_second": 5000.0, "loss": 3.0}
        progress.phase_logged("round-0/server/distill", row)
    progress.phase_finished(DISTILL, again=False)


def test_a_quick_phase_is_one_line() -> None:
    assert lines_of(0.0) == [
        "[1/2] start, server: distill: 1.5 s, loss 3.000 (0:00)",
        "[2/2] start, server: evaluate-before-llm: 0.2 s, exact match 12.3 (0:00)",
    ]


def test_bookkeeping_counts_and_is_no_line() -> None:
    console = Console(file=io.StringIO(), width=120)
    with watch("run", {**PLAN, "round-1/server/send": 0}, console) as progress:
        play(progress)
        row = {**DISTILL, "phase": "round-1/server/send", "seconds": 0.0}
        progress.phase_finished(row, again=False)
        progress.phase_finished(SCORED, again=False)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert [line.split("]")[0] for line in lines] == ["[1/3", "[3/3"]


def test_a_long_phase_speaks_every_ten_seconds() -> None:
    first = lines_of(11.0)[0]
    assert first.startswith("start, server: distill: step 10 of 20, 5,000 tokens/s, loss 3.000")


def test_phases_of_an_earlier_start_are_one_line_together() -> None:
    lines = lines_of(0.0, again=True)
    assert lines[0] == "going on: 1 of 2 phases were done by an earlier start"
    assert len(lines) == 2


def test_the_live_display_shows_phases_steps_speed_and_loss() -> None:
    tracker = Tracker("Tiny", PLAN)
    display = LiveDisplay(tracker)
    play(display)
    row = {"step": 10, "steps": 20, "tokens_per_second": 5000.0, "loss": 3.0}
    display.phase_logged("round-0/server/distill", row)
    console = Console(file=io.StringIO(), width=120)
    console.print(display.render())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "1 of 2 phases" in shown
    assert "step 10 of 20, 5,000 tokens/s, loss 3.000" in shown


def test_mini_models_have_no_phases_to_count() -> None:
    display = LiveDisplay(Tracker("Tiny", {}))
    display.zoo_logged("llm", 20, 300, 4.5)
    console = Console(file=io.StringIO(), width=120)
    console.print(display.render())
    assert isinstance(console.file, io.StringIO)
    assert "mini model llm" in console.file.getvalue()
    assert "phases" not in console.file.getvalue()


@pytest.mark.parametrize("name", ["CI", "NO_COLOR"])
def test_a_terminal_that_wants_plain_lines_gets_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    terminal = Console(file=io.StringIO(), force_terminal=True)
    with watch("Tiny", PLAN, terminal) as progress:
        assert isinstance(progress, PlainLines)


def test_a_terminal_gets_the_live_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    terminal = Console(file=io.StringIO(), force_terminal=True)
    with watch("Tiny", PLAN, terminal) as progress:
        assert isinstance(progress, LiveDisplay)
        play(progress)


def test_a_file_gets_plain_lines() -> None:
    with watch("Tiny", PLAN, Console(file=io.StringIO())) as progress:
        assert isinstance(progress, PlainLines)
