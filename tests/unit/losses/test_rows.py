import math

import pytest
import torch
from torch import Tensor

from coplms.losses.rows import (
    FLOOR,
    class_probabilities,
    divergence,
    probabilities,
    token_nll,
    with_event,
)

F64 = torch.float64
KINDS = ("forward_kl", "reverse_kl", "jsd")


def logs(*values: float) -> Tensor:
    """Logits whose softmax is these probabilities, as one row."""
    return torch.tensor([values], dtype=F64).log()


def random_logits(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, dtype=F64) * 3


def test_the_nll_is_minus_the_logarithm_of_the_targets_probability() -> None:
    nll = token_nll(logs(0.2, 0.3, 0.5), torch.tensor([2]))
    assert nll.item() == pytest.approx(math.log(2), abs=1e-14)


def test_temperature_two_takes_the_square_root_of_probability_ratios() -> None:
    # sqrt(0.64) : sqrt(0.36) = 0.8 : 0.6
    nll = token_nll(logs(0.64, 0.36), torch.tensor([0]), temperature=2.0)
    assert nll.exp().item() == pytest.approx(1.4 / 0.8, abs=1e-14)
    torch.testing.assert_close(
        probabilities(logs(0.64, 0.36), 2.0), torch.tensor([[0.8, 0.6]], dtype=F64) / 1.4
    )


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_above_0_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        probabilities(torch.zeros(1, 2), temperature)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        token_nll(torch.zeros(1, 2), torch.tensor([0]), temperature)


def test_half_precision_logits_give_float32_losses() -> None:
    logits = torch.randn(3, 5).bfloat16()
    assert token_nll(logits, torch.tensor([0, 1, 2])).dtype == torch.float32
    folded = class_probabilities(logits, torch.tensor([0, 0, 1, 1, 2]), 3)
    torch.testing.assert_close(
        folded, class_probabilities(logits.float(), torch.tensor([0, 0, 1, 1, 2]), 3)
    )


def test_a_classs_probability_is_the_sum_over_its_tokens() -> None:
    folded = class_probabilities(logs(0.1, 0.2, 0.3, 0.4), torch.tensor([1, 0, 1, 3]), 4)
    torch.testing.assert_close(folded, torch.tensor([[0.2, 0.4, 0.0, 0.4]], dtype=F64))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_folding_preserves_mass(temperature: float) -> None:
    logits = random_logits(50, 400)
    folded = class_probabilities(logits, torch.randint(0, 90, (400,)), 90, temperature)
    assert (folded.sum(1) - 1).abs().max() < 1e-12


def test_columns_of_minus_infinity_have_no_part_in_the_mass_and_get_no_gradient() -> None:
    logits = logs(0.1, 0.3, 0.6).requires_grad_()
    masked = logits.masked_fill(torch.tensor([False, False, True]), -torch.inf)
    folded = class_probabilities(masked, torch.tensor([0, 1, 2]), 3)
    torch.testing.assert_close(folded, torch.tensor([[0.25, 0.75, 0.0]], dtype=F64))
    (gradient,) = torch.autograd.grad(divergence(folded, folded.flip(1)).sum(), logits)
    assert gradient[0, 2] == 0
    assert gradient.isfinite().all()


def test_divergences_of_a_hand_worked_case() -> None:
    own = torch.tensor([[0.5, 0.5]], dtype=F64)
    peer = torch.tensor([[0.25, 0.75]], dtype=F64)
    forward = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    reverse = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    to_mixture = 0.5 * math.log(0.5 / 0.375) + 0.5 * math.log(0.5 / 0.625)
    from_peer = 0.25 * math.log(0.25 / 0.375) + 0.75 * math.log(0.75 / 0.625)
    assert divergence(own, peer, "forward_kl").item() == pytest.approx(forward, abs=1e-15)
    assert divergence(own, peer, "reverse_kl").item() == pytest.approx(reverse, abs=1e-15)
    jsd = (to_mixture + from_peer) / 2
    assert divergence(own, peer, "jsd").item() == pytest.approx(jsd, abs=1e-15)


def test_forward_and_reverse_kl_are_torchs() -> None:
    own, peer = probabilities(random_logits(20, 30)), probabilities(random_logits(20, 30))
    kl = torch.nn.functional.kl_div
    forward = kl(own.log(), peer, reduction="none").sum(1)
    reverse = kl(peer.log(), own, reduction="none").sum(1)
    torch.testing.assert_close(divergence(own, peer, "forward_kl"), forward)
    torch.testing.assert_close(divergence(own, peer, "reverse_kl"), reverse)


@pytest.mark.parametrize("kind", KINDS)
def test_divergences_are_0_for_equals_and_never_negative(kind: str) -> None:
    own, peer = probabilities(random_logits(200, 6)), probabilities(random_logits(200, 6))
    assert divergence(own, own, kind).abs().max() == 0
    assert divergence(own, peer, kind).min() > 0


def test_the_jensen_shannon_divergence_is_symmetric_and_at_most_log_2() -> None:
    own = torch.tensor([[1.0, 0.0]], dtype=F64)
    peer = torch.tensor([[0.0, 1.0]], dtype=F64)
    assert divergence(own, peer, "jsd").item() == pytest.approx(math.log(2))
    own, peer = probabilities(random_logits(9, 5)), probabilities(random_logits(9, 5))
    torch.testing.assert_close(divergence(own, peer, "jsd"), divergence(peer, own, "jsd"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_peer_gets_no_gradient(kind: str) -> None:
    own = probabilities(random_logits(3, 4)).requires_grad_()
    peer = probabilities(random_logits(3, 4)).requires_grad_()
    divergence(own, peer, kind).sum().backward()
    assert own.grad is not None
    assert own.grad.abs().sum() > 0
    assert peer.grad is None


def test_the_gradient_of_forward_kl_is_the_methods_formula() -> None:
    # dL/dz_a = p_a (g_k(a) - sum_k P_k g_k) / tau with g_k = -Q_k / P_k.
    logits, tau = random_logits(1, 5).requires_grad_(), 2.0
    classes = torch.tensor([0, 1, 1, 2, 0])
    peer = torch.tensor([[0.2, 0.5, 0.3]], dtype=F64)
    own = class_probabilities(logits, classes, 3, tau)
    (gradient,) = torch.autograd.grad(divergence(own, peer).sum(), logits)
    g = (-peer / own).detach()
    p = probabilities(logits, tau).detach()
    expected = p * (g[:, classes] - (own.detach() * g).sum()) / tau
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_finite_differences(kind: str) -> None:
    peer = probabilities(random_logits(2, 3))

    def loss(logits: Tensor) -> Tensor:
        return divergence(
            class_probabilities(logits, torch.tensor([0, 1, 2, 1]), 3, 1.5), peer, kind
        )

    assert torch.autograd.gradcheck(loss, (torch.randn(2, 4, dtype=F64, requires_grad=True),))


def test_outcomes_without_probability_are_finite() -> None:
    certain = torch.tensor([[1.0, 0.0]], dtype=F64, requires_grad=True)
    loss = divergence(certain, torch.tensor([[0.5, 0.5]], dtype=F64))
    assert loss.item() == pytest.approx(0.5 * math.log(0.5) + 0.5 * math.log(0.5 / FLOOR))
    loss.sum().backward()
    assert certain.grad is not None
    assert certain.grad.isfinite().all()


def test_a_chunk_becomes_an_outcome_taken_from_its_first_tokens_class() -> None:
    classes = torch.tensor([[0.5, 0.5], [0.5, 0.5]], dtype=F64)
    outcomes = with_event(
        classes,
        first_class=torch.tensor([1, 1]),
        event_log_probability=torch.tensor([0.2, 0.2], dtype=F64).log(),
        is_chunk=torch.tensor([True, False]),
    )
    expected = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.5, 0.0]], dtype=F64)
    torch.testing.assert_close(outcomes, expected)


def test_the_first_class_keeps_a_millionth_or_all_that_it_has() -> None:
    classes = torch.tensor([[0.4, 0.6], [1 - 1e-7, 1e-7]], dtype=F64)
    outcomes = with_event(
        classes,
        first_class=torch.tensor([1, 1]),
        event_log_probability=torch.tensor([0.6, 1e-7], dtype=F64).log(),
        is_chunk=torch.tensor([True, True]),
    )
    expected = torch.tensor([[0.4, 1e-6, 0.6 - 1e-6], [1 - 1e-7, 1e-7, 0.0]], dtype=F64)
    torch.testing.assert_close(outcomes, expected, rtol=0, atol=1e-15)


def test_events_preserve_mass() -> None:
    classes = probabilities(random_logits(100, 8))
    outcomes = with_event(
        classes, torch.randint(0, 8, (100,)), -torch.rand(100, dtype=F64) * 9, torch.rand(100) > 0.3
    )
    assert (outcomes.sum(1) - 1).abs().max() < 1e-12
    assert outcomes.min() >= 0


def test_the_event_gets_the_gradient_of_all_its_tokens() -> None:
    def outcomes(logits: Tensor, log_probability: Tensor) -> Tensor:
        classes = class_probabilities(logits, torch.tensor([0, 1, 1]), 2)
        return with_event(classes, torch.tensor([1]), log_probability, torch.tensor([True]))

    logits = torch.zeros(1, 3, dtype=F64, requires_grad=True)
    log_probability = torch.tensor([-2.0], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(outcomes, (logits, log_probability))
