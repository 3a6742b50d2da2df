"""Tokens per second of training, of all tokens and of answers."""

from collections.abc import Callable

from coplms.consortium.record import Json, RunHistory
from coplms.report.effort import time_section
from coplms.report.speed import SpeedRow, speed_rows

History = Callable[..., RunHistory]


def logged(phase: str, tokens: float, answer_tokens: float, padding: float) -> Json:
    speed = {"tokens_per_second": tokens, "answer_tokens_per_second": answer_tokens}
    return {"phase": phase, "step": 10, "steps": 20, "loss": 1.0, **speed, "padding": padding}


METRICS = [
    logged("round-1/bank/dst", 2000.0, 300.0, 0.25),
    logged("round-1/bank/saml", 1000.0, 100.0, 0.5),
    logged("round-2/law/dst", 4000.0, 500.0, 0.75),
    {"phase": "round-2/law/old", "step": 10, "steps": 20, "loss": 1.0},
]


def test_speed_is_the_mean_of_all_intervals_of_a_kind(history: History) -> None:
    assert speed_rows(history(metrics=METRICS)) == [
        SpeedRow("dst", 3000.0, 400.0, 0.5),
        SpeedRow("saml", 1000.0, 100.0, 0.5),
    ]


def test_rows_without_answer_tokens_are_shown_without(history: History) -> None:
    metrics = [{"phase": "round-1/bank/dst", "tokens_per_second": 5.0}]
    assert speed_rows(history(metrics=metrics)) == [SpeedRow("dst", 5.0, None, None)]


def test_the_page_shows_both_speeds_and_padding_where_they_were_logged(history: History) -> None:
    phases = [
        {"phase": "round-1/bank/dst", "member": "bank", "kind": "dst", "seconds": 2.0},
    ]
    page = time_section(history(phases=phases, metrics=METRICS))
    assert "<td>3,000</td><td>400</td><td>50 %</td>" in page
    assert "Training speed" not in time_section(history(phases=phases))
