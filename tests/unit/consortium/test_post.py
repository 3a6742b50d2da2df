"""`coplms.consortium.post`: who is asked, and how many must answer."""

from dataclasses import replace

import pytest

from coplms.config.participation import draw_devices
from coplms.config.run import RunConfig
from coplms.consortium.post import Rules, rules_of

RULES = Rules(0, 0.3, 1.0, 1.0, 2.0, 3.0)
MANY = [f"device-{number}" for number in range(100)]


@pytest.mark.parametrize(
    ("quorum", "num_chosen", "least"),
    [
        (1.0, 3, 3),
        (0.5, 3, 2),
        (0.5, 4, 2),
        (0.01, 3, 1),
        (0.7, 10, 7),  # 0.7 * 10 is a little above 7
        (1 / 3, 3, 1),
        (0.34, 3, 2),
        (0.5, 0, 1),
    ],
)
def test_a_quorum_is_rounded_up_and_at_least_one(
    quorum: float, num_chosen: int, least: int
) -> None:
    assert replace(RULES, quorum=quorum).least(num_chosen) == least


def test_as_many_are_drawn_as_asked_in_their_order() -> None:
    drawn = RULES.chosen(MANY, 1)
    assert len(drawn) == 30
    assert drawn == sorted(drawn, key=MANY.index)
    assert replace(RULES, participation=1.0).chosen(MANY, 1) == MANY
    assert len(replace(RULES, participation=0.001).chosen(MANY, 1)) == 1


def test_rounds_and_seeds_draw_others_and_the_same_round_the_same() -> None:
    first = RULES.chosen(MANY, 1)
    assert RULES.chosen(MANY, 1) == first
    assert RULES.chosen(MANY, 2) != first
    assert replace(RULES, seed=1).chosen(MANY, 1) != first


def test_everyone_is_drawn_equally_often() -> None:
    counts = dict.fromkeys(MANY, 0)
    for number in range(1, 1001):
        for name in RULES.chosen(MANY, number):
            counts[name] += 1
    assert sum(counts.values()) == 30 * 1000
    assert 220 < min(counts.values()) <= max(counts.values()) < 380


def test_a_draw_is_the_same_on_every_machine() -> None:
    assert draw_devices(list("abcdefgh"), 0.25, 7, 3) == ["b", "h"]


def test_the_rules_are_those_of_the_configuration() -> None:
    config = RunConfig.model_validate(
        {
            "seed": 7,
            "llm": {"model": "m"},
            "devices": [{"name": "a", "slm": {"model": "m"}}],
            "data": {"pool": {"train": {"path": "x"}}},
            "method": {"participation": 0.25},
            "network": {
                "quorum": 0.5,
                "prepare_seconds": 1,
                "round_seconds": 2,
                "finish_seconds": 3,
            },
        }
    )
    assert rules_of(config) == Rules(7, 0.25, 0.5, 1.0, 2.0, 3.0)
