"""PEFT adapters: add, switch, freeze, write.

LoRA layers are injected into a model's network in place, several adapters side by side, so the
network stays the plain Hugging Face model that it was. Names of parameters are those of the plain
network, wherever layers were wrapped.
"""

import copy
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from coplms.errors import ConfigError
from coplms.models.language_model import LanguageModel
from coplms.models.slicing import find_layers

_ADAPTER_PARAMETER = re.compile(r"\.(lora_\w+)\.(?P<adapter>[^.]+)(?P<rest>\.|$)")


def find_target_modules(network: PreTrainedModel) -> tuple[str, ...]:
    """Names of all linear layers inside the transformer blocks, such as `q_proj`, sorted.

    Embeddings and the output head are not among them.

    Raises:
        ModelError: If the network has no list of blocks.
    """
    return tuple(sorted({name.rpartition(".")[2] for name in _block_linears(network)}))


def add_adapter(
    model: LanguageModel,
    adapter: str,
    rank: int,
    alpha: float,
    dropout: float,
    target_modules: tuple[str, ...],
    seed: int,
) -> None:
    """Adds a LoRA adapter that changes nothing yet: its B is 0, its A drawn by `seed`.

    It joins the active adapters. Its weights are float32 whatever the network's are. Which
    parameters require gradients is open afterwards: call `set_trainable`. PyTorch's global
    random state stays as it was.

    Args:
        model: Gets the adapter in place.
        adapter: New name, without dots.
        rank: LoRA rank r.
        alpha: Updates are scaled by alpha / rank.
        dropout: Probability with which an input of the adapter is dropped in training.
        target_modules: Names of linear layers in the blocks; empty takes all of them.
        seed: Decides A, on every device alike.

    Raises:
        ConfigError: If a target module is no linear layer of the blocks.
        ValueError: If the name has a dot, or the model has such an adapter.
    """
    if "." in adapter or adapter in _configs(model.network):
        raise ValueError(f"adapter '{adapter}' exists, or its name has a dot")
    targets = target_modules or find_target_modules(model.network)
    inside = _block_linears(model.network)
    _check_targets(model, targets, inside)
    config = LoraConfig(
        r=rank,
        lora_alpha=cast("int", alpha),  # PEFT only divides it by the rank
        lora_dropout=dropout,
        target_modules=list(targets),
        exclude_modules=_outside(model.network, targets) or None,
        fan_in_fan_out=isinstance(_plain(model.network.get_submodule(inside[0])), Conv1D),
        task_type="CAUSAL_LM",
    )
    active = active_adapters(model)
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        inject_adapter_in_model(config, model.network, adapter)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(adapter_parameters(model, adapter).items()):
        parameter.data = _initial(name, parameter, generator)
    activate(model, [*active, adapter])


def active_adapters(model: LanguageModel) -> tuple[str, ...]:
    """The adapters that act in the forward pass."""
    for layer in _lora_layers(model.network):
        return () if layer.disable_adapters else tuple(layer.active_adapters)
    return ()


def activate(model: LanguageModel, adapters: Sequence[str]) -> None:
    """Lets exactly these adapters act in the forward pass; their updates add up.

    What requires gradients stays as it was.

    Raises:
        ValueError: If the model has no adapter of such a name.
    """
    for adapter in adapters:
        _check_known(model, adapter)
    wanted = [(p, p.requires_grad) for p in model.network.parameters()]
    for layer in _lora_layers(model.network):
        if adapters:
            layer.set_adapter(list(adapters))
        layer.enable_adapters(bool(adapters))
    for parameter, requires_grad in wanted:
        parameter.requires_grad_(requires_grad)


def adapter_parameters(model: LanguageModel, adapter: str) -> dict[str, nn.Parameter]:
    """Name -> parameter of one adapter, such as `model.layers.0.mlp.up_proj.lora_A.weight`.

    Raises:
        ValueError: If the model has no such adapter.
    """
    _check_known(model, adapter)
    found = {}
    for name, parameter in model.network.named_parameters():
        match = _ADAPTER_PARAMETER.search(name)
        if match and match["adapter"] == adapter:
            found[_ADAPTER_PARAMETER.sub(r".\1\g<rest>", name)] = parameter
    return found


def base_parameters(model: LanguageModel) -> dict[str, nn.Parameter]:
    """Name -> parameter of the network without its adapters; tied parameters occur once."""
    return {
        name.replace(".base_layer.", "."): parameter
        for name, parameter in model.network.named_parameters()
        if not _ADAPTER_PARAMETER.search(name)
    }


def set_trainable(model: LanguageModel, parameters: Iterable[nn.Parameter]) -> None:
    """Makes exactly these parameters of the model require gradients, and freezes the others.

    Raises:
        ValueError: If a parameter is not the model's.
    """
    trainable = {id(parameter) for parameter in parameters}
    own = {id(parameter) for parameter in model.network.parameters()}
    if not trainable <= own:
        raise ValueError(f"{len(trainable - own)} parameters do not belong to '{model.name}'")
    for parameter in model.network.parameters():
        parameter.requires_grad_(id(parameter) in trainable)


def save_adapter(model: LanguageModel, adapter: str, folder: Path) -> None:
    """Writes a PEFT folder that `PeftModel.from_pretrained` loads onto the model at `model.path`.

    Raises:
        ValueError: If the model has no such adapter.
    """
    tensors = {
        f"base_model.model.{name}": parameter.detach().cpu().contiguous()
        for name, parameter in adapter_parameters(model, adapter).items()
    }
    config = copy.deepcopy(_configs(model.network)[adapter])
    config.base_model_name_or_path = model.path
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules or ())
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def merged_copy(model: LanguageModel, adapters: Sequence[str]) -> PreTrainedModel:
    """A plain copy of the network with these adapters added to its weights, the others dropped.

    Raises:
        ValueError: If the model has no adapter of such a name.
    """
    for adapter in adapters:
        _check_known(model, adapter)
    network = copy.deepcopy(model.network)
    wrapped = [(n, m) for n, m in network.named_modules() if isinstance(m, LoraLayer)]
    for name, layer in wrapped:
        if adapters:
            layer.merge(adapter_names=list(adapters))
        network.set_submodule(name, layer.get_base_layer())
    if hasattr(network, "peft_config"):
        del network.peft_config
    return network


def _block_linears(network: PreTrainedModel) -> list[str]:
    """Full names of the linear layers in the blocks; a wrapped one has its plain name."""
    place, blocks = find_layers(network)
    names: list[str] = []
    for name, module in blocks.named_modules(prefix=place):
        inside_wrapped = bool(names) and name.startswith(f"{names[-1]}.")
        if not inside_wrapped and isinstance(_plain(module), nn.Linear | Conv1D):
            names.append(name)
    return names


def _plain(module: nn.Module) -> nn.Module:
    return module.get_base_layer() if isinstance(module, LoraLayer) else module


def _check_targets(model: LanguageModel, targets: tuple[str, ...], inside: list[str]) -> None:
    for target in targets:
        if not any(_is_target(name, target) for name in inside):
            raise ConfigError(
                f"tuning.target_modules: '{target}' is no linear layer in the blocks of "
                f"'{model.name}'. It has {', '.join(find_target_modules(model.network))}; leave "
                "target_modules empty to take them all."
            )


def _outside(network: PreTrainedModel, targets: tuple[str, ...]) -> list[str]:
    """Modules that PEFT would take for targets although they lie outside the blocks."""
    place, _ = find_layers(network)
    return sorted(
        name
        for name, module in network.named_modules()
        if not name.startswith(f"{place}.")
        and isinstance(_plain(module), nn.Linear | Conv1D)
        and any(_is_target(name, target) for target in targets)
    )


def _is_target(name: str, target: str) -> bool:
    return f".{name}".endswith(f".{target}")


def _initial(name: str, parameter: nn.Parameter, generator: torch.Generator) -> torch.Tensor:
    """LoRA's start: A uniform as in `nn.Linear`, B zero."""
    start = torch.zeros(parameter.shape)
    if ".lora_A." in name:
        nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)
    return start.to(parameter.device)


def _configs(network: PreTrainedModel) -> dict[str, LoraConfig]:
    configs: dict[str, LoraConfig] = getattr(network, "peft_config", {})
    return configs


def _lora_layers(network: PreTrainedModel) -> list[LoraLayer]:
    return [module for module in network.modules() if isinstance(module, LoraLayer)]


def _check_known(model: LanguageModel, adapter: str) -> None:
    known = _configs(model.network)
    if adapter not in known:
        raise ValueError(f"'{model.name}' has no adapter '{adapter}'; it has {sorted(known)}")
