import numpy as np
import pytest

from coplms.losses.plan import BlockSizes, plan_groups


@pytest.mark.parametrize("gate", ["none", "sample", "chunk"])
def test_the_blocks_hold_every_chunk_once_and_in_order(gate: str) -> None:
    generator = np.random.default_rng(0)
    for width, capacity in ((1, 1), (3, 5), (4, 50)):
        samples = np.sort(generator.integers(0, 9, 40))
        spans = [
            s for g in plan_groups(samples, gate, BlockSizes(width, capacity)) for s in g.spans
        ]
        assert [at for span in spans for at in range(span.start, span.stop)] == list(range(40))
        assert all(0 < span.stop - span.start <= width for span in spans)


def test_a_gate_by_sample_never_parts_a_sample() -> None:
    samples = np.array([0, 0, 0, 4, 4, 5, 5, 5, 5, 5, 5, 9])
    for width, wanted in (
        (2, [(0, 3), (3, 5), (5, 11), (11, 12)]),
        (5, [(0, 5), (5, 11), (11, 12)]),
    ):
        groups = plan_groups(samples, "sample", BlockSizes(width, 5))
        borders = [(group.spans[0].start, group.spans[-1].stop) for group in groups]
        assert borders == wanted
        is_long = [stop - start > 5 for start, stop in wanted]
        assert [group.is_held for group in groups] == [not long for long in is_long]


def test_no_chunks_need_no_blocks() -> None:
    for gate in ("none", "sample"):
        assert plan_groups(np.zeros(0, dtype=np.int64), gate, BlockSizes(2, 5)) == []


def test_blocks_stay_within_the_budget() -> None:
    for vocab_sizes, num_classes in (((4096, 8192), 4000), ((32_000, 32_000), 26_000)):
        sizes = BlockSizes.within(2**25, vocab_sizes, num_classes, 4, widest=128)
        held = sizes.capacity * sum(vocab_sizes) * 4
        work = sizes.width * (4 * num_classes + max(vocab_sizes)) * 4
        assert held + work <= 2**25
        assert sizes.capacity >= sizes.width > 1


def test_a_budget_too_small_for_a_row_gives_blocks_of_one_row() -> None:
    assert BlockSizes.within(1, (10, 10), 10, 4, widest=128) == BlockSizes(1, 1)


def test_a_block_is_never_wider_than_asked_for() -> None:
    assert BlockSizes.within(2**40, (10, 10), 10, 4, widest=128).width == 128
