"""The phases that are expected, and the time they may take."""

import pytest

from coplms.cli.plan import Plan, Remaining, plan
from coplms.config.run import RunConfig

CONFIG = RunConfig.model_validate(
    {
        "llm": {"model": "some/llm"},
        "devices": [{"name": "law", "slm": {"model": "some/slm"}}],
        "data": {"pool": {"train": {"path": "train.jsonl"}}},
        "alone": False,
        "method": {
            "rounds": 1,
            "distill": {"steps": 7},
            "dst": {"steps": 2},
            "saml": {"proxy_steps": 1, "steps": 3, "server_steps": 4},
            "transfer": {"steps": 5, "server_steps": 6},
        },
    }
)


def test_a_run_of_one_device_and_one_round_has_these_phases() -> None:
    steps = {name: count for name, count in plan(CONFIG).items() if count}
    assert steps == {
        "round-0/server/distill": 7,
        "round-1/law/dst": 2,
        "round-1/law/proxy": 1,
        "round-1/law/saml": 3,
        "round-1/server/saml": 4,
        "round-2/law/transfer": 5,
        "round-2/server/transfer": 6,
    }


def test_tuning_alone_takes_as_many_steps_as_co_tuning() -> None:
    planned = plan(CONFIG.model_copy(update={"alone": True}))
    assert planned["round-0/law/alone"] == 3 + 5
    assert planned["round-0/server/alone"] == 4 + 6


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
