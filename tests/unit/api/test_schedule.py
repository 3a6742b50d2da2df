"""The phases that are expected."""

import pytest

from coplms.api.schedule import plan
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
            "dst": {"steps": 2, "last_steps": 8},
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
        "round-2/law/dst": 8,
        "round-2/law/transfer": 5,
        "round-2/server/transfer": 6,
    }


def test_a_round_without_steps_of_dst_has_no_such_phase() -> None:
    dst = CONFIG.method.dst.model_copy(update={"steps": 0})
    method = CONFIG.method.model_copy(update={"dst": dst})
    left = set(plan(CONFIG)) - set(plan(CONFIG.model_copy(update={"method": method})))
    assert left == {"round-1/law/dst"}


def test_tuning_alone_takes_as_many_steps_as_co_tuning() -> None:
    planned = plan(CONFIG.model_copy(update={"alone": True}))
    assert planned["round-0/law/alone"] == 3 + 5
    assert planned["round-0/server/alone"] == 4 + 6


def test_a_baseline_that_tunes_the_dpm_distils_it_first() -> None:
    found = {}
    for name in ("fedcollm", "standalone"):
        method = CONFIG.method.model_copy(update={"name": name})
        found[name] = plan(CONFIG.model_copy(update={"method": method}))
    assert found["fedcollm"]["round-0/server/distill"] == 7
    assert "round-0/server/distill" not in found["standalone"]


@pytest.mark.parametrize("name", ["coplms", "fedcollm", "standalone"])
def test_scores_before_tuning_are_left_out_where_nobody_asks_for_them(name: str) -> None:
    method = CONFIG.method.model_copy(update={"name": name})
    evaluation = CONFIG.evaluation.model_copy(update={"before": False})
    asked = list(plan(CONFIG.model_copy(update={"method": method})))
    left = list(plan(CONFIG.model_copy(update={"method": method, "evaluation": evaluation})))
    assert any("-before-" in phase for phase in asked)
    assert left == [phase for phase in asked if "-before-" not in phase]
