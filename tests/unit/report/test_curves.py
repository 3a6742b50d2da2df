"""Scores by round and loss by step."""

from collections.abc import Callable

from coplms.consortium.record import Json, RunHistory
from coplms.report.curves import loss_curves, num_rounds, score_curves

History = Callable[..., RunHistory]


def score(when: str, model: str, exact_match: float, scope: str = "all") -> Json:
    return {
        "when": when,
        "member": "server",
        "model": model,
        "scope": scope,
        "exact_match": exact_match,
    }


def step(phase: str, number: int, loss: float | None, steps: int = 2) -> Json:
    return {"phase": phase, "step": number, "steps": steps, "loss": loss}


def test_a_curve_runs_from_before_to_the_end(history: History) -> None:
    rows = [score("after", "dpm", 60.0), score("round-2", "dpm", 50.0), score("before", "dpm", 1.0)]
    found = history(evaluations=[*rows, score("round-1", "dpm", 40.0)])
    (curve,) = score_curves(found, "exact_match")
    assert curve.label == "server DPM"
    assert curve.points == [(0, 1.0), (1, 40.0), (2, 50.0), (3, 60.0)]


def test_a_model_without_a_score_between_rounds_has_no_curve(history: History) -> None:
    rows = [
        score("before", "llm", 1.0),
        score("after", "llm", 2.0),
        score("round-1", "dpm", 3.0, "own"),
    ]
    assert score_curves(history(evaluations=rows), "exact_match") == []


def test_rounds_are_counted_from_scores_and_phases(history: History) -> None:
    assert num_rounds(history()) == 0
    assert num_rounds(history(evaluations=[score("round-2", "dpm", 1.0)])) == 2
    assert num_rounds(history(phases=[{"phase": "round-11/bank/dst"}])) == 11


def test_the_phases_after_the_last_round_are_no_round(history: History) -> None:
    config = {"method": {"rounds": 2}}
    assert num_rounds(history(config, phases=[{"phase": "round-3/bank/transfer"}])) == 2


def test_steps_count_on_and_start_again_alone(history: History) -> None:
    config = {"devices": [{"name": "bank"}]}
    phases = [{"phase": "round-1/bank/dst", "member": "bank", "kind": "dst"}]
    metrics = [
        step("round-1/bank/dst", 1, 4.0),
        step("round-1/bank/dst", 2, 3.0),
        step("round-1/bank/saml", 1, 2.0),
        step("round-0/bank/alone", 1, 5.0),
    ]
    curves = loss_curves(history(config, phases=phases, metrics=metrics))
    dst, saml, alone = curves["bank"]
    assert (dst.kind, dst.points) == ("dst", [(1.0, 4.0), (2.0, 3.0)])
    assert (saml.kind, saml.points, saml.is_alone) == ("saml", [(3.0, 2.0)], False)
    assert (alone.kind, alone.points, alone.is_alone) == ("alone", [(1.0, 5.0)], True)


def test_a_phase_that_names_no_member_is_the_servers(history: History) -> None:
    (curve,) = loss_curves(history(metrics=[step("distill", 1, 4.0)]))["server"]
    assert (curve.phase, curve.kind) == ("distill", "distill")


def test_a_loss_that_is_no_number_is_left_out(history: History) -> None:
    curves = loss_curves(history(metrics=[step("distill", 1, None), step("saml", 1, 2.0)]))
    assert [curve.phase for curve in curves["server"]] == ["saml"]


def test_many_points_become_means_of_neighbours(history: History) -> None:
    metrics = [step("distill", number, float(number), 120) for number in range(1, 121)]
    (curve,) = loss_curves(history(metrics=metrics))["server"]
    assert len(curve.points) == 60
    assert curve.points[0] == (1.5, 1.5)
    assert curve.points[-1] == (119.5, 119.5)
