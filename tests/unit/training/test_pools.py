from collections.abc import Callable, Sequence

import pytest
import torch

from coplms.data.example import Example
from coplms.training.learner import Learner
from coplms.training.pair_encoding import PairEncoder
from coplms.training.pools import Pool, draw
from coplms.training.sft import sft_step

MakeLearner = Callable[..., Learner]


def test_one_model_reads_its_encoded_examples(
    make_learner: MakeLearner, examples: Sequence[Example]
) -> None:
    encoder = make_learner("llama").encoder
    encoded = encoder(examples)
    for pieces in draw(encoder, [Pool(examples, 2)], steps=5, seed=0, pieces=1):
        (batch,) = pieces
        assert len(batch) == 2
        assert all(each in encoded for each in batch)


def test_two_models_read_the_same_examples_with_their_chunks(
    make_learner: MakeLearner, examples: Sequence[Example]
) -> None:
    encode = PairEncoder(make_learner("llama").encoder, make_learner("neox").encoder)
    pairs = encode(examples)
    for pieces in draw(encode, [Pool(examples, 2)], steps=5, seed=0, pieces=1):
        (batch,) = pieces
        assert all(each in pairs for each in batch)


def test_a_window_mixes_the_pools_by_their_counts(
    make_learner: MakeLearner, examples: Sequence[Example]
) -> None:
    encoder = make_learner().encoder
    mine, yours = examples[:2], examples[2:]
    own = encoder(mine)
    pools = [Pool(mine, 1), Pool((), 0), Pool(yours, 3)]
    for (batch,) in draw(encoder, pools, steps=4, seed=0, pieces=1):
        assert sum(each in own for each in batch) == 1  # three others are an epoch, so a window
        assert len(batch) == 4


@pytest.mark.parametrize(("pieces", "sizes"), [(1, [5]), (2, [3, 2]), (3, [2, 2, 1]), (9, [1] * 5)])
def test_a_batch_is_divided_into_pieces(
    make_learner: MakeLearner, examples: Sequence[Example], pieces: int, sizes: list[int]
) -> None:
    encoder = make_learner().encoder
    (step,) = draw(encoder, [Pool(examples, 5)], steps=1, seed=0, pieces=pieces)
    assert [len(piece) for piece in step] == sizes
    assert {id(each) for piece in step for each in piece} == {id(e) for e in encoder(examples)}


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_gradients_of_pieces_add_up_to_that_of_the_batch(
    make_learner: MakeLearner, examples: Sequence[Example], pieces: int
) -> None:
    learner = make_learner()
    parameters = list(learner.model.network.parameters())

    def gradient(count: int) -> list[torch.Tensor]:
        (step,) = draw(learner.encoder, [Pool(examples, 5)], 1, seed=0, pieces=count)
        total = sum(len(each.answer) for piece in step for each in piece)
        for piece in step:
            sft_step(learner, piece, total).total.backward()
        found = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        return [value for value in found if value is not None]

    for whole, summed in zip(gradient(1), gradient(pieces), strict=True):
        torch.testing.assert_close(summed, whole, rtol=1e-10, atol=1e-13)
