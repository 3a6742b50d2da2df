"""`coplms.models.adapters`: two adapters on one network, saved and merged without loss."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

from coplms.errors import ConfigError
from coplms.models.adapters import (
    activate,
    active_adapters,
    adapter_parameters,
    add_adapter,
    base_parameters,
    find_target_modules,
    merged_copy,
    save_adapter,
    set_trainable,
)
from coplms.models.language_model import LanguageModel

MakeModel = Callable[[str], LanguageModel]
ARCHITECTURES = ["llama", "qwen2", "gpt_neox", "bloom", "gpt2", "opt", "phi", "mistral", "gemma2"]
IDS = torch.tensor([[5, 60, 9, 130, 7, 8, 201]])
GATED = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
BLOOM = ("dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value")


def add(model: LanguageModel, adapter: str, seed: int = 0, targets: tuple[str, ...] = ()) -> None:
    add_adapter(model, adapter, 2, 4.0, 0.0, targets, seed)


def fill(model: LanguageModel, adapter: str, seed: int) -> None:
    """Gives B values, so that the adapter changes something."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapter_parameters(model, adapter).items():
        if "lora_B" in name:
            parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def logits(network: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return network(input_ids=IDS).logits


def two_adapters(model: LanguageModel) -> LanguageModel:
    add(model, "shared")
    add(model, "domain", seed=1)
    fill(model, "shared", 2)
    fill(model, "domain", 3)
    return model


@pytest.mark.parametrize(
    ("architecture", "names"),
    [
        ("llama", GATED),
        ("gemma2", GATED),
        ("bloom", BLOOM),
        ("gpt_neox", BLOOM),
        ("gpt2", ("c_attn", "c_fc", "c_proj")),
        ("opt", ("fc1", "fc2", "k_proj", "out_proj", "q_proj", "v_proj")),
        ("phi", ("dense", "fc1", "fc2", "k_proj", "q_proj", "v_proj")),
    ],
)
def test_targets_are_the_linear_layers_of_the_blocks(
    architecture: str, names: tuple[str, ...], make_model: MakeModel
) -> None:
    model = make_model(architecture)
    assert find_target_modules(model.network) == names
    add(model, "shared")
    assert find_target_modules(model.network) == names


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_adapters_act_one_by_one_and_together(architecture: str, make_model: MakeModel) -> None:
    model = make_model(architecture)
    plain = logits(model.network)
    kind = type(model.network)
    add(model, "shared")
    torch.testing.assert_close(logits(model.network), plain)
    two_adapters(model := make_model(architecture))
    assert type(model.network) is kind
    assert active_adapters(model) == ("shared", "domain")
    seen = {}
    for adapters in [(), ("shared",), ("domain",), ("shared", "domain"), ()]:
        activate(model, adapters)
        assert active_adapters(model) == adapters
        seen[adapters] = logits(model.network)
    torch.testing.assert_close(seen[()], plain)
    values = list(seen.values())
    for index, left in enumerate(values):
        assert all(not torch.allclose(left, right) for right in values[index + 1 :])


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # within PEFT
@pytest.mark.parametrize(
    ("architecture", "adapter"),
    [("llama", "shared"), *((architecture, "domain") for architecture in ARCHITECTURES)],
)
def test_a_saved_adapter_is_a_peft_folder(
    architecture: str, adapter: str, make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model(architecture)
    model.network.save_pretrained(tmp_path / "base")
    two_adapters(model)
    model.path = str(tmp_path / "base")
    save_adapter(model, adapter, tmp_path / "adapter")
    activate(model, [adapter])
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded), logits(model.network))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "base")
    assert config["target_modules"] == list(find_target_modules(model.network))


@pytest.mark.parametrize(
    ("architecture", "adapters"),
    [
        ("llama", ()),
        ("gpt2", ("domain",)),
        *((architecture, ("shared", "domain")) for architecture in ARCHITECTURES),
    ],
)
def test_a_merged_copy_is_a_plain_model_with_the_same_answers(
    architecture: str, adapters: tuple[str, ...], make_model: MakeModel, tmp_path: Path
) -> None:
    model = two_adapters(make_model(architecture))
    activate(model, adapters)
    before = logits(model.network)
    merged = merged_copy(model, adapters)
    assert torch.equal(logits(model.network), before)
    merged.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    plain = make_model(architecture).network
    assert [n for n, _ in loaded.named_parameters()] == [n for n, _ in plain.named_parameters()]
    torch.testing.assert_close(logits(loaded), before, rtol=1e-4, atol=1e-4)
    settings = {"max_new_tokens": 5, "do_sample": False}
    expected = model.network.generate(IDS, **settings)
    assert torch.equal(loaded.generate(IDS, **settings), expected)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "bloom"])
def test_base_parameters_keep_the_plain_networks_names(
    architecture: str, make_model: MakeModel
) -> None:
    plain = dict(make_model(architecture).network.named_parameters())
    model = two_adapters(make_model(architecture))
    base = base_parameters(model)
    assert list(base) == list(plain)
    assert all(torch.equal(base[name], plain[name]) for name in plain)


def test_names_do_not_depend_on_the_adapters_name(make_model: MakeModel) -> None:
    model = two_adapters(make_model("llama"))
    shared = adapter_parameters(model, "shared")
    assert shared.keys() == adapter_parameters(model, "domain").keys()
    assert len(shared) == 4 * 7 * 2
    assert shared["model.layers.0.mlp.up_proj.lora_A.weight"].shape == (2, 16)
    assert not {id(p) for p in shared.values()} & {
        id(p) for p in adapter_parameters(model, "domain").values()
    }


def test_the_seed_decides_the_adapter_and_nothing_else_does(make_model: MakeModel) -> None:
    first, second, other = (make_model("llama") for _ in range(3))
    before = torch.get_rng_state()
    add(first, "shared", seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    add(second, "a", seed=3)
    add(other, "shared", seed=4)
    a, b = adapter_parameters(first, "shared"), adapter_parameters(second, "a")
    c = adapter_parameters(other, "shared")
    assert all(torch.equal(a[name], b[name]) for name in a)
    name = "model.layers.1.self_attn.q_proj.lora_A.weight"
    assert not torch.equal(a[name], c[name])
    assert a[name].abs().max() > 0


def test_adapters_of_a_bfloat16_network_are_float32(make_model: MakeModel) -> None:
    model = make_model("llama")
    model.network.to(torch.bfloat16)
    add(model, "shared")
    assert {p.dtype for p in adapter_parameters(model, "shared").values()} == {torch.float32}
    assert logits(model.network).dtype == torch.bfloat16
    fill(model, "shared", 0)
    assert {p.dtype for p in merged_copy(model, ["shared"]).parameters()} == {torch.bfloat16}


def test_only_the_trainable_parameters_get_gradients(make_model: MakeModel) -> None:
    model = two_adapters(make_model("llama"))
    shared = adapter_parameters(model, "shared")
    set_trainable(model, shared.values())
    activate(model, ["domain"])
    activate(model, [])
    activate(model, ["shared", "domain"])
    model.network(input_ids=IDS).logits.square().mean().backward()
    with_gradient = {id(p) for p in model.network.parameters() if p.grad is not None}
    assert with_gradient == {id(p) for p in shared.values()}
    set_trainable(model, base_parameters(model).values())
    assert not any(p.requires_grad for p in shared.values())
    assert all(p.requires_grad for p in base_parameters(model).values())


def test_a_chosen_target_is_the_only_one(make_model: MakeModel) -> None:
    model = make_model("llama")
    add(model, "shared", targets=("self_attn.q_proj",))
    names = {name.split(".")[4] for name in adapter_parameters(model, "shared")}
    assert names == {"q_proj"}


def test_a_linear_layer_outside_the_blocks_is_no_target(make_model: MakeModel) -> None:
    model = make_model("opt")
    model.network.model.decoder.fc1 = model.network.model.decoder.project_in
    add(model, "shared")
    assert all(".layers." in name for name in adapter_parameters(model, "shared"))


@pytest.mark.parametrize("target", ["query", "lm_head", "proj"])
def test_an_unknown_target_is_refused(target: str, make_model: MakeModel) -> None:
    with pytest.raises(ConfigError, match=f"'{target}' is no linear layer .* down_proj, gate_"):
        add(make_model("llama"), "shared", targets=("q_proj", target))


def test_an_adapter_cannot_be_added_twice(make_model: MakeModel) -> None:
    model = make_model("llama")
    add(model, "shared")
    with pytest.raises(ValueError, match="'shared' exists"):
        add(model, "shared")


def test_an_unknown_adapter_is_refused(make_model: MakeModel) -> None:
    model = make_model("llama")
    add(model, "shared")
    with pytest.raises(ValueError, match=r"no adapter 'domain'; it has \['shared'\]"):
        activate(model, ["domain"])
    with pytest.raises(ValueError, match="no adapter 'domain'"):
        adapter_parameters(model, "domain")
    with pytest.raises(ValueError, match="no adapter 'domain'"):
        merged_copy(model, ["domain"])


def test_foreign_parameters_are_refused(make_model: MakeModel) -> None:
    model, other = make_model("llama"), make_model("llama")
    with pytest.raises(ValueError, match="do not belong to 'llama'"):
        set_trainable(model, other.network.parameters())
