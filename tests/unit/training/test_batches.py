from collections import Counter

import numpy as np
import pytest
import torch

from coplms.training.batches import BUCKET_BATCHES, batch_indices, collate
from coplms.training.encoding import EncodedExample

CPU = torch.device("cpu")


def encoded(prompt: list[int], answer: list[int]) -> EncodedExample:
    ends = np.arange(1, len(answer) + 1, dtype=np.int64)
    return EncodedExample(tuple(prompt), tuple(answer), ends)


def test_rows_predict_the_answers_tokens_and_the_last_one_is_never_read() -> None:
    batch = collate([encoded([5, 6], [7, 8]), encoded([4], [9])], pad=0, device=CPU)
    assert batch.input_ids.tolist() == [[5, 6, 7], [4, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    # Row 1 (token 6) predicts 7, row 2 (token 7) predicts 8, row 3 (token 4) predicts 9.
    assert batch.rows.tolist() == [1, 2, 3]
    assert batch.targets.tolist() == [7, 8, 9]
    assert batch.samples.tolist() == [0, 0, 1]
    assert batch.ends.tolist() == [1, 2, 1]


def test_the_shortest_example_is_a_batch() -> None:
    batch = collate([encoded([5], [1])], pad=0, device=CPU)
    assert batch.input_ids.tolist() == [[5]]
    assert batch.rows.tolist() == [0]


def test_every_epoch_sees_every_example_once() -> None:
    lengths = list(range(1, 49))
    drawn = [i for batch in batch_indices([lengths], [8], steps=18, seed=5) for _, i in batch]
    assert Counter(drawn) == dict.fromkeys(range(48), 3)  # 18 * 8 = 3 epochs of 48


def test_a_window_of_batches_holds_whole_epochs() -> None:
    size = 4 * BUCKET_BATCHES
    steps = batch_indices([[7] * size], [4], steps=2 * BUCKET_BATCHES, seed=0)
    drawn = [index for batch in steps for _, index in batch]
    assert sorted(drawn[:size]) == sorted(drawn[size:]) == list(range(size))


def test_every_batch_has_each_pools_count_and_pools_have_epochs_of_their_own() -> None:
    batches = list(batch_indices([[3] * 20, [9] * 5], [3, 2], steps=10, seed=1))
    assert len(batches) == 10
    assert all([pool for pool, _ in batch] == [0, 0, 0, 1, 1] for batch in batches)
    counts = Counter(pair for batch in batches for pair in batch)
    assert all(counts[1, index] == 4 for index in range(5))  # 20 draws from 5
    assert sorted(counts[0, index] for index in range(20)) == [1] * 10 + [2] * 10


def test_the_seed_decides_the_order() -> None:
    def draw(seed: int) -> list[list[tuple[int, int]]]:
        return list(batch_indices([list(range(30))], [4], steps=20, seed=seed))

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_examples_of_similar_length_come_together() -> None:
    lengths = np.random.default_rng(0).integers(5, 200, size=1000).tolist()
    used = padded = 0
    for batch in batch_indices([lengths], [16], steps=60, seed=0):
        sizes = [lengths[index] for _, index in batch]
        used += sum(sizes)
        padded += len(sizes) * max(sizes)
    assert 1 - used / padded < 0.1  # about a half without buckets


def test_short_batches_do_not_all_come_first() -> None:
    longest = [
        max(index for _, index in batch)
        for batch in batch_indices([list(range(64))], [4], steps=16, seed=0)
    ]
    assert longest != sorted(longest)


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="without examples"):
        next(batch_indices([[1], []], [1, 1], steps=1, seed=0))
