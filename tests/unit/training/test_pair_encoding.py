from collections.abc import Callable, Sequence

import numpy as np
import pytest

from coplms.alignment.places import align
from coplms.data.example import Example
from coplms.losses.mutual import Totals
from coplms.training import pair_encoding
from coplms.training.learner import Learner
from coplms.training.pair_encoding import PairEncoder, totals_of

MakeLearner = Callable[..., Learner]


@pytest.fixture
def encode(make_learner: MakeLearner) -> PairEncoder:
    return PairEncoder(make_learner("llama").encoder, make_learner("neox").encoder)


def test_both_models_read_the_same_examples(
    encode: PairEncoder, examples: Sequence[Example]
) -> None:
    pairs = encode(examples)
    assert [pair.left for pair in pairs] == encode.left(examples)
    assert [pair.right for pair in pairs] == encode.right(examples)
    assert [pair.lengths for pair in pairs] == [(len(p.left), len(p.right)) for p in pairs]


def test_chunks_are_those_of_each_example_by_itself(
    encode: PairEncoder, examples: Sequence[Example]
) -> None:
    for pair in encode(examples):
        alone = align(
            pair.left.ends,
            np.zeros_like(pair.left.ends),
            pair.right.ends,
            np.zeros_like(pair.right.ends),
        )
        for name, column in vars(alone).items():
            assert np.array_equal(getattr(pair.chunks, name), column), name


def test_examples_are_aligned_once_and_all_together(
    encode: PairEncoder, examples: Sequence[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(*sides: np.ndarray) -> object:
        calls.append(int(sides[1][-1]) + 1)
        return align(*sides)

    monkeypatch.setattr(pair_encoding, "align", counted)
    first = encode([*examples[:3], examples[0]])
    assert first[0] is first[3]
    again = encode(examples)
    assert again[:3] == first[:3]
    encode(examples)
    assert calls == [3, len(examples) - 3]


def test_blocks_of_examples_are_aligned_as_all_of_them(
    encode: PairEncoder, examples: Sequence[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encode(examples)
    monkeypatch.setattr(pair_encoding, "BLOCK", 2)
    in_blocks = PairEncoder(encode.left, encode.right)(examples)
    for one, other in zip(whole, in_blocks, strict=True):
        assert (one.left, one.right) == (other.left, other.right)
        for name, column in vars(one.chunks).items():
            assert np.array_equal(getattr(other.chunks, name), column)


def test_no_examples_are_no_pairs(encode: PairEncoder) -> None:
    assert encode([]) == []


def test_totals_add_up_both_sides_rows_and_the_chunks(
    encode: PairEncoder, examples: Sequence[Example]
) -> None:
    empty = Example("Name it.", "pay", ("",), "bank", "bank", "test")  # EOS alone on both sides
    assert totals_of(encode([empty, empty])) == Totals(2, 2, 2)
    pairs = encode(examples)
    assert totals_of(pairs) == Totals(
        left_rows=sum(len(pair.left.answer) for pair in pairs),
        right_rows=sum(len(pair.right.answer) for pair in pairs),
        chunks=sum(len(pair.chunks.left_first) for pair in pairs),
    )
    assert totals_of([]) == Totals(0, 0, 0)
