from collections.abc import Callable, Sequence

import pytest
import torch

from coplms.data.example import Example
from coplms.training.learner import Learner
from coplms.training.pools import Pool, draw
from coplms.training.sft import sft_step

MakeLearner = Callable[..., Learner]


def test_every_learner_reads_the_same_examples(
    make_learner: MakeLearner, examples: Sequence[Example]
) -> None:
    learners = [make_learner("llama"), make_learner("neox")]
    by_encoding = [
        {id(encoded): number for number, encoded in enumerate(learner.encoder(examples))}
        for learner in learners
    ]
    for step in draw(learners, [Pool(examples, 2)], steps=5, seed=0, pieces=1):
        ((views, weight),) = step
        chosen = [
            [numbers[id(encoded)] for encoded in view]
            for numbers, view in zip(by_encoding, views, strict=True)
        ]
        assert chosen[0] == chosen[1]
        assert weight == 1


def test_batches_mix_the_pools_by_their_counts(
    make_learner: MakeLearner, examples: Sequence[Example]
) -> None:
    learner = make_learner()
    mine, yours = examples[:2], examples[2:]
    own = {id(encoded) for encoded in learner.encoder(mine)}
    pools = [Pool(mine, 1), Pool((), 0), Pool(yours, 3)]
    for ((views, _),) in draw([learner], pools, steps=4, seed=0, pieces=1):
        assert sum(id(encoded) in own for encoded in views[0]) == 1
        assert len(views[0]) == 4


@pytest.mark.parametrize(("pieces", "sizes"), [(1, [5]), (2, [3, 2]), (3, [2, 2, 1]), (9, [1] * 5)])
def test_pieces_are_shares_of_the_batchs_answer_tokens(
    make_learner: MakeLearner, examples: Sequence[Example], pieces: int, sizes: list[int]
) -> None:
    (step,) = draw([make_learner()], [Pool(examples, 5)], steps=1, seed=0, pieces=pieces)
    assert [len(views[0]) for views, _ in step] == sizes
    tokens = [sum(len(encoded.answer) for encoded in views[0]) for views, _ in step]
    assert [weight for _, weight in step] == [number / sum(tokens) for number in tokens]


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_gradients_of_pieces_add_up_to_that_of_the_batch(
    make_learner: MakeLearner, examples: Sequence[Example], pieces: int
) -> None:
    learner = make_learner()
    parameters = list(learner.model.network.parameters())

    def gradient(count: int) -> list[torch.Tensor]:
        (step,) = draw([learner], [Pool(examples, 5)], steps=1, seed=0, pieces=count)
        for views, weight in step:
            (sft_step(learner, views[0]).total * weight).backward()
        found = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        return [value for value in found if value is not None]

    for whole, summed in zip(gradient(1), gradient(pieces), strict=True):
        torch.testing.assert_close(summed, whole, rtol=1e-10, atol=1e-13)
