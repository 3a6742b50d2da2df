"""Untrained mini networks of six architectures."""

from collections.abc import Callable
from typing import cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from coplms.config.model import ZooModelConfig
from coplms.errors import ConfigError

MAX_POSITIONS = 1024

Settings = dict[str, object]
"""Arguments of a Hugging Face configuration."""


def check_recipe(model: ZooModelConfig) -> None:
    """Refuses a recipe that gives no usable model.

    Raises:
        ConfigError: If the heads do not divide `hidden_size` into even parts, or the
            architecture does not go with the tokenizer.
    """
    if model.hidden_size % (2 * model.heads):
        raise ConfigError(
            f"zoo model '{model.name}': hidden_size {model.hidden_size} does not divide into "
            f"{model.heads} heads of even size. Take a multiple of {2 * model.heads}."
        )
    if model.architecture == "qwen2" and model.tokenizer != "byte_bpe":
        raise ConfigError(
            f"zoo model '{model.name}': transformers loads every Qwen2 tokenizer as a byte-level "
            f"BPE, so '{model.tokenizer}' would be garbled. Take tokenizer: byte_bpe, or "
            "architecture: llama."
        )


def build_network(
    model: ZooModelConfig, tokenizer: PreTrainedTokenizerFast, seed: int
) -> PreTrainedModel:
    """A network with random weights that depend on `seed` alone, on the CPU in float32.

    It has no dropout, ties its embeddings, and reads up to 1,024 tokens.
    """
    config = AutoConfig.for_model(
        model.architecture,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **_SETTINGS[model.architecture](model),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.float32
        )
    return cast("PreTrainedModel", network)


def _plain(model: ZooModelConfig) -> Settings:
    """What most architectures call by the same names."""
    return {
        "hidden_size": model.hidden_size,
        "intermediate_size": 4 * model.hidden_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "max_position_embeddings": MAX_POSITIONS,
        "tie_word_embeddings": True,
    }


def _gated(model: ZooModelConfig) -> Settings:
    """Llama and Qwen2: their gated feed-forward layers have as many weights as plain ones."""
    return {
        **_plain(model),
        "intermediate_size": max(16, round(model.hidden_size * 8 / 3 / 16) * 16),
        "num_key_value_heads": model.heads,
    }


def _gpt_neox(model: ZooModelConfig) -> Settings:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
    return {**_plain(model), "rope_parameters": rope}


def _bloom(model: ZooModelConfig) -> Settings:
    return {"hidden_size": model.hidden_size, "n_layer": model.layers, "n_head": model.heads}


def _phi(model: ZooModelConfig) -> Settings:
    return {**_plain(model), "resid_pdrop": 0.0}


def _gpt2(model: ZooModelConfig) -> Settings:
    return {
        "n_embd": model.hidden_size,
        "n_layer": model.layers,
        "n_head": model.heads,
        "n_positions": MAX_POSITIONS,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


_SETTINGS: dict[str, Callable[[ZooModelConfig], Settings]] = {
    "llama": _gated,
    "gpt_neox": _gpt_neox,
    "bloom": _bloom,
    "gpt2": _gpt2,
    "phi": _phi,
    "qwen2": _gated,
}
