"""`coplms.models.attention`: padding at the end needs no mask, and changes no prediction."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from coplms.models.attention import padding_comes_last
from coplms.models.language_model import LanguageModel

MakeModel = Callable[[str], LanguageModel]
LENGTHS = (9, 5, 1)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Three texts, and a mask that is 1 at their tokens."""
    mask = torch.tensor([[1] * length + [0] * (9 - length) for length in LENGTHS])
    return torch.randint(5, 300, (3, 9)), mask


# Mistral and Gemma 2 look back 8 and 4 tokens only, so their masks must not vanish altogether.
@pytest.mark.parametrize(
    "architecture",
    ["llama", "qwen2", "gpt_neox", "bloom", "gpt2", "mistral", "gemma2", "opt", "phi"],
)
def test_predictions_of_real_tokens_are_those_with_a_mask(
    architecture: str, make_model: MakeModel, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    network = make_model(architecture).network
    ids, mask = batch
    masked = network(input_ids=ids, attention_mask=mask, use_cache=False).logits
    with padding_comes_last():
        found = network(input_ids=ids, attention_mask=mask, use_cache=False).logits
    torch.testing.assert_close(found[mask.bool()], masked[mask.bool()])


def masks_given_to_attention(
    network: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor], patch: pytest.MonkeyPatch
) -> list[bool]:
    """For each layer, whether PyTorch's attention got a mask."""
    given: list[bool] = []
    real = functional.scaled_dot_product_attention

    def attend(*args: torch.Tensor, attn_mask: torch.Tensor | None, **kwargs: object) -> object:
        given.append(attn_mask is not None)
        return real(*args, attn_mask=attn_mask, **kwargs)

    with patch.context() as changed:
        changed.setattr(functional, "scaled_dot_product_attention", attend)
        network(input_ids=batch[0], attention_mask=batch[1], use_cache=False)
    return given


def test_no_mask_is_built_inside_and_one_is_outside(
    make_model: MakeModel,
    batch: tuple[torch.Tensor, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = make_model("llama").network
    with padding_comes_last():
        assert masks_given_to_attention(network, batch, monkeypatch) == [False] * 4
    assert masks_given_to_attention(network, batch, monkeypatch) == [True] * 4


def fail_inside() -> None:
    with padding_comes_last():
        raise RuntimeError("stopped")


def test_masks_come_back_when_the_block_fails() -> None:
    before = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]
    with padding_comes_last():
        assert ALL_MASK_ATTENTION_FUNCTIONS["sdpa"] is not before
    with pytest.raises(RuntimeError, match="stopped"):
        fail_inside()
    assert ALL_MASK_ATTENTION_FUNCTIONS["sdpa"] is before
