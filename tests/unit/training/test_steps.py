"""SFT, distillation and mutual steps on tiny real models, in float64."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from coplms.alignment.classes import load_class_map
from coplms.alignment.places import align
from coplms.config.method import SamlConfig
from coplms.data.example import Example
from coplms.losses.mutual import Exchange
from coplms.models.load import vocab_size
from coplms.training.batches import collate
from coplms.training.distill import distill_step
from coplms.training.learner import Learner
from coplms.training.loop import StepLoss
from coplms.training.saml import Pairing, exchange_of, mutual_step, pair
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
    views = (pairing.left.encoder(examples), pairing.right.encoder(examples))
    return mutual_step(pairing, views, exchange, learns)


def num_rows(learner: Learner, examples: Sequence[Example]) -> int:
    return sum(len(encoded.answer) for encoded in learner.encoder(examples))


def num_chunks(pairing: Pairing, examples: Sequence[Example]) -> int:
    left = collate(pairing.left.encoder(examples), 0, torch.device("cpu"))
    right = collate(pairing.right.encoder(examples), 0, torch.device("cpu"))
    return len(align(left.ends, left.samples, right.ends, right.samples).sample)


@pytest.fixture
def pairing(make_learner: MakeLearner) -> Pairing:
    return make_pairing(make_learner("llama"), make_learner("neox"))


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
    assert padded.right_foreign is None
    assert padded.left_foreign is not None
    size = len(tokenizers["llama"])
    assert padded.left_foreign.nonzero().flatten().tolist() == list(range(size, size + 4))
    both = make_pairing(make_learner("llama"), make_learner("neox"))
    assert both.left_foreign is None  # both have special tokens
    assert both.right_foreign is None


def test_the_first_answer_token_moves_the_row_before_it_in_both_models(pairing: Pairing) -> None:
    (text,) = [Example("", "pay", ("pay",), "bank", "bank", "test")]
    seen = {}
    for name, learner in (("left", pairing.left), ("right", pairing.right)):

        def keep(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
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
    longest = max(len(encoded) for encoded in learner.encoder(examples))
    assert loss.tokens == len(examples) * (longest - 1)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_nats_per_byte_counts_the_answers_bytes_and_their_end(
    make_learner: MakeLearner, examples: Sequence[Example], batch_size: int
) -> None:
    learner = make_learner()
    encoded = learner.encoder(examples)
    nats = sft_step(learner, encoded).total.item() * num_rows(learner, examples)
    num_bytes = sum(len(f" {example.answer}".encode()) + 1 for example in examples)
    assert nats_per_byte(learner, encoded, batch_size) == pytest.approx(nats / num_bytes, rel=1e-12)


def test_distillation_is_kl_to_the_teacher_plus_cross_entropy(make_learner: MakeLearner) -> None:
    teacher, student = make_learner("llama").model, make_learner("llama").model
    for parameter in teacher.network.parameters():
        parameter.data *= 1.3
    blocks = torch.randint(5, 300, (2, 6))
    loss = distill_step(teacher, student, blocks, temperature=2.0)
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
    model = make_learner("llama").model
    loss = distill_step(model, model, torch.randint(5, 300, (2, 6)), temperature=1.0)
    assert loss.metrics["kl"] == 0
    assert math.isfinite(loss.metrics["ce"])
