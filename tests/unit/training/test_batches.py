import numpy as np
import pytest
import torch

from coplms.alignment.places import Chunks, align
from coplms.training.batches import collate, collate_pair, on_device
from coplms.training.encoding import EncodedExample
from coplms.training.pair_encoding import align_pairs

CPU = torch.device("cpu")


def encoded(prompt: list[int], answer: list[int], ends: list[int] | None = None) -> EncodedExample:
    places = range(1, len(answer) + 1) if ends is None else ends
    return EncodedExample(tuple(prompt), tuple(answer), np.array(places, dtype=np.int64))


def columns(chunks: Chunks) -> dict[str, list[int]]:
    return {name: column.tolist() for name, column in vars(chunks).items()}


def test_rows_predict_the_answers_tokens_and_the_last_one_is_never_read() -> None:
    batch = collate([encoded([5, 6], [7, 8]), encoded([4], [9])], pad=0, device=CPU)
    assert batch.input_ids.tolist() == [[5, 6, 7], [4, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    # Row 1 (token 6) predicts 7, row 2 (token 7) predicts 8, row 3 (token 4) predicts 9.
    assert batch.rows.tolist() == [1, 2, 3]
    assert batch.targets.tolist() == [7, 8, 9]
    assert batch.samples.tolist() == [0, 0, 1]
    assert batch.ends.tolist() == [1, 2, 1]


def test_a_batch_counts_its_tokens_and_its_padding() -> None:
    batch = collate([encoded([5, 6], [7, 8]), encoded([4], [9])], pad=0, device=CPU)
    assert (batch.tokens, batch.answer_tokens, batch.places) == (4, 3, 6)


def test_the_shortest_example_is_a_batch() -> None:
    batch = collate([encoded([5], [1])], pad=0, device=CPU)
    assert batch.input_ids.tolist() == [[5]]
    assert batch.rows.tolist() == [0]


def test_chunks_of_a_pair_count_the_batchs_answer_tokens() -> None:
    #             ab|c|EOS against a|bc|EOS               x|EOS against x|EOS
    left = [encoded([5], [7, 8, 1], [2, 3, 4]), encoded([5, 6], [9, 1], [1, 2])]
    right = [encoded([3], [4, 5, 2], [1, 3, 4]), encoded([3], [6, 2], [1, 2])]
    batch = collate_pair(align_pairs(left, right), pads=(0, 9), devices=(CPU, CPU))
    assert columns(batch.chunks) == {
        "sample": [0, 0, 1, 1],
        "left_first": [0, 2, 3, 4],
        "left_count": [2, 1, 1, 1],
        "right_first": [0, 2, 3, 4],
        "right_count": [2, 1, 1, 1],
    }
    assert batch.left.input_ids.tolist() == [[5, 7, 8], [5, 6, 9]]
    assert batch.right.input_ids.tolist() == [[3, 4, 5], [3, 6, 9]]
    assert batch.right.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]


def random_pairs(seed: int) -> tuple[list[EncodedExample], list[EncodedExample]]:
    generator = np.random.default_rng(seed)
    sides: tuple[list[EncodedExample], list[EncodedExample]] = ([], [])
    for size in generator.integers(1, 12, size=7):
        for side in sides:
            kept = generator.random(size - 1) < 0.6
            ends = [*np.flatnonzero(kept) + 1, size, size + 1]  # the text's end, and EOS
            places = [int(end) if generator.random() < 0.9 else -1 for end in ends[:-1]]
            side.append(encoded([1], list(range(len(ends))), [*places, int(ends[-1])]))
    return sides


@pytest.mark.parametrize("seed", range(5))
def test_chunks_of_any_batch_are_those_of_aligning_it_as_a_whole(seed: int) -> None:
    left, right = random_pairs(seed)
    pairs = align_pairs(left, right)
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:5]
    batch = collate_pair([pairs[index] for index in chosen], (0, 0), (CPU, CPU))
    whole = align(batch.left.ends, batch.left.samples, batch.right.ends, batch.right.samples)
    assert columns(batch.chunks) == columns(whole)
    assert {column.dtype for column in vars(batch.chunks).values()} == {np.dtype(np.int64)}


def test_numbers_come_to_the_device_unchanged() -> None:
    assert on_device(np.array([3, 1, 2]), CPU).tolist() == [3, 1, 2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_batch_goes_to_the_gpu_without_the_host_waiting() -> None:
    device = torch.device("cuda")
    left, right = random_pairs(0)
    pairs = align_pairs(left, right)
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = collate_pair(pairs, (0, 0), (device, device))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    here = collate_pair(pairs, (0, 0), (CPU, CPU))
    for name in ("input_ids", "attention_mask", "rows", "targets"):
        assert torch.equal(getattr(batch.left, name).cpu(), getattr(here.left, name))
