"""Models without their weights: shapes, sizes and tokenizer, at no cost in memory or time."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from coplms.api.assemble import MINI, Assembler
from coplms.api.hub import Hub
from coplms.api.sizes import network_of
from coplms.config.model import ModelConfig, ZooModelConfig
from coplms.config.run import RunConfig
from coplms.errors import ConfigError, ModelError
from coplms.models.language_model import LanguageModel
from coplms.models.load import (
    LOADING_ERRORS,
    check_path,
    load_tokenizer,
    loading_failed,
    prepare_tokenizer,
    vocab_size,
)
from coplms.models.zoo_networks import build_network

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_META = torch.device("meta")


@dataclass(frozen=True, eq=False)
class Outline:
    """A model as a run will load it, before any tuning.

    Attributes:
        model: Its network lies on PyTorch's meta device. Where it cannot encode its tokenizer is a
            stand-in of the right size.
        source: The model as the configuration names it.
        origin: `ready` on this machine, to `download` from the hub, a mini model to `build`, or
            `written`: nothing is known of it but the sizes that the configuration gives.
        build_steps: Optimiser steps that building takes.
        written: Parameters by the sizes that the configuration gives, where it gives any.
    """

    model: LanguageModel
    source: str
    origin: Literal["ready", "download", "build", "written"]
    build_steps: int = 0
    written: int | None = None

    @property
    def can_encode(self) -> bool:
        """Whether the tokenizer is the model's own."""
        return self.origin in ("ready", "download")


def outline(
    config: RunConfig,
    zoo: Mapping[str, Path],
    model: ModelConfig,
    name: str,
    hub: Hub | None = None,
) -> Outline:
    """The outline of one of a run's models.

    Args:
        config: The run's.
        zoo: Where each mini model lies, or will.
        model: Which model.
        name: What messages call it.
        hub: Of a dry run, which goes by `model.sizes` where the model is not to be had.

    Raises:
        ModelError: If there is no such model, or its files are broken.
        ConfigError: If it is an unknown mini model, reads less than `data.max_length` tokens, or
            its `sizes` give no model.
    """
    path = Assembler(config, zoo).path(model.model)
    dtype = config.dtype_of(model)
    if config.zoo and model.model.startswith(MINI) and not Path(path).is_dir():
        recipe = next(each for each in config.zoo.models if MINI + each.name == model.model)
        found = Outline(_from_recipe(name, recipe, dtype), model.model, "build", recipe.steps)
    elif hub is not None:
        found = _to_be_had(name, path, dtype, model, hub)
    else:
        found = _existing(name, path, dtype, model)
    _check_context(found.model, config.data.max_length)
    return found


def _existing(name: str, path: str, dtype: str, model: ModelConfig) -> Outline:
    origin: Literal["ready", "download"] = "ready" if _has_weights(name, path) else "download"
    return Outline(_load(name, path, dtype), model.model, origin)


def _to_be_had(name: str, path: str, dtype: str, model: ModelConfig, hub: Hub) -> Outline:
    """The model itself with its size as written to compare; where it is not to be had, that."""
    check_path(name, path)
    network = None
    if model.sizes is not None:
        with _META:
            network = network_of(name, model.sizes, getattr(torch, dtype))
    written = None if network is None else sum(value.numel() for value in network.parameters())
    if not hub.lacks_model(path):
        return replace(_existing(name, path, dtype, model), written=written)
    if network is None:
        silent = OSError("no answer. With its `sizes` written down it could be estimated.")
        raise ModelError(loading_failed(name, path, silent))
    rows: nn.Linear = network.get_output_embeddings()  # type: ignore[no-untyped-call]
    stand_in = LanguageModel(name, network, _stand_in(rows.weight.shape[0]), path)
    return Outline(stand_in, model.model, "written", written=written)


def _load(name: str, path: str, dtype: str) -> LanguageModel:
    """The model at `path`, refused where `load_model` would refuse it, but without weights."""
    check_path(name, path)
    try:
        tokenizer = load_tokenizer(path)
        config = AutoConfig.from_pretrained(path)
        with _META:
            network = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=getattr(torch, dtype)
            )
    except LOADING_ERRORS as error:
        raise ModelError(loading_failed(name, path, error)) from error
    model = LanguageModel(name, network, tokenizer, path)
    prepare_tokenizer(name, path, tokenizer, vocab_size(model))
    return model


def _from_recipe(name: str, recipe: ZooModelConfig, dtype: str) -> LanguageModel:
    tokenizer = _stand_in(recipe.vocab_size)
    with _META:
        network = build_network(recipe, tokenizer, seed=0)
    nn.Module.to(network, getattr(torch, dtype))
    return LanguageModel(name, network, tokenizer, MINI + recipe.name)


def _stand_in(vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer with so many tokens, which must encode nothing."""
    tokens = ["<s>", "</s>", "<pad>", *map(str, range(vocab_size - 3))]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer(WordLevel(vocabulary, unk_token="<pad>")),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
    )


def _has_weights(name: str, path: str) -> bool:
    """Whether the weights lie on this machine; a hub model's may still be downloaded.

    Raises:
        ModelError: If a local folder has none, one of its files is absent or cut off, or a hub
            model's are absent and may not be downloaded.
    """
    check_path(name, path)
    folder = Path(path)
    if folder.is_dir():
        try:
            _check_weights(folder)
        except LOADING_ERRORS as error:
            raise ModelError(loading_failed(name, path, error)) from error
        return True
    if any(isinstance(try_to_load_from_cache(path, file), str) for file in _WEIGHTS):
        return True
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        absent = OSError("its weights were never downloaded, so not even its size is known.")
        raise ModelError(loading_failed(name, path, absent))
    return False


def _check_weights(folder: Path) -> None:
    for index in folder.glob("*.index.json"):
        for file in set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()):
            if not (folder / file).is_file():
                raise OSError(f"{index.name} names {file}, which is absent. Copy the folder anew.")
    files = sorted(folder.glob("*.safetensors"))
    if not files and not any(folder.glob("pytorch_model*.bin")):
        raise OSError("it holds no weights (*.safetensors). Copy the folder anew.")
    for file in files:
        with safe_open(file, framework="pt"):  # compares the header with the file's size
            pass


def _check_context(model: LanguageModel, max_length: int) -> None:
    most = getattr(model.network.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and most < max_length:
        raise ConfigError(
            f"data.max_length is {max_length}, and the model '{model.name}' ({model.path}) reads "
            f"at most {most} tokens. Lower data.max_length to {most} or less."
        )
