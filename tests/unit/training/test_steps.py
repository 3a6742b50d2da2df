"""SFT, distillation and mutual steps on tiny real models, in float64."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from coplms.alignment.classes import load_class_map
from coplms.config.method import SamlConfig
from coplms.data.example import Example
from coplms.errors import ModelError
from coplms.losses.mutual import Exchange
from coplms.models.load import vocab_size
from coplms.training.batches import collate
from coplms.training.distill import distill_step
from coplms.training.learner import Learner
from coplms.training.loop import StepLoss
from coplms.training.pair import Pairing, pair
from coplms.training.pair_encoding import totals_of
from coplms.training.saml import Standing, exchange_of, mutual_step
from coplms.training.sft import nats_per_byte, sft_step

MakeLearner = Callable[..., Learner]
OPEN = Exchange(1.0, gate="none")


def make_pairing(left: Learner, right: Learner) -> Pairing:
    class_map = load_class_map(
        left.model.tokenizer,
        right.model.tokenizer,
        vocab_size(left.model),
        vocab_size(right.model),
        None,
    )
    return pair(left, right, class_map)


def step(
    pairing: Pairing,
    examples: Sequence[Example],
    exchange: Exchange = OPEN,
    learns: tuple[bool, bool] = (True, True),
) -> StepLoss:
    return mutual_step(pairing, pairing.encoder(examples), exchange, learns)


def num_rows(learner: Learner, examples: Sequence[Example]) -> int:
    return sum(len(encoded.answer) for encoded in learner.encoder(examples))


def num_chunks(pairing: Pairing, examples: Sequence[Example]) -> int:
    return totals_of(pairing.encoder(examples)).chunks


@pytest.fixture(params=["fused", "plain"])
def pairing(make_learner: MakeLearner, request: pytest.FixtureRequest) -> Pairing:
    loss = request.param
    return make_pairing(make_learner("llama", loss=loss), make_learner("neox", loss=loss))


@pytest.mark.parametrize("gate", ["none", "sample"])
def test_a_batchs_losses_are_the_means_over_its_texts_whatever_their_padding(
    pairing: Pairing, examples: Sequence[Example], gate: str
) -> None:
    exchange = Exchange(1.0, gate=gate, chunk_event=True)
    whole = step(pairing, examples, exchange).metrics
    alone = [step(pairing, [example], exchange).metrics for example in examples]
    chunks = [num_chunks(pairing, [example]) for example in examples]
    for name, learner in (("left", pairing.left), ("right", pairing.right)):
        rows = [num_rows(learner, [example]) for example in examples]
        nats = sum(m[f"{name}_ce"] * n for m, n in zip(alone, rows, strict=True))
        torch.testing.assert_close(whole[f"{name}_ce"], nats / sum(rows), rtol=1e-12, atol=0)
        for kind in ("kl", "open"):
            parts = sum(m[f"{name}_{kind}"] * n for m, n in zip(alone, chunks, strict=True))
            torch.testing.assert_close(whole[f"{name}_{kind}"], parts / sum(chunks))


@pytest.mark.parametrize("gate", ["none", "sample", "chunk"])
@pytest.mark.parametrize("learns", [(True, True), (True, False), (False, True)])
def test_the_fused_and_the_plain_way_give_the_same_loss_and_gradients(
    make_learner: MakeLearner,
    examples: Sequence[Example],
    gate: str,
    learns: tuple[bool, bool],
) -> None:
    exchange = Exchange(0.8, 2.0, "jsd", gate, chunk_event=True)
    found = []
    for loss in ("fused", "plain"):
        sides = [make_learner("llama", 3, loss), make_learner("neox", loss=loss)]
        pairing = make_pairing(*sides)
        assert pairing.is_fused == (loss == "fused")
        result = step(pairing, examples, exchange, learns)
        result.total.backward()
        gradients = [p.grad for side in sides for p in side.model.network.parameters()]
        found.append((result, gradients))
    (one, ours), (two, theirs) = found
    torch.testing.assert_close(one.total, two.total, rtol=1e-12, atol=0)
    assert one.metrics.keys() == two.metrics.keys()
    for name, value in one.metrics.items():
        torch.testing.assert_close(value, two.metrics[name], rtol=1e-12, atol=1e-12)
    assert (one.tokens, one.answer_tokens) == (two.tokens, two.answer_tokens)
    for gradient, wanted in zip(ours, theirs, strict=True):
        assert (gradient is None) == (wanted is None)
        if gradient is not None:
            torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)


def test_a_head_that_cannot_be_fused_is_refused_by_name_or_done_the_plain_way(
    make_learner: MakeLearner, examples: Sequence[Example], caplog: pytest.LogCaptureFixture
) -> None:
    def shifted(loss: str) -> Learner:
        learner = make_learner("llama", loss=loss)
        head = learner.model.network.get_output_embeddings()
        head.register_forward_hook(lambda _, __, logits: logits - logits.square())
        return learner

    with pytest.raises(ModelError, match=r"'llama'.*LlamaForCausalLM.*compute.loss: auto"):
        make_pairing(shifted("fused"), make_learner("neox")).is_fused  # noqa: B018
    found = [
        step(make_pairing(shifted(loss), make_learner("neox")), examples).total
        for loss in ("auto", "plain")
    ]
    assert found[0] == found[1]
    [notice] = caplog.messages
    assert "'llama'" in notice
    assert "plain way" in notice


def test_the_order_of_the_batch_does_not_matter(
    pairing: Pairing, examples: Sequence[Example]
) -> None:
    one = step(pairing, examples, Exchange(1.0))
    two = step(pairing, examples[::-1], Exchange(1.0))
    torch.testing.assert_close(one.total, two.total, rtol=1e-12, atol=0)
    for name, value in one.metrics.items():
        torch.testing.assert_close(value, two.metrics[name], rtol=1e-12, atol=1e-15)


def test_swapping_the_models_swaps_the_losses(
    pairing: Pairing, examples: Sequence[Example]
) -> None:
    one = step(pairing, examples).metrics
    two = step(make_pairing(pairing.right, pairing.left), examples).metrics
    for name in ("ce", "kl", "open"):
        assert one[f"left_{name}"] == two[f"right_{name}"]
        assert one[f"right_{name}"] == two[f"left_{name}"]


@pytest.mark.parametrize("learns", [(True, False), (False, True)])
def test_a_frozen_side_gets_no_gradient(
    pairing: Pairing, examples: Sequence[Example], learns: tuple[bool, bool]
) -> None:
    step(pairing, examples, learns=learns).total.backward()
    for learner, on in zip((pairing.left, pairing.right), learns, strict=True):
        gradients = [parameter.grad for parameter in learner.model.network.parameters()]
        assert all((gradient is not None) == on for gradient in gradients)


@pytest.mark.parametrize("extra_columns", [0, 6])
def test_one_tokenizer_on_both_sides_is_plain_kl(
    make_learner: MakeLearner,
    tokenizers: dict[str, PreTrainedTokenizerFast],
    examples: Sequence[Example],
    extra_columns: int,
) -> None:
    # Padded columns of one model have no counterpart, so its KL is that of the others' conditional.
    left, right = make_learner("llama"), make_learner("llama", extra_columns)
    for parameter in right.model.network.parameters():
        parameter.data *= 1.5
    found = step(make_pairing(left, right), examples).metrics
    size = len(tokenizers["llama"])
    batch = collate(left.encoder(examples), left.pad, torch.device("cpu"))
    logs = [
        learner.model.network(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        .logits.flatten(0, 1)[batch.rows, :size]
        .log_softmax(-1)
        for learner in (left, right)
    ]
    expected = torch.nn.functional.kl_div(logs[0], logs[1], reduction="batchmean", log_target=True)
    torch.testing.assert_close(found["left_kl"], expected, rtol=1e-11, atol=0)
    assert found["left_kl"] > 0


def test_texts_are_compared_at_their_ends_at_least(pairing: Pairing) -> None:
    empty = Example("Name it.", "pay", ("",), "bank", "bank", "test")
    assert num_chunks(pairing, [empty]) == 1
    assert step(pairing, [empty]).metrics["left_kl"] > 0


def test_tokens_that_only_one_side_has_are_foreign(
    make_learner: MakeLearner, tokenizers: dict[str, PreTrainedTokenizerFast]
) -> None:
    padded = make_pairing(make_learner("llama", extra_columns=4), make_learner("llama"))
    left, right = padded.seats
    assert right.foreign is None
    assert left.foreign is not None
    size = len(tokenizers["llama"])
    assert left.foreign.nonzero().flatten().tolist() == list(range(size, size + 4))
    both = make_pairing(make_learner("llama"), make_learner("neox"))
    assert all(seat.foreign is None for seat in both.seats)  # both have special tokens


def test_the_first_answer_token_moves_the_row_before_it_in_both_models(pairing: Pairing) -> None:
    (text,) = [Example("", "pay", ("pay",), "bank", "bank", "test")]
    seen = {}
    for name, learner in (("left", pairing.left), ("right", pairing.right)):

        def keep(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
            if inputs[0].requires_grad:  # not where the head is tried out
                inputs[0].retain_grad()
                seen[name] = inputs[0]

        learner.model.network.get_output_embeddings().register_forward_pre_hook(keep)
    step(pairing, [text]).total.backward()
    for name, learner in (("left", pairing.left), ("right", pairing.right)):
        (encoded,) = learner.encoder([text])
        gradient = seen[name].grad
        assert gradient is not None
        learned = (gradient[0].abs().sum(-1) > 0).nonzero().flatten().tolist()
        first = len(encoded.prompt) - 1
        assert learned == list(range(first, first + len(encoded.answer)))


def test_lambda_rises_over_the_ramp() -> None:
    config = SamlConfig(weight=2.0, ramp_fraction=0.5, temperature=3.0, gate="chunk")
    assert [exchange_of(config, p).weight for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 1.0, 2.0, 2.0]
    assert exchange_of(config, 0.0).temperature == 3.0
    assert exchange_of(config, 0.0).gate == "chunk"
    assert exchange_of(SamlConfig(weight=2.0, ramp_fraction=0.0), 0.0).weight == 2.0


def test_gates_come_to_leak_once_the_text_is_known() -> None:
    def leaks(left: tuple[float, float], right: tuple[float, float]) -> tuple[float, float]:
        config = SamlConfig(fresh_passes=2.0)
        return exchange_of(config, 0.5, Standing(*left), Standing(*right)).leaks

    assert leaks((1.0, 1.0), (2.0, 1.0)) == (0.0, 0.0)
    assert leaks((4.0, 1.0), (10.0, 1.0)) == (0.5, 0.8)
    assert exchange_of(SamlConfig(), 0.5, Standing(9.0, 1.0)).leaks == (0.0, 0.0)
    # A peer of twice the cost or more teaches nothing; the better one teaches it all.
    assert leaks((4.0, 1.0), (4.0, 2.5)) == (0.0, 0.5)
    assert leaks((4.0, 2.0), (4.0, 3.0)) == (0.25, 0.5)


def test_sft_is_the_mean_over_the_answers_tokens_alone(
    make_learner: MakeLearner, examples: Sequence[Example]
) -> None:
    learner = make_learner()
    nats, count = 0.0, 0
    for encoded in learner.encoder(examples):
        tokens = torch.tensor([[*encoded.prompt, *encoded.answer]])
        logs = learner.model.network(input_ids=tokens).logits.log_softmax(-1)[0]
        for place in range(len(encoded.prompt), tokens.shape[1]):
            nats -= logs[place - 1, tokens[0, place]].item()
            count += 1
    loss = sft_step(learner, learner.encoder(examples))
    assert loss.total.item() == pytest.approx(nats / count, rel=1e-12)
    lengths = [len(encoded) - 1 for encoded in learner.encoder(examples)]
    assert loss.places == len(examples) * max(lengths)
    assert loss.tokens == sum(lengths)
    assert loss.answer_tokens == count
    plain = make_learner(loss="plain")
    torch.testing.assert_close(sft_step(plain, plain.encoder(examples)).total, loss.total)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_nats_per_byte_counts_the_answers_bytes_and_their_end(
    make_learner: MakeLearner, examples: Sequence[Example], batch_size: int
) -> None:
    learner = make_learner()
    encoded = learner.encoder(examples)
    nats = sft_step(learner, encoded).total.item() * num_rows(learner, examples)
    num_bytes = sum(len(f" {example.answer}".encode()) + 1 for example in examples)
    assert nats_per_byte(learner, encoded, batch_size) == pytest.approx(nats / num_bytes, rel=1e-12)


@pytest.mark.parametrize("loss_kind", ["fused", "plain"])
def test_distillation_is_kl_to_the_teacher_plus_cross_entropy(
    make_learner: MakeLearner, loss_kind: str
) -> None:
    pairing = make_pairing(*(make_learner("llama", loss=loss_kind) for _ in range(2)))
    teacher, student = pairing.left.model, pairing.right.model
    for parameter in teacher.network.parameters():
        parameter.data *= 1.3
    blocks = torch.randint(5, 300, (2, 6))
    loss = distill_step(pairing, blocks, temperature=2.0)
    peer = teacher.network(input_ids=blocks[:, :-1]).logits.flatten(0, 1)
    own = student.network(input_ids=blocks[:, :-1]).logits.flatten(0, 1)
    kl = torch.nn.functional.kl_div(
        (own / 2).log_softmax(-1), (peer / 2).softmax(-1), reduction="batchmean"
    )
    ce = torch.nn.functional.cross_entropy(own, blocks[:, 1:].flatten())
    torch.testing.assert_close(loss.total, 4 * kl + ce, rtol=1e-12, atol=0)
    assert loss.metrics["kl"].item() == pytest.approx(kl.item())
    loss.total.backward()
    assert all(parameter.grad is None for parameter in teacher.network.parameters())
    assert all(parameter.grad is not None for parameter in student.network.parameters())


def test_a_perfect_copy_has_no_divergence(make_learner: MakeLearner) -> None:
    pairing = make_pairing(make_learner("llama"), make_learner("llama"))
    loss = distill_step(pairing, torch.randint(5, 300, (2, 6)), temperature=1.0)
    assert loss.metrics["kl"] == 0
    assert math.isfinite(loss.metrics["ce"])
