"""`coplms.training.soft_targets`: what a teacher sends, and what is learnt from it."""

import math

import pytest
import torch
from torch import tensor

from coplms.training.batches import collate
from coplms.training.head import row_logits
from coplms.training.soft_targets import (
    Lesson,
    SoftTargets,
    lesson_step,
    soft_cross_entropy,
    top_tokens,
)
from tests.unit.training.conftest import EXAMPLES, MakeLearner


def test_cross_entropy_to_a_distribution_over_some_tokens() -> None:
    logits = torch.log(tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]))
    found = soft_cross_entropy(logits, tensor([[0, 2], [1, 1]]), tensor([[0.75, 0.25], [0.4, 0.6]]))
    wanted = [0.75 * math.log(2) + 0.25 * math.log(4), math.log(5)]
    assert found.tolist() == pytest.approx(wanted)


def test_top_tokens_are_those_of_the_answers_in_the_order_of_the_examples(
    make_learner: MakeLearner,
) -> None:
    learner = make_learner("neox")
    encoded = learner.encoder(EXAMPLES)
    found = top_tokens(learner, encoded, 4, batch_size=2)
    for example, top in zip(encoded, found, strict=True):
        batch = collate([example], learner.pad, learner.model.device)
        logits = row_logits(learner.model, batch).float()
        wanted = logits.topk(4, dim=1)
        assert torch.equal(top.ids, wanted.indices)
        assert torch.allclose(top.logits, wanted.values, atol=1e-5)
        nats = -torch.log_softmax(logits, 1)[range(len(batch.targets)), batch.targets]
        assert top.nats == pytest.approx(nats.sum().item(), rel=1e-5)


def test_a_vocabulary_smaller_than_k_is_sent_whole(make_learner: MakeLearner) -> None:
    learner = make_learner()
    (top,) = top_tokens(learner, learner.encoder(EXAMPLES[:1]), 10_000)
    assert top.ids.shape[1] == len(learner.model.tokenizer)


@pytest.mark.parametrize("weight", [0.0, 0.9, 1.0])
def test_a_lesson_is_a_weighted_sum_of_both_cross_entropies(
    make_learner: MakeLearner, weight: float
) -> None:
    learner = make_learner()
    encoded = learner.encoder(EXAMPLES[:3])
    sizes = [len(each.answer) for each in encoded]
    narrow = SoftTargets(torch.full((sizes[0], 1), 5), torch.ones(sizes[0], 1))
    wide = SoftTargets(tensor([[7, 9]] * sizes[2]), tensor([[0.25, 0.75]] * sizes[2]))
    lessons = [
        Lesson(example, targets)
        for example, targets in zip(encoded, (narrow, None, wide), strict=True)
    ]
    step = lesson_step(learner, lessons, weight)

    batch = collate(encoded, learner.pad, learner.model.device)
    costs = -torch.log_softmax(row_logits(learner.model, batch), 1)
    rows = len(batch.targets)
    ce = costs[range(rows), batch.targets].sum() / rows
    last = costs[sizes[0] + sizes[1] :]
    kd = costs[: sizes[0], 5].sum() + (0.25 * last[:, 7] + 0.75 * last[:, 9]).sum()
    wanted = (weight * ce + (1 - weight) * kd / rows).item()
    assert step.total.item() == pytest.approx(wanted, rel=1e-5)


def test_pieces_of_a_batch_add_up_to_it(make_learner: MakeLearner) -> None:
    learner = make_learner()
    encoded = learner.encoder(EXAMPLES)
    lessons = [
        Lesson(each, SoftTargets(tensor([[3]] * len(each.answer)), torch.ones(len(each.answer), 1)))
        for each in encoded
    ]
    rows = sum(len(each.answer) for each in encoded)
    whole = lesson_step(learner, lessons, 0.5).total
    parts = [lesson_step(learner, lessons[at : at + 2], 0.5, rows).total for at in (0, 2, 4)]
    assert torch.stack(parts).sum().item() == pytest.approx(whole.item(), rel=1e-6)
