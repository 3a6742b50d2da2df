"""The losses of SAML against a reference that folds token by token into dicts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from coplms.losses.mutual import Exchange, MutualLoss, Side, mutual_loss

F64 = torch.float64
NUM_CLASSES = 6
OTHER = 5


def side(
    logits: Tensor,
    targets: list[int],
    classes: list[int],
    first: list[int],
    count: list[int],
    foreign: list[bool] | None = None,
) -> Side:
    return Side(
        logits.clone().requires_grad_(),
        torch.tensor(targets),
        torch.tensor(classes),
        torch.tensor(first, dtype=torch.long),
        torch.tensor(count, dtype=torch.long),
        torch.tensor(foreign) if foreign else None,
    )


def make_sides(foreign: bool = False) -> tuple[Side, Side, Tensor]:
    """Three texts; the second of two chunks, and one that only the left has rows of its own for."""
    generator = torch.Generator().manual_seed(4)
    left = side(
        torch.randn(7, 8, generator=generator, dtype=F64) * 2,
        targets=[3, 1, 0, 2, 7, 5, 6],
        classes=[0, 1, 1, 2, 3, 4, 0, OTHER],
        first=[0, 2, 3, 6],
        count=[2, 1, 3, 1],
        foreign=[False] * 7 + [True] if foreign else None,
    )
    right = side(
        torch.randn(6, 7, generator=generator, dtype=F64) * 2,
        targets=[2, 5, 0, 4, 3, 1],
        classes=[3, 4, 2, 2, 0, 1, 1 if foreign else OTHER],
        first=[0, 1, 2, 5],
        count=[1, 1, 2, 1],
    )
    return left, right, torch.tensor([0, 0, 1, 2])


def reference(left: Side, right: Side, samples: Tensor, exchange: Exchange) -> tuple[Tensor, ...]:
    """L_left, L_right, and the parts of chunks with an open gate, with loops and dicts."""
    nll = [_nll(part, 1.0) for part in (left, right)]
    costs = [
        [
            sum(rows[int(f) + i].item() for i in range(int(c)))
            for f, c in zip(part.first, part.count, strict=True)
        ]
        for part, rows in zip((left, right), nll, strict=True)
    ]
    if exchange.gate == "sample":
        costs = [
            [sum(c for c, s in zip(own, samples, strict=True) if s == sample) for sample in samples]
            for own in costs
        ]
    results = []
    for own, peer, me, you in ((left, right, 0, 1), (right, left, 1, 0)):
        terms, num_open = [], 0
        for chunk in range(len(samples)):
            if exchange.gate == "none" or costs[you][chunk] < costs[me][chunk]:
                num_open += 1
                whole = int(left.count[chunk]) > 1 or int(right.count[chunk]) > 1
                p = _outcomes(own, chunk, whole, exchange)
                q = {k: v.detach() for k, v in _outcomes(peer, chunk, whole, exchange).items()}
                terms.append(_distance(p, q, exchange.divergence))
        kl = sum(terms, start=torch.zeros((), dtype=F64)) / len(samples)
        ce = sum(nll[me], start=torch.zeros((), dtype=F64)) / len(nll[me])
        results.append((ce + exchange.weight * exchange.temperature**2 * kl, num_open))
    opened = torch.tensor([num / len(samples) for _, num in results], dtype=F64)
    return results[0][0], results[1][0], opened


def _nll(part: Side, tau: float) -> list[Tensor]:
    return [
        -torch.log(torch.exp(row[target] / tau) / torch.exp(row / tau).sum())
        for row, target in zip(part.logits, part.targets, strict=True)
    ]


def _outcomes(part: Side, chunk: int, whole: bool, exchange: Exchange) -> dict[int, Tensor]:
    first, count = int(part.first[chunk]), int(part.count[chunk])
    tau = exchange.temperature
    weights = {
        token: torch.exp(part.logits[first, token] / tau)
        for token in range(part.logits.shape[1])
        if part.foreign is None or not part.foreign[token]
    }
    total = sum(weights.values(), start=torch.zeros((), dtype=F64))
    p: dict[int, Tensor] = {}
    for token, weight in weights.items():
        number = int(part.classes[token])
        p[number] = p.get(number, torch.zeros((), dtype=F64)) + weight / total
    if exchange.chunk_event and whole:
        rows = _nll(part, tau)[first : first + count]
        event = torch.exp(-sum(rows, start=torch.zeros((), dtype=F64)))
        number = int(part.classes[part.targets[first]])
        event = torch.minimum(event, (p[number] - 1e-6).clamp_min(0))
        p[number] = p[number] - event
        p[-1] = event
    return p


def _distance(p: dict[int, Tensor], q: dict[int, Tensor], kind: str) -> Tensor:
    def kl(a: dict[int, Tensor], b: dict[int, Tensor]) -> Tensor:
        terms = [a[k] * (torch.log(a[k]) - torch.log(b[k])) for k in a if a[k] > 0]
        return torch.stack(terms).sum()

    if kind == "forward_kl":
        return kl(q, p)
    if kind == "reverse_kl":
        return kl(p, q)
    middle = {k: (p[k] + q[k]) / 2 for k in p}
    return (kl(p, middle) + kl(q, middle)) / 2


def gradients(loss: Tensor, *sides: Side) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, [s.logits for s in sides], allow_unused=True))


EXCHANGES = [
    Exchange(1.0, gate="none"),
    Exchange(0.7, temperature=2.0, gate="none"),
    Exchange(1.0, divergence="reverse_kl", gate="none"),
    Exchange(1.0, temperature=0.5, divergence="jsd", gate="none"),
    Exchange(1.0, gate="sample"),
    Exchange(1.3, gate="chunk"),
    Exchange(1.0, gate="none", chunk_event=True),
    Exchange(2.0, temperature=1.5, divergence="jsd", gate="chunk", chunk_event=True),
    Exchange(1.0, temperature=3.0, divergence="reverse_kl", gate="sample", chunk_event=True),
]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=str)
@pytest.mark.parametrize("foreign", [False, True], ids=["all classes", "foreign tokens"])
def test_losses_and_gradients_equal_the_reference(exchange: Exchange, foreign: bool) -> None:
    left, right, samples = make_sides(foreign)
    found = mutual_loss(left, right, samples, NUM_CLASSES, exchange)
    expected_left, expected_right, opened = reference(left, right, samples, exchange)
    torch.testing.assert_close(found.left, expected_left, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.right, expected_right, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.stack([found.left_open, found.right_open]), opened)
    total = gradients(found.left + found.right, left, right)
    for gradient, wanted in zip(
        total, gradients(expected_left + expected_right, left, right), strict=True
    ):
        torch.testing.assert_close(gradient, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("exchange", EXCHANGES, ids=str)
def test_each_sides_loss_reaches_only_its_own_logits(exchange: Exchange) -> None:
    left, right, samples = make_sides()
    losses = mutual_loss(left, right, samples, NUM_CLASSES, exchange)
    own, foreign = gradients(losses.left, left, right)
    assert own is not None
    assert own.abs().sum() > 0
    assert foreign is None or foreign.abs().max() == 0
    foreign, own = gradients(losses.right, left, right)
    assert own is not None
    assert foreign is None or foreign.abs().max() == 0


@pytest.mark.parametrize("exchange", EXCHANGES, ids=str)
def test_swapping_the_sides_swaps_the_losses(exchange: Exchange) -> None:
    left, right, samples = make_sides()
    one = mutual_loss(left, right, samples, NUM_CLASSES, exchange)
    two = mutual_loss(right, left, samples, NUM_CLASSES, exchange)
    for name in ("ce", "kl", "open"):
        assert getattr(one, f"left_{name}") == getattr(two, f"right_{name}")
        assert getattr(one, f"right_{name}") == getattr(two, f"left_{name}")
    assert one.left == two.right
    assert one.right == two.left


@pytest.mark.parametrize("exchange", [EXCHANGES[1], EXCHANGES[6]], ids=str)
def test_gradients_equal_finite_differences(exchange: Exchange) -> None:
    left, right, samples = make_sides()

    def loss(logits: Tensor) -> Tensor:
        return mutual_loss(replace(left, logits=logits), right, samples, NUM_CLASSES, exchange).left

    assert torch.autograd.gradcheck(loss, (left.logits,))


@pytest.mark.parametrize("foreign", [False, True])
def test_divergences_are_never_negative(foreign: bool) -> None:
    for exchange in EXCHANGES:
        left, right, samples = make_sides(foreign)
        losses = mutual_loss(left, right, samples, NUM_CLASSES, exchange)
        assert losses.left_kl >= 0
        assert losses.right_kl >= 0


def test_one_vocabulary_is_plain_kl() -> None:
    # Every token is a class of its own and every chunk one token, as for equal tokenizers.
    a, b = torch.randn(5, 9, dtype=F64), torch.randn(5, 9, dtype=F64)
    targets, rows = [1, 4, 0, 8, 2], list(range(5))
    left = side(a, targets, list(range(9)), rows, [1] * 5)
    right = side(b, targets, list(range(9)), rows, [1] * 5)
    losses = mutual_loss(left, right, torch.zeros(5, dtype=torch.long), 9, Exchange(1, gate="none"))
    log_p, log_q = a.log_softmax(1), b.log_softmax(1)
    kl = torch.nn.functional.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    ce = torch.nn.functional.cross_entropy(a, torch.tensor(targets))
    torch.testing.assert_close(losses.left_kl, kl, rtol=1e-13, atol=0)
    torch.testing.assert_close(losses.left, ce + kl, rtol=1e-13, atol=0)


def two_samples() -> tuple[Side, Side, Tensor]:
    """Two texts of two chunks each, of a token each, with these probabilities of the targets:

    left   0.9 0.1 | 0.9 0.1      cost -log 0.09 each
    right  0.5 0.5 | 0.2 0.2      cost -log 0.25 and -log 0.04
    """
    chances = torch.tensor([[0.9, 0.1, 0.9, 0.1], [0.5, 0.5, 0.2, 0.2]], dtype=F64)
    sides = [
        side(torch.stack([p.log(), (1 - p).log()], 1), [0] * 4, [0, 1], [0, 1, 2, 3], [1] * 4)
        for p in chances
    ]
    return sides[0], sides[1], torch.tensor([0, 0, 1, 1])


def kl_of(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


@pytest.mark.parametrize(
    ("gate", "left_learns", "right_learns"),
    [
        ("none", [1, 1, 1, 1], [1, 1, 1, 1]),
        ("sample", [1, 1, 0, 0], [0, 0, 1, 1]),
        ("chunk", [0, 1, 0, 1], [1, 0, 1, 0]),
    ],
)
def test_gates_open_where_the_peer_is_better(
    gate: str, left_learns: list[int], right_learns: list[int]
) -> None:
    left, right, samples = two_samples()
    losses = mutual_loss(left, right, samples, 2, Exchange(1.0, gate=gate))
    towards_right = np.array([kl_of(0.5, 0.9), kl_of(0.5, 0.1), kl_of(0.2, 0.9), kl_of(0.2, 0.1)])
    towards_left = np.array([kl_of(0.9, 0.5), kl_of(0.1, 0.5), kl_of(0.9, 0.2), kl_of(0.1, 0.2)])
    assert losses.left_kl.item() == pytest.approx(np.dot(left_learns, towards_right) / 4)
    assert losses.right_kl.item() == pytest.approx(np.dot(right_learns, towards_left) / 4)
    assert losses.left_open.item() == sum(left_learns) / 4
    assert losses.right_open.item() == sum(right_learns) / 4


def test_a_leak_is_what_a_shut_gate_lets_through() -> None:
    left, right, samples = two_samples()
    shut, leaky = (
        mutual_loss(left, right, samples, 2, Exchange(1.0, gate="sample", leaks=leaks))
        for leaks in ((0.0, 0.0), (0.25, 0.0))
    )
    assert leaky.left_open.item() == (1 + 1 + 0.25 + 0.25) / 4
    assert leaky.right == shut.right
    let_through = 0.25 * (kl_of(0.2, 0.9) + kl_of(0.2, 0.1)) / 4
    assert (leaky.left_kl - shut.left_kl).item() == pytest.approx(let_through)


def test_equally_good_models_leave_a_gate_shut() -> None:
    left, _, samples = two_samples()
    losses = mutual_loss(left, left, samples, 2, Exchange(1.0, gate="sample"))
    assert losses.left_open == losses.right_open == 0


def test_a_higher_temperature_keeps_the_size_of_small_gradients() -> None:
    # For logits near 0, tau^2 * KL of softened distributions tends to half the variance of their
    # differences, whatever tau is (Hinton et al. 2015, section 2.1).
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1, 4, generator=generator, dtype=F64) * 1e-3 for _ in range(2))
    found = []
    for tau in (1.0, 4.0):
        left, right = (side(z, [0], [0, 1, 2, 3], [0], [1]) for z in (a, b))
        exchange = Exchange(1.0, temperature=tau, gate="none")
        losses = mutual_loss(left, right, torch.tensor([0]), 4, exchange)
        found.append((losses.left - losses.left_ce).item())
        assert losses.left_kl.item() == pytest.approx(found[-1] / tau**2)
    assert found[0] == pytest.approx(found[1], rel=0.01)
    assert found[0] == pytest.approx((a - b).var(unbiased=False).item() / 2, rel=0.01)


def test_the_weight_scales_the_divergence_alone() -> None:
    left, right, samples = two_samples()
    one, three = (mutual_loss(left, right, samples, 2, Exchange(w, gate="none")) for w in (1, 3))
    torch.testing.assert_close(three.left - three.left_ce, 3 * (one.left - one.left_ce))
    assert three.left_ce == one.left_ce


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_without_chunks_or_weight_only_cross_entropy_is_left(weight: float) -> None:
    left, right, samples = two_samples()
    if weight:
        nothing = torch.zeros(0, dtype=torch.long)
        left, right = (replace(s, first=nothing, count=nothing) for s in (left, right))
        samples = nothing
    losses = mutual_loss(left, right, samples, 2, Exchange(weight, gate="sample"))
    assert losses.left == losses.left_ce
    assert losses.right == losses.right_ce
    assert losses.left_kl == losses.right_kl == losses.left_open == losses.right_open == 0
    own, _ = gradients(losses.left, left, right)
    assert own is not None
    assert own.abs().sum() > 0


def test_mass_that_the_peer_cannot_have_costs_nothing_and_gets_no_push() -> None:
    # The left's third token stands for a class that the right has no token of. Apart from it the
    # two agree, so there is nothing to learn, however probable it is.
    p = torch.tensor([[0.1, 0.3, 0.6]], dtype=F64)
    q = torch.tensor([[0.25, 0.75]], dtype=F64)
    left = side(p.log(), [0], [0, 1, 2], [0], [1], foreign=[False, False, True])
    right = side(q.log(), [0], [0, 1], [0], [1])
    for kind in ("forward_kl", "reverse_kl", "jsd"):
        exchange = Exchange(1.0, divergence=kind, gate="none")
        losses = mutual_loss(left, right, torch.tensor([0]), 3, exchange)
        for kl, own in ((losses.left_kl, left), (losses.right_kl, right)):
            assert kl.abs() < 1e-15
            (gradient,) = gradients(kl, own)
            assert gradient is not None
            assert gradient.abs().max() < 1e-15


def test_chunk_sums_do_not_depend_on_the_rows_before_them() -> None:
    def losses(rows_before: int) -> MutualLoss:
        generator = torch.Generator().manual_seed(1)
        before = torch.full((rows_before, 3), 0.0)
        before[:, 0] = 40.0  # a target that costs 40 nats: in float32, sums grow coarse
        own = torch.randn(2, 3, generator=generator) * 1e-3
        sides = []
        for logits in (own, own.flip(0)):
            targets = [1] * (rows_before + 2)
            first = [rows_before]
            sides.append(side(torch.cat([before, logits]), targets, [0, 1, 2], first, [2]))
        exchange = Exchange(1.0, gate="none", chunk_event=True)
        return mutual_loss(sides[0], sides[1], torch.tensor([0]), 3, exchange)

    assert losses(0).left_kl == losses(5000).left_kl


def test_sample_numbers_may_have_gaps() -> None:
    left, right, samples = two_samples()
    wide = torch.tensor([3, 3, 2**40, 2**40])
    one = mutual_loss(left, right, samples, 2, Exchange(1.0, gate="sample"))
    two = mutual_loss(left, right, wide, 2, Exchange(1.0, gate="sample"))
    assert (one.left, one.right) == (two.left, two.right)


def test_a_side_that_is_only_to_teach_learns_from_nobody() -> None:
    left, right, samples = make_sides()
    both = mutual_loss(left, right, samples, NUM_CLASSES, Exchange(2.0, gate="none"))
    deaf = Exchange(2.0, gate="none", heard=(0.0, 1.0))
    found = mutual_loss(left, right, samples, NUM_CLASSES, deaf)
    assert torch.equal(found.left, found.left_ce)
    assert torch.equal(found.right, both.right)
    assert found.left_kl.item() == 0
    for gate in ("sample", "chunk"):
        leaky = Exchange(2.0, gate=gate, leaks=(1.0, 1.0), heard=(1.0, 0.0))
        found = mutual_loss(left, right, samples, NUM_CLASSES, leaky)
        assert torch.equal(found.right, found.right_ce)
        assert found.left_open.item() == 1


def test_uld_compares_sorted_probabilities_whatever_the_tokens() -> None:
    left = side(torch.log(torch.tensor([[0.1, 0.6, 0.3]], dtype=F64)), [0], [0, 1, 2], [0], [1])
    right = side(
        torch.log(torch.tensor([[0.4, 0.1, 0.05, 0.45]], dtype=F64)), [3], [0, 1, 2, 3], [0], [1]
    )
    exchange = Exchange(0.5, divergence="uld", gate="none")
    found = mutual_loss(left, right, torch.zeros(1), 4, exchange)
    distance = abs(0.6 - 0.45) + abs(0.3 - 0.4) + abs(0.1 - 0.1) + 0.05
    assert found.left_kl.item() == pytest.approx(distance)
    assert found.right_kl.item() == pytest.approx(distance)
    assert found.left.item() == pytest.approx(-math.log(0.1) + 0.5 * distance)
    (gradient,) = torch.autograd.grad(found.left, left.logits, retain_graph=True)
    assert torch.autograd.grad(found.left, right.logits, allow_unused=True)[0] is None
    p = torch.tensor([0.1, 0.6, 0.3], dtype=F64)
    slope = torch.tensor([0.0, 1.0, -1.0], dtype=F64)  # of the distance; 0.1 meets 0.1
    wanted = p - torch.tensor([1.0, 0, 0]) + 0.5 * p * (slope - (p * slope).sum())
    assert torch.allclose(gradient[0], wanted)
