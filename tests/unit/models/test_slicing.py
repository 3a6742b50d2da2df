"""`coplms.models.slicing`: which layers stay, and that the slice is a whole model."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from coplms.errors import ModelError
from coplms.models.language_model import LanguageModel
from coplms.models.slicing import evenly_spaced, find_layers, slice_model

MakeModel = Callable[[str], LanguageModel]
ARCHITECTURES = ["llama", "qwen2", "gpt_neox", "bloom", "gpt2", "mistral", "gemma2", "opt", "phi"]
IDS = torch.tensor([[5, 60, 9, 130, 7, 8, 201]])


@pytest.mark.parametrize(
    ("count", "wanted", "kept"),
    [(4, 2, [0, 3]), (5, 3, [0, 2, 4]), (3, 1, [0]), (3, 3, [0, 1, 2]), (6, 3, [0, 2, 5])],
)
def test_kept_layers_are_evenly_spaced(count: int, wanted: int, kept: list[int]) -> None:
    assert evenly_spaced(count, wanted) == kept


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_slice_is_a_smaller_model_that_saves_and_generates(
    architecture: str, make_model: MakeModel, tmp_path: Path
) -> None:
    llm = make_model(architecture)
    before = llm.network(IDS).logits
    dpm = slice_model(llm, 3, "dpm")
    assert dpm.name == "dpm"
    assert type(dpm.network) is type(llm.network)
    assert dpm.network.config.num_hidden_layers == 3
    assert llm.network.config.num_hidden_layers == 4
    old, new = find_layers(llm.network)[1], find_layers(dpm.network)[1]
    for index, layer in zip([0, 2, 3], new, strict=True):  # round(1.5) is 2
        pairs = zip(old[index].parameters(), layer.parameters(), strict=True)
        assert all(torch.equal(a, b) and a is not b for a, b in pairs)
    dpm.network.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(IDS).logits, dpm.network(IDS).logits)
    settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    cached = dpm.network.generate(IDS, use_cache=True, **settings)
    assert torch.equal(cached, dpm.network.generate(IDS, use_cache=False, **settings))
    for parameter in dpm.network.parameters():
        parameter.data.zero_()
    assert torch.equal(llm.network(IDS).logits, before)


@pytest.mark.parametrize("architecture", ["gemma2", "qwen2", "gpt2"])
def test_tied_embeddings_stay_tied(architecture: str, make_model: MakeModel) -> None:
    network = slice_model(make_model(architecture), 2, "dpm").network
    assert network.get_input_embeddings().weight is network.get_output_embeddings().weight


def test_lists_with_an_entry_per_layer_follow(make_model: MakeModel) -> None:
    llm = make_model("gemma2")
    sliding, full = llm.network.config.layer_types[:2]
    assert slice_model(llm, 2, "dpm").network.config.layer_types == [sliding, full]
    assert slice_model(llm, 3, "dpm").network.config.layer_types == [sliding, sliding, full]


def test_half_of_the_layers_are_kept_by_default(make_model: MakeModel) -> None:
    llm = slice_model(make_model("llama"), 3, "llm")
    assert len(find_layers(slice_model(llm, None, "dpm").network)[1]) == 2


def test_slicing_leaves_the_random_state_alone(make_model: MakeModel) -> None:
    llm = make_model("llama")
    before = torch.get_rng_state()
    slice_model(llm, 2, "dpm")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("layers", [0, 5])
def test_more_layers_than_there_are_is_refused(layers: int, make_model: MakeModel) -> None:
    with pytest.raises(ModelError, match=f"dpm.layers is {layers}, .* has 4 layers"):
        slice_model(make_model("llama"), layers, "dpm")


def test_a_network_whose_layers_depend_on_their_place_is_refused(make_model: MakeModel) -> None:
    llm = make_model("gpt2")
    llm.network.config.scale_attn_by_inverse_layer_idx = True
    with pytest.raises(ModelError, match="cannot change places"):
        slice_model(llm, 2, "dpm")


def test_a_network_without_layers_is_refused(make_model: MakeModel) -> None:
    llm = make_model("llama")
    llm.network.config.num_hidden_layers = 7
    with pytest.raises(ModelError, match="has no list of 7 layers"):
        slice_model(llm, 2, "dpm")
