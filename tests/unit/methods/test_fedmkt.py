"""`coplms.methods.fedmkt`: selection and alignment, against cases worked by hand."""

import math

import numpy as np
import pytest
import torch
from torch import tensor

from coplms.alignment.edit_distance import NO_TOKEN
from coplms.methods.fedmkt import Bridge, Taught, better, build_bridge, one_to_one
from coplms.training.soft_targets import TopTokens, top_tokens
from tests.unit.training.conftest import EXAMPLES, MakeLearner, make_learner, tokenizers

__all__ = ["make_learner", "tokenizers"]

BRIDGE = Bridge(
    tokens=tensor([10, 11, NO_TOKEN, 11]),
    rows=[np.array([0, -1, 1])],
    due=[tensor([20, 21, 22])],
)
"""Teacher's tokens 1 and 3 are one to the learner, 2 is nothing; the middle row is unmatched."""


def teacher(nats: float, *rows: tuple[dict[int, float]]) -> TopTokens:
    """Token -> probability of every row; K is 3."""
    logits = tensor([[math.log(p) for p in row.values()] for row in rows])
    return TopTokens(logits, tensor([list(row) for row in rows]), nats)


SAYS = teacher(1.0, {0: 0.5, 1: 0.3, 3: 0.2}, {2: 0.6, 0: 0.3, 1: 0.1})


def said(bridge: Bridge, row: int, temperature: float = 1.0) -> dict[int, float]:
    found = bridge.targets(0, SAYS, temperature)
    total: dict[int, float] = {}
    for token, probability in zip(
        found.ids[row].tolist(), found.probabilities[row].tolist(), strict=True
    ):
        total[token] = total.get(token, 0.0) + probability
    return {token: p for token, p in total.items() if p > 0}


def test_a_matched_row_gets_the_teachers_distribution_in_its_own_tokens() -> None:
    assert said(BRIDGE, 0) == pytest.approx({10: 0.5, 11: 0.5})


def test_what_the_learner_has_no_token_for_is_left_out_of_the_sum() -> None:
    assert said(BRIDGE, 2) == pytest.approx({10: 0.75, 11: 0.25})


def test_a_row_that_is_not_matched_gets_the_token_that_is_due_there() -> None:
    assert said(BRIDGE, 1) == {21: 1.0}


def test_a_row_of_which_the_learner_knows_nothing_gets_the_token_that_is_due() -> None:
    bridge = Bridge(torch.full((4,), NO_TOKEN), BRIDGE.rows, BRIDGE.due)
    assert [said(bridge, row) for row in range(3)] == [{20: 1.0}, {21: 1.0}, {22: 1.0}]


def test_temperature_softens_the_teacher() -> None:
    roots = [math.sqrt(p) for p in (0.5, 0.3, 0.2)]
    wanted = {10: roots[0] / sum(roots), 11: (roots[1] + roots[2]) / sum(roots)}
    assert said(BRIDGE, 0, temperature=2.0) == pytest.approx(wanted, rel=1e-5)


def test_of_several_teachers_the_one_with_the_least_cost_teaches_if_it_beats_the_learner() -> None:
    bridge = Bridge(BRIDGE.tokens, BRIDGE.rows * 2, BRIDGE.due * 2)
    own = [Taught(2.0, None), Taught(0.5, None)]
    first = better(own, [teacher(1.5, {0: 1.0}, {1: 1.0}), SAYS], bridge, 1.0)
    assert [taught.nats for taught in first] == [1.5, 0.5]
    second = better(first, [SAYS, SAYS], bridge, 1.0)
    assert [taught.nats for taught in second] == [1.0, 0.5]
    assert second[0].targets is not None
    assert second[1].targets is None


def test_a_teacher_whose_cost_is_not_a_number_teaches_nothing() -> None:
    own = [Taught(2.0, None)]
    assert better(own, [teacher(math.nan, {0: 1.0}, {1: 1.0})], BRIDGE, 1.0) == own


def test_tokens_are_matched_one_to_one_or_not_at_all() -> None:
    left = [b"pay", b" the", b" bill", None]
    right = [b"pay", b" t", b"he", b" bill", None]
    assert one_to_one(left, right).tolist() == [0, -1, -1, 2, 3]
    assert one_to_one(right, left).tolist() == [0, -1, 3, 4]
    assert one_to_one(left, left).tolist() == [0, 1, 2, 3]


def test_a_teacher_with_the_learners_tokenizer_is_heard_as_it_speaks(
    make_learner: MakeLearner,
) -> None:
    model = make_learner()
    tops = top_tokens(model, model.encoder(EXAMPLES), 5)
    bridge = build_bridge(model, model, EXAMPLES)
    for place, top in enumerate(tops):
        targets = bridge.targets(place, top, 1.0)
        known = bridge.tokens[top.ids] != NO_TOKEN
        wanted = torch.where(known, top.logits, -torch.inf).softmax(1)
        heard = known.any(1)
        assert torch.equal(targets.ids[known], top.ids[known])
        assert torch.allclose(targets.probabilities[heard], wanted[heard])


def test_every_row_of_another_tokenizer_gets_a_distribution(make_learner: MakeLearner) -> None:
    one, other = make_learner("llama"), make_learner("neox")
    bridge = build_bridge(one, other, EXAMPLES)
    tops = top_tokens(one, one.encoder(EXAMPLES), 20)
    for place, (top, example) in enumerate(zip(tops, other.encoder(EXAMPLES), strict=True)):
        targets = bridge.targets(place, top, 1.0)
        assert targets.ids.shape[0] == len(example.answer)
        assert torch.allclose(targets.probabilities.sum(1), torch.ones(len(example.answer)))
        assert targets.ids.min() >= 0
        assert targets.ids.max() < len(other.model.tokenizer)
        assert bridge.rows[place][-1] == len(top.ids) - 1  # the ends of the answer meet
