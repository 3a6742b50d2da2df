from typing import get_args

import pytest
import torch
from torch import Tensor

from coplms.losses.fused_rows import fused_cross_entropy, fused_top_k_loss
from coplms.losses.head import Head, Rows
from coplms.losses.rows import Divergence, TopK, divergence, token_nll, top_k_probabilities

from .batches import make_texts

F64 = torch.float64
FORMS = [{}, {"bias": True}, {"softcap": 1.5}, {"terms": 2}]


def gradients(loss: Tensor, rows: Rows) -> list[Tensor]:
    return list(torch.autograd.grad(loss, rows.tensors(), retain_graph=True))


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("width", [1, 4, 100])
def test_cross_entropy_is_that_of_all_logits(form: dict[str, float], width: int) -> None:
    rows = make_texts(1, **form).left.rows  # type: ignore[arg-type]
    wanted = token_nll(rows.logits(), rows.targets).mean()
    found = fused_cross_entropy(rows, width)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    for gradient, target in zip(gradients(found, rows), gradients(wanted, rows), strict=True):
        torch.testing.assert_close(gradient, target, rtol=1e-12, atol=1e-12)


def test_a_piece_counts_by_the_rows_of_the_whole_step() -> None:
    rows = make_texts(1).left.rows
    whole, piece = fused_cross_entropy(rows, 4), fused_cross_entropy(rows, 4, 3 * len(rows))
    torch.testing.assert_close(piece, whole / 3, rtol=1e-12, atol=0)


def test_without_gradients_there_is_no_graph() -> None:
    rows = make_texts(1).left.rows
    with torch.no_grad():
        assert not fused_cross_entropy(rows, 4).requires_grad


def make_teacher(rows: Rows, k: int) -> TopK:
    generator = torch.Generator().manual_seed(2)
    size = rows.head.vocab_size
    logits = torch.randn(len(rows), size, generator=generator, dtype=F64)
    top = logits.softmax(1).topk(k)
    ids = top.indices.clone()
    ids[::3, -1] = -1
    weights = (torch.rand(len(rows), generator=generator) > 0.3).double()
    return TopK(ids, top.values.masked_fill(ids < 0, 0.0), weights)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("kind", get_args(Divergence))
def test_top_k_loss_and_gradients_are_those_of_the_plain_path(
    form: dict[str, float], temperature: float, kind: Divergence
) -> None:
    rows = make_texts(1, **form).left.rows  # type: ignore[arg-type]
    teacher = make_teacher(rows, 3)
    peer = torch.cat([teacher.probabilities, 1 - teacher.probabilities.sum(1, keepdim=True)], 1)
    own = top_k_probabilities(rows.logits(), teacher.ids, temperature)
    kl = (teacher.weights * divergence(own, peer, kind)).mean()
    ce = token_nll(rows.logits(), rows.targets).mean()
    wanted = 0.9 * ce + 0.3 * temperature**2 * kl
    found = fused_top_k_loss(
        rows,
        teacher,
        4,
        ce_weight=0.9,
        weight=0.3,
        temperature=temperature,
        divergence=kind,
    )
    torch.testing.assert_close(found.total, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.ce, ce, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.divergence, kl, rtol=1e-12, atol=0)
    for gradient, target in zip(gradients(found.total, rows), gradients(wanted, rows), strict=True):
        torch.testing.assert_close(gradient, target, rtol=1e-11, atol=1e-12)


def test_the_tail_is_a_class_of_its_own_and_nothing_is_renormalised() -> None:
    # Student 0.5, 0.25, 0.25; the teacher knows one token, at 0.5: the tails agree, all is learnt.
    logits = torch.tensor([[0.5, 0.25, 0.25]], dtype=F64).log()
    rows = Rows(
        (torch.ones(1, 1, dtype=F64),), Head((logits.t().requires_grad_(),)), torch.tensor([0])
    )
    one = torch.ones(1, dtype=F64)
    teacher = TopK(torch.tensor([[0]]), torch.tensor([[0.5]], dtype=F64), one)
    loss = fused_top_k_loss(rows, teacher, 1, ce_weight=0.0)
    assert loss.divergence.abs() < 1e-15
    (gradient,) = torch.autograd.grad(loss.total, rows.head.weights)
    assert gradient.abs().max() < 1e-15
    # At 0.8 the student must move 0.3 from the tail to that token: by 0.15 for each of two others.
    teacher = TopK(torch.tensor([[0]]), torch.tensor([[0.8]], dtype=F64), one)
    loss = fused_top_k_loss(rows, teacher, 1, ce_weight=0.0)
    wanted = torch.tensor([[-0.3], [0.15], [0.15]], dtype=F64)
    (gradient,) = torch.autograd.grad(loss.total, rows.head.weights)
    torch.testing.assert_close(gradient, wanted)
