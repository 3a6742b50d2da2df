import pytest
import torch
from transformers import PreTrainedTokenizerFast

from coplms.losses.rows import token_nll
from coplms.training.batches import Batch
from coplms.training.head import row_logits

from .reading import CONFIGS, make_batch, make_model


@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_rows_logits_and_gradients_are_those_of_all_logits(
    architecture: str, tokenizers: dict[str, PreTrainedTokenizerFast]
) -> None:
    model, batch = make_model(architecture, tokenizers["llama"]), make_batch()
    everything = model.network(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    expected = everything.logits.flatten(0, 1)[batch.rows]
    found = row_logits(model, batch)
    assert found.shape == (len(batch.rows), 50)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    parameters = [p for p in model.network.parameters() if p.requires_grad]
    wanted = torch.autograd.grad(token_nll(expected, batch.targets).sum(), parameters)
    gradients = torch.autograd.grad(token_nll(found, batch.targets).sum(), parameters)
    for gradient, target in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, target, rtol=1e-10, atol=1e-12)


def test_soft_capping_and_scaling_act_on_the_rows(
    tokenizers: dict[str, PreTrainedTokenizerFast],
) -> None:
    batch = make_batch()
    capped = make_model("gemma2 soft-capped", tokenizers["llama"])
    assert row_logits(capped, batch).abs().max() < 1.5
    scaled = make_model("cohere scaled", tokenizers["llama"])
    before = row_logits(scaled, batch)
    scaled.network.logit_scale *= 2
    torch.testing.assert_close(row_logits(scaled, batch), 2 * before)


def test_the_first_answer_token_is_learned_at_the_row_before_it(
    tokenizers: dict[str, PreTrainedTokenizerFast],
) -> None:
    model, batch = make_model("llama", tokenizers["llama"]), make_batch()
    hidden: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        inputs[0].retain_grad()
        hidden.append(inputs[0])

    handle = model.network.get_output_embeddings().register_forward_pre_hook(keep)
    token_nll(row_logits(model, batch), batch.targets).sum().backward()
    handle.remove()
    assert hidden[0].grad is not None
    learned = hidden[0].grad.abs().sum(-1) > 0
    # Prompts of 4, 1 and 2 tokens; answers of 2, 4 and 1 tokens.
    assert learned.int().tolist() == [[0, 0, 0, 1, 1], [1, 1, 1, 1, 0], [0, 1, 0, 0, 0]]


def test_the_model_is_left_as_it_was_even_after_an_error(
    tokenizers: dict[str, PreTrainedTokenizerFast],
) -> None:
    model, batch = make_model("llama", tokenizers["llama"]), make_batch()
    broken = Batch(
        batch.input_ids + 1000,
        batch.attention_mask,
        batch.rows,
        batch.targets,
        batch.samples,
        batch.ends,
    )
    with pytest.raises(IndexError):
        row_logits(model, broken)
    logits = model.network(input_ids=batch.input_ids).logits
    assert logits.shape == (3, 5, 50)


def test_half_precision_rows_stay_half_until_the_loss(
    tokenizers: dict[str, PreTrainedTokenizerFast],
) -> None:
    model, batch = make_model("llama", tokenizers["llama"]), make_batch()
    model.network.bfloat16()
    logits = row_logits(model, batch)
    assert logits.dtype == torch.bfloat16
    assert token_nll(logits, batch.targets).dtype == torch.float32
