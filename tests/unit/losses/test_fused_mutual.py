from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coplms.losses.mutual import Exchange, MutualLoss, Totals
from coplms.losses.plan import BlockSizes

from .batches import Texts, View, frozen, make_texts

SIZES = BlockSizes(width=3, capacity=7)
NAMES = ("left", "right", "left_ce", "right_ce", "left_kl", "right_kl", "left_open", "right_open")
KINDS = ("forward_kl", "reverse_kl", "jsd")
GATES = ("none", "sample", "chunk")
EXCHANGES = [
    *(Exchange(1.0, divergence=kind, gate=gate) for kind in KINDS for gate in GATES),
    *(Exchange(0.7, 2.0, kind, gate) for kind in KINDS for gate in GATES),
    *(Exchange(1.3, tau, kind, "none", True) for kind in KINDS for tau in (1.0, 0.6)),
    Exchange(2.0, 1.5, "jsd", "chunk", True),
    Exchange(1.0, 1.0, "forward_kl", "sample", True),
    Exchange(1.0, 3.0, "reverse_kl", "sample", True),
    Exchange(1.0, gate="sample", leaks=(0.3, 0.0)),
    Exchange(1.0, gate="chunk", leaks=(0.2, 0.9)),
    Exchange(1.0, gate="none", heard=(0.0, 1.0)),
    Exchange(1.0, gate="sample", leaks=(0.3, 0.0), heard=(1.0, 0.5)),
]


def assert_same(found: MutualLoss, wanted: MutualLoss, texts: Texts, tolerance: float) -> None:
    for name in NAMES:
        torch.testing.assert_close(
            getattr(found, name), getattr(wanted, name), rtol=tolerance, atol=tolerance
        )
    for side in ("left", "right"):
        view: View = getattr(texts, side)
        pairs = zip(
            view.gradients(getattr(found, side)),
            view.gradients(getattr(wanted, side)),
            strict=True,
        )
        for gradient, target in pairs:
            assert gradient is not None
            torch.testing.assert_close(gradient, target, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("exchange", EXCHANGES, ids=str)
@pytest.mark.parametrize("foreign", [False, True], ids=["all classes", "foreign tokens"])
def test_losses_and_gradients_are_those_of_the_plain_path(
    exchange: Exchange, foreign: bool
) -> None:
    for seed in range(3):
        texts = make_texts(seed, foreign=foreign)
        assert_same(texts.fused(exchange, SIZES), texts.plain(exchange), texts, 1e-12)


@pytest.mark.parametrize(
    "form",
    [{"bias": True}, {"softcap": 1.5}, {"terms": 2}, {"bias": True, "softcap": 2.0, "terms": 3}],
    ids=str,
)
@pytest.mark.parametrize("exchange", EXCHANGES[-5:], ids=str)
def test_every_form_of_head_gives_the_plain_gradients(
    exchange: Exchange, form: dict[str, float]
) -> None:
    texts = make_texts(5, **form)  # type: ignore[arg-type]
    assert_same(texts.fused(exchange, SIZES), texts.plain(exchange), texts, 1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    width=st.integers(1, 9),
    capacity=st.integers(1, 40),
    exchange=st.sampled_from(EXCHANGES),
    scale=st.sampled_from([0.3, 1.0, 4.0]),
)
def test_losses_do_not_depend_on_the_blocks(
    seed: int, width: int, capacity: int, exchange: Exchange, scale: float
) -> None:
    texts = make_texts(seed, scale=scale, num_samples=3)
    sizes = BlockSizes(width, max(width, capacity))
    # Where logits are large, 1e-12 of the loss is asked for, and of the gradients what
    # subtracting nearly equal probabilities leaves.
    assert_same(texts.fused(exchange, sizes), texts.plain(exchange), texts, 1e-11)


@pytest.mark.parametrize("exchange", EXCHANGES[:-4], ids=str)
def test_swapping_the_sides_swaps_the_losses(exchange: Exchange) -> None:
    texts = make_texts(1)
    one, two = texts.fused(exchange, SIZES), texts.swapped().fused(exchange, SIZES)
    for name in ("ce", "kl", "open"):
        assert getattr(one, f"left_{name}") == getattr(two, f"right_{name}")
        assert getattr(one, f"right_{name}") == getattr(two, f"left_{name}")
    assert one.left == two.right
    assert one.right == two.left


def test_a_frozen_side_saves_no_graph_and_changes_nothing_for_the_other() -> None:
    for exchange in EXCHANGES:
        both = make_texts(2)
        one = replace(both, left=frozen(both.left))
        wanted, found = both.plain(exchange), one.fused(exchange, SIZES)
        assert not found.left.requires_grad
        assert found.left_kl == found.left_open == 0
        torch.testing.assert_close(found.left_ce, wanted.left_ce, rtol=1e-12, atol=0)
        torch.testing.assert_close(found.right, wanted.right, rtol=1e-12, atol=0)
        for gradient, target in zip(
            both.right.gradients(found.right), both.right.gradients(wanted.right), strict=True
        ):
            torch.testing.assert_close(gradient, target, rtol=1e-12, atol=1e-12)


def test_a_frozen_head_takes_no_gradient_and_hidden_states_do() -> None:
    texts = make_texts(3)
    texts.left.rows.head.weights[0].requires_grad_(False)
    exchange = EXCHANGES[0]
    assert_same(texts.fused(exchange, SIZES), texts.plain(exchange), texts, 1e-12)
    texts.fused(exchange, SIZES).left.backward()
    assert texts.left.rows.head.weights[0].grad is None
    assert texts.left.rows.inputs[0].grad is not None


def test_pieces_of_a_batch_add_up_to_the_batch() -> None:
    exchange = Exchange(1.0, gate="sample")
    pieces = [make_texts(seed) for seed in (7, 8)]
    counts = [piece.totals for piece in pieces]
    totals = Totals(
        *(sum(getattr(c, n) for c in counts) for n in ("left_rows", "right_rows", "chunks"))
    )
    for way in ("plain", "fused"):
        losses = [
            p.plain(exchange, totals) if way == "plain" else p.fused(exchange, SIZES, totals)
            for p in pieces
        ]
        alone = [piece.plain(exchange) for piece in pieces]
        for side, divisor in (("left", "left_rows"), ("right", "right_rows")):
            ce = sum(getattr(loss, f"{side}_ce") for loss in losses)
            mean = sum(
                getattr(loss, f"{side}_ce") * getattr(count, divisor)
                for loss, count in zip(alone, counts, strict=True)
            ) / getattr(totals, divisor)
            torch.testing.assert_close(ce, mean, rtol=1e-12, atol=0)
            kl = sum(getattr(loss, f"{side}_kl") for loss in losses)
            mean = (
                sum(
                    getattr(loss, f"{side}_kl") * count.chunks
                    for loss, count in zip(alone, counts, strict=True)
                )
                / totals.chunks
            )
            torch.testing.assert_close(kl, mean, rtol=1e-12, atol=0)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_without_chunks_or_weight_only_cross_entropy_is_left(weight: float) -> None:
    texts = make_texts(4)
    if weight:
        nothing = torch.zeros(0, dtype=torch.long)
        left, right = (replace(v, first=nothing, count=nothing) for v in (texts.left, texts.right))
        texts = Texts(left, right, nothing)
    exchange = Exchange(weight, gate="sample", chunk_event=True)
    for sizes in (SIZES, BlockSizes(1, 1)):
        losses = texts.fused(exchange, sizes)
        assert_same(losses, texts.plain(exchange), texts, 1e-12)
        assert losses.left_kl == losses.right_open == 0


def test_float32_loses_no_more_than_its_precision() -> None:
    for exchange in EXCHANGES:
        if exchange.gate != "none":
            continue  # a gate may fall to the other side
        exact, rounded = make_texts(6), make_texts(6, dtype=torch.float32)
        wanted, found = exact.plain(exchange), rounded.fused(exchange, SIZES)
        # A class that an event leaves 1e-6 is the difference of two larger numbers.
        tolerance = 5e-5 if exchange.chunk_event else 2e-6
        torch.testing.assert_close(found.left.double(), wanted.left, rtol=tolerance, atol=0)
        for gradient, target in zip(
            rounded.left.gradients(found.left), exact.left.gradients(wanted.left), strict=True
        ):
            assert gradient is not None
            assert target is not None
            assert (gradient.double() - target).norm() < 10 * tolerance * target.norm()


def test_bfloat16_stays_within_two_percent_of_the_exact_gradient() -> None:
    for exchange in (Exchange(1.0, gate="none"), Exchange(1.0, 2.0, "jsd", "none")):
        exact = make_texts(6, num_samples=12)
        rounded = make_texts(6, num_samples=12, dtype=torch.bfloat16)
        wanted, found = exact.plain(exchange), rounded.fused(exchange, SIZES)
        torch.testing.assert_close(found.left.double(), wanted.left, rtol=0.02, atol=0.0)
        for gradient, target in zip(
            rounded.left.gradients(found.left), exact.left.gradients(wanted.left), strict=True
        ):
            assert gradient is not None
            assert target is not None
            assert gradient.dtype == torch.bfloat16
            assert (gradient.double() - target).norm() < 0.02 * target.norm()


def test_classes_without_any_mass_give_finite_gradients() -> None:
    # The left is sure of a token that counts for nobody: nothing is left for all others.
    texts = make_texts(9, dtype=torch.float32, foreign=True)
    with torch.no_grad():
        texts.left.rows.head.weights[0][-2:] *= 1000
    for exchange in EXCHANGES:
        losses = texts.fused(exchange, SIZES)
        for view, loss in ((texts.left, losses.left), (texts.right, losses.right)):
            assert loss.isfinite()
            assert all(g is not None and g.isfinite().all() for g in view.gradients(loss))


def test_a_second_backward_pass_says_that_gradients_are_used_up() -> None:
    loss = make_texts(1).fused(EXCHANGES[0], SIZES).left
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated before"):
        loss.backward()
