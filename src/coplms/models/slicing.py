"""LLM -> DPM by keeping some of its layers."""

import copy
from dataclasses import replace

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from coplms.errors import ModelError
from coplms.models.language_model import LanguageModel


def find_layers(network: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The list of transformer blocks and its name, such as `model.layers`.

    It is the outermost list with as many entries as the configuration names layers.

    Raises:
        ModelError: If there is none: the architecture is built in another way.
    """
    count = network.config.get_text_config().num_hidden_layers
    for name, module in network.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name, module
    raise ModelError(
        f"{type(network).__name__} has no list of {count} layers, so it can neither be sliced nor "
        "searched for linear layers. Give `dpm.model` and `tuning.target_modules`."
    )


def slice_model(llm: LanguageModel, layers: int | None, name: str) -> LanguageModel:
    """A smaller model made of evenly spaced layers of `llm`, with its embeddings, norm and head.

    Weights are copies; those that were tied stay tied. The first and the last layer are kept
    where at least two are. `path` stays the LLM's: the slice itself lies nowhere yet.

    Args:
        llm: Without adapters; stays as it is.
        layers: How many to keep; None keeps half of them, rounded up.
        name: Name of the new model.

    Raises:
        ModelError: If the LLM has fewer than `layers` layers, or no list of layers.
    """
    place, blocks = find_layers(llm.network)
    count = len(blocks)
    wanted = (count + 1) // 2 if layers is None else layers
    if not 1 <= wanted <= count:
        raise ModelError(
            f"dpm.layers is {wanted}, and the LLM '{llm.name}' has {count} layers. "
            f"Choose 1 to {count}."
        )
    if getattr(llm.network.config, "scale_attn_by_inverse_layer_idx", False):
        raise ModelError(
            f"the LLM '{llm.name}' scales attention by the number of the layer, so its layers "
            "cannot change places. Give a small model of its family as `dpm.model`."
        )
    kept = evenly_spaced(count, wanted)
    # Layers refer to the configuration that the network refers to: one memo keeps it one object.
    memo: dict[int, object] = {}
    memo[id(blocks)] = copy.deepcopy(nn.ModuleList([blocks[index] for index in kept]), memo)
    network = copy.deepcopy(llm.network, memo)
    _slice_config(network.config.get_text_config(), kept, count)
    _renumber(network.get_submodule(place))
    return replace(llm, name=name, network=network)


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """`wanted` of the indices 0 to `count` - 1, with both ends where at least two are wanted.

    >>> evenly_spaced(5, 3), evenly_spaced(4, 1)
    ([0, 2, 4], [0])
    """
    if wanted == 1:
        return [0]
    return [round(place * (count - 1) / (wanted - 1)) for place in range(wanted)]


def _slice_config(config: PreTrainedConfig, kept: list[int], count: int) -> None:
    """Sets the number of layers, and cuts lists with an entry per layer, such as `layer_types`."""
    for key, value in list(vars(config).items()):
        if "layer" in key and isinstance(value, list) and len(value) == count:
            setattr(config, key, [value[index] for index in kept])
    config.num_hidden_layers = len(kept)


def _renumber(blocks: nn.Module) -> None:
    """Sets every `layer_idx` anew: it is a layer's place in the key-value cache."""
    for index, block in enumerate(blocks.children()):
        for module in block.modules():
            if getattr(module, "layer_idx", None) is not None:
                setattr(module, "layer_idx", index)  # noqa: B010  (the attribute is not declared)
