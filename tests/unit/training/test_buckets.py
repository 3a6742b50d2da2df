from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from coplms.training.buckets import WINDOW, alike, batch_indices

Batches = list[list[tuple[int, int]]]


def column(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.array(lengths).reshape(-1, 1)


def draw(
    pools: Sequence[NDArray[np.int64]], counts: Sequence[int], steps: int, seed: int = 0
) -> Batches:
    return list(batch_indices(pools, counts, steps, seed))


def padding(batches: Batches, pools: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Part of the places that no token fills, for each model."""
    drawn = [np.array([pools[pool][index] for pool, index in batch]) for batch in batches]
    places = sum(len(batch) * batch.max(axis=0) for batch in drawn)
    return 1 - sum(batch.sum(axis=0) for batch in drawn) / places


def test_every_epoch_sees_every_example_once() -> None:
    batches = draw([column(range(1, 49))], [8], steps=18, seed=5)
    assert Counter(i for batch in batches for _, i in batch) == dict.fromkeys(range(48), 3)


def test_a_window_of_batches_holds_whole_epochs() -> None:
    size = 4 * WINDOW
    batches = draw([column([7] * size)], [4], steps=2 * WINDOW)
    drawn = [index for batch in batches for _, index in batch]
    assert sorted(drawn[:size]) == sorted(drawn[size:]) == list(range(size))


@pytest.mark.parametrize("size", [16, 50, 100, 700])
def test_an_example_does_not_meet_itself_in_a_batch(size: int) -> None:
    lengths = column([5, 9] * (size // 2))
    for batch in draw([lengths], [16], steps=min(size // 16, WINDOW)):
        assert len(set(batch)) == 16


def test_pools_have_their_share_of_every_window_and_epochs_of_their_own() -> None:
    pools = [column([3] * 60), column([9] * 20)]
    batches = draw(pools, [12, 4], steps=10)  # windows of five batches, an epoch of either pool
    for window in (batches[:5], batches[5:]):
        drawn = Counter(pair for batch in window for pair in batch)
        assert drawn == dict.fromkeys([(0, i) for i in range(60)] + [(1, i) for i in range(20)], 1)
    assert all(len(batch) == 16 for batch in batches)


def test_pools_of_different_lengths_do_not_pad_each_other() -> None:
    generator = np.random.default_rng(0)
    pools = [column(generator.integers(10, 20, 900)), column(generator.integers(80, 90, 300))]
    batches = draw(pools, [12, 4], steps=2 * WINDOW)
    assert padding(batches, pools) < 0.05  # more than half with a fixed share in each batch


def test_the_seed_decides_the_order() -> None:
    pools = [column(range(30)), column(range(100))]
    assert draw(pools, [2, 4], 20, seed=7) == draw(pools, [2, 4], 20, seed=7)
    assert draw(pools, [2, 4], 20, seed=7) != draw(pools, [2, 4], 20, seed=8)


def test_fewer_steps_are_the_beginning_of_more() -> None:
    pools = [column(range(200))]
    assert draw(pools, [4], 5) == draw(pools, [4], 70)[:5]


def test_examples_of_similar_length_come_together() -> None:
    lengths = column(np.random.default_rng(0).integers(5, 200, size=1000))
    batches = draw([lengths], [16], steps=60)
    assert padding(batches, [lengths]) < 0.05  # about a half without buckets


def test_both_models_lengths_come_together_where_they_do_not_rise_together() -> None:
    generator = np.random.default_rng(0)
    left = generator.integers(20, 100, size=1000)
    lengths = np.stack([left, left * generator.uniform(0.7, 1.3, size=1000)], axis=1).astype(int)
    batches = draw([lengths], [16], steps=60)
    assert (padding(batches, [lengths]) < 0.12).all()
    by_left = lengths[np.argsort(lengths[:, 0])][:992, 1].reshape(-1, 16)
    assert 1 - by_left.sum() / (16 * by_left.max(axis=1).sum()) > 0.15


def test_short_batches_do_not_all_come_first() -> None:
    longest = [max(index for _, index in batch) for batch in draw([column(range(64))], [4], 16)]
    assert longest != sorted(longest)


def test_batches_differ_from_epoch_to_epoch() -> None:
    batches = draw([column([5] * 64)], [4], steps=32)
    first, second = ({frozenset(batch) for batch in half} for half in (batches[:16], batches[16:]))
    assert not first & second


def test_halves_are_taken_by_the_length_that_leaves_the_fewest_places() -> None:
    # By the left lengths the first half would need 2 * (2 + 90) places, and so would the second.
    lengths = np.array([[1, 90], [2, 10], [1, 10], [2, 90]])
    assert [batch.tolist() for batch in alike(lengths, 2)] == [[2, 1], [0, 3]]


def test_every_example_is_in_one_batch_whatever_their_number() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, size=(7 * 3, 2))
    batches = alike(lengths, 3)
    assert [len(batch) for batch in batches] == [3] * 7
    assert sorted(np.concatenate(batches).tolist()) == list(range(21))


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="without examples"):
        draw([column([1]), column([])], [1, 1], steps=1)
