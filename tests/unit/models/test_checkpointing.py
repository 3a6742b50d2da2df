"""`coplms.models.checkpointing`: what is kept, and what is computed again."""

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from coplms.models.checkpointing import checkpointed
from coplms.models.language_model import LanguageModel

MakeModel = Callable[[str], LanguageModel]


def passes_through_first_block(network: torch.nn.Module) -> int:
    """Forward passes of the first block's first linear layer in one step."""
    seen: list[bool] = []
    block = network.model.layers[0]
    handle = block.self_attn.q_proj.register_forward_hook(lambda *_: seen.append(True))
    ids = torch.arange(5, 17).view(2, 6)
    network(input_ids=ids, use_cache=False).logits.sum().backward()
    handle.remove()
    return len(seen)


def test_blocks_are_computed_twice_inside_and_once_outside(make_model: MakeModel) -> None:
    network = make_model("llama").network
    with checkpointed(network):
        assert passes_through_first_block(network) == 2
    assert passes_through_first_block(network) == 1


def test_less_is_kept_for_the_backward_pass(make_model: MakeModel) -> None:
    network = make_model("llama").network

    def kept() -> int:
        total = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(input_ids=torch.arange(5, 35).view(2, 15), use_cache=False)
        return total

    whole = kept()
    with checkpointed(network):
        assert kept() < whole / 2


def test_embeddings_below_frozen_blocks_take_no_gradients(make_model: MakeModel) -> None:
    network = make_model("llama").network
    network.requires_grad_(False)
    network.lm_head.weight.requires_grad_(True)
    outputs: list[torch.Tensor] = []
    network.model.norm.register_forward_hook(lambda _, __, output: outputs.append(output))
    with checkpointed(network):
        network(input_ids=torch.arange(5, 11).view(1, 6), use_cache=False).logits.sum().backward()
    assert not outputs[0].requires_grad
    assert network.lm_head.weight.grad is not None


def fail_inside(network: PreTrainedModel) -> None:
    with checkpointed(network):
        assert "forward" in vars(network.transformer.h[0])
        raise RuntimeError("stopped")


def test_blocks_are_unwrapped_when_the_block_fails(make_model: MakeModel) -> None:
    network = make_model("gpt2").network
    with pytest.raises(RuntimeError, match="stopped"):
        fail_inside(network)
    assert "forward" not in vars(network.transformer.h[0])
