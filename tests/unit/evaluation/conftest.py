"""A tiny tokenizer and tiny networks that answer without training."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast

from coplms.models.language_model import LanguageModel

TEXT = ("a short text to learn from", "another short text, to learn more from")
SIZES = {
    "llama": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    },
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
}
SIZES["qwen2"] = {**SIZES["llama"], "num_key_value_heads": 1}
SIZES["gpt_neox"] = SIZES["phi"] = SIZES["llama"]

MakeModel = Callable[..., LanguageModel]


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE: every byte, some merges, `<pad>`, `<eos>` and `<turn>`."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<pad>", "<eos>", "<turn>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<eos>",
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture
def make_model(tokenizer: PreTrainedTokenizerFast) -> MakeModel:
    """Builds a random network of an architecture; its logits lie far apart."""

    def make(architecture: str, **settings: object) -> LanguageModel:
        config = AutoConfig.for_model(
            architecture,
            vocab_size=len(tokenizer),
            initializer_range=0.4,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
            **SIZES[architecture],
            **settings,
        )
        torch.manual_seed(1)
        network = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        return LanguageModel(architecture, network, tokenizer, path="")

    return make


@pytest.fixture
def make_chain(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], LanguageModel]:
    """Builds a network that answers a character with the next of a text, and the last with EOS.

    Attention and MLP add nothing; embeddings are one-hot. Only the next token's logit is not
    0: the normalised one-hot vector's entry, sqrt(vocabulary), times 0.25.
    """

    def make(text: str) -> LanguageModel:
        size = len(tokenizer)
        network = LlamaForCausalLM(
            AutoConfig.for_model(
                "llama",
                vocab_size=size,
                hidden_size=size,
                head_dim=2,
                intermediate_size=2,
                num_hidden_layers=1,
                num_attention_heads=1,
                max_position_embeddings=32,
                rms_norm_eps=0.0,
                tie_word_embeddings=False,
            )
        )
        chain = [*(tokenizer.convert_tokens_to_ids(one) for one in text), tokenizer.eos_token_id]
        with torch.no_grad():
            network.model.embed_tokens.weight.copy_(torch.eye(size))
            network.model.layers[0].self_attn.o_proj.weight.zero_()
            network.model.layers[0].mlp.down_proj.weight.zero_()
            network.lm_head.weight.zero_()
            for before, after in pairwise(chain):
                network.lm_head.weight[after, before] = 0.25
        return LanguageModel("chain", network, tokenizer, path="")

    return make
