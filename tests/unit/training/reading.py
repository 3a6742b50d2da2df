"""Tiny networks of 50 tokens, and a small batch for them to read."""

from collections.abc import Callable

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from coplms.models.language_model import LanguageModel
from coplms.training.batches import Batch, collate
from coplms.training.encoding import EncodedExample

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDTH = {"intermediate_size": 24}
GROUPED = {**SIZES, **WIDTH, "num_key_value_heads": 1}
IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}

CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**GROUPED, **IDS),
    "llama tied": lambda: LlamaConfig(**GROUPED, **IDS, tie_word_embeddings=True),
    "qwen2": lambda: Qwen2Config(**GROUPED, **IDS),
    "gpt_neox": lambda: GPTNeoXConfig(**SIZES, **WIDTH, **IDS),
    "bloom": lambda: BloomConfig(vocab_size=50, hidden_size=16, n_layer=2, n_head=2, **IDS),
    "gpt2": lambda: GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, **IDS),
    "gptj with bias": lambda: GPTJConfig(
        vocab_size=50, n_embd=16, n_layer=2, n_head=2, rotary_dim=4, **IDS
    ),
    "phi with bias": lambda: PhiConfig(**GROUPED, **IDS),
    "opt": lambda: OPTConfig(**SIZES, **IDS, ffn_dim=24, word_embed_proj_dim=8),
    "gemma2 soft-capped": lambda: Gemma2Config(
        **GROUPED, **IDS, head_dim=8, final_logit_softcapping=1.5
    ),
    "cohere scaled": lambda: CohereConfig(**GROUPED, **IDS, logit_scale=0.25),
    "granite scaled": lambda: GraniteConfig(**GROUPED, **IDS, logits_scaling=3.0),
}


def make_model(
    name: str, tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype = torch.float64
) -> LanguageModel:
    network = AutoModelForCausalLM.from_config(CONFIGS[name]())
    for parameter in network.parameters():
        parameter.data *= 3
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return LanguageModel(name, network.to(dtype).eval(), tokenizer, name)


def make_batch() -> Batch:
    examples = [([7, 8, 9, 10], [11, 1]), ([12], [13, 14, 15, 1]), ([16, 17], [1])]
    encoded = [
        EncodedExample(tuple(p), tuple(a), np.arange(len(a), dtype=np.int64)) for p, a in examples
    ]
    return collate(encoded, pad=2, device=torch.device("cpu"))
