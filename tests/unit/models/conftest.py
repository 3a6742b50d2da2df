"""Tiny random models of many architectures."""

from collections.abc import Callable

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from coplms.models.language_model import LanguageModel
from coplms.models.zoo_tokenizers import train_tokenizer

SIZES = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
WIDTH = {"intermediate_size": 32}
GROUPED = {**SIZES, **WIDTH, "num_key_value_heads": 1}
IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}

CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**GROUPED, **IDS),
    "qwen2": lambda: Qwen2Config(**GROUPED, **IDS, tie_word_embeddings=True),
    "gpt_neox": lambda: GPTNeoXConfig(**SIZES, **WIDTH, **IDS),
    "bloom": lambda: BloomConfig(vocab_size=300, hidden_size=16, n_layer=4, n_head=2, **IDS),
    "gpt2": lambda: GPT2Config(vocab_size=300, n_embd=16, n_layer=4, n_head=2, **IDS),
    "mistral": lambda: MistralConfig(**GROUPED, **IDS, sliding_window=8),
    "gemma2": lambda: Gemma2Config(**GROUPED, **IDS, head_dim=8, sliding_window=4),
    "opt": lambda: OPTConfig(**SIZES, **IDS, ffn_dim=32, word_embed_proj_dim=8),
    "phi": lambda: PhiConfig(**SIZES, **WIDTH, **IDS),
}


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer("byte_bpe", 300, ["the quick brown fox\nand the lazy dog"])


@pytest.fixture
def make_model(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], LanguageModel]:
    """Architecture -> a random model without dropout acting, always with the same weights."""

    def make(architecture: str) -> LanguageModel:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = AutoModelForCausalLM.from_config(CONFIGS[architecture]())
        for parameter in network.parameters():  # larger weights, so that changes are visible
            parameter.data *= 5
        return LanguageModel(architecture, network.eval(), tokenizer, architecture)

    return make
