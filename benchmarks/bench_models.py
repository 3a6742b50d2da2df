"""The pair of models that the benchmarks measure: random weights, trained tokenizers."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from bench_texts import MAX_CHARACTERS, Shape, cut
from transformers import PreTrainedTokenizerFast

from coplms.config.compute import ComputeConfig
from coplms.config.model import ZooModelConfig
from coplms.consortium.members import pair_learners
from coplms.data.example import Example
from coplms.models.adapters import adapter_parameters, add_adapter, base_parameters, set_trainable
from coplms.models.language_model import LanguageModel
from coplms.models.zoo_networks import build_network
from coplms.models.zoo_tokenizers import TokenizerKind, train_tokenizer
from coplms.training.encoding import EncodedExample, Encoder
from coplms.training.learner import Learner
from coplms.training.pair import Pairing

MAX_LENGTH = 8192
"""Longer than any text here; the networks count positions by rotation, so none is too far."""

KINDS: tuple[TokenizerKind, TokenizerKind] = ("byte_bpe", "fallback_bpe")
"""Tokenizers of different kinds: the usual case, and the harder one."""


def add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", nargs="+", default=["demo"], help="files to make texts of")
    parser.add_argument("--characters", type=int, default=MAX_CHARACTERS)
    parser.add_argument("--vocab", nargs=2, type=int, default=[4096, 8192])
    parser.add_argument("--hidden", nargs=2, type=int, default=[192, 128])
    parser.add_argument("--layers", nargs=2, type=int, default=[3, 3])
    parser.add_argument("--tuning", choices=["full", "lora"], default="full")
    parser.add_argument("--loss-memory-mib", type=int, help="as compute.loss_memory_mib")


def make_pairing(
    options: argparse.Namespace,
    texts: Sequence[str],
    kinds: tuple[TokenizerKind, TokenizerKind] = KINDS,
) -> Pairing:
    """A Llama-like DPM and a GPT-NeoX-like SLM."""
    learners = []
    for side, (name, architecture) in enumerate((("dpm", "llama"), ("slm", "gpt_neox"))):
        recipe = ZooModelConfig(
            name=name,
            architecture=architecture,
            tokenizer=kinds[side],
            vocab_size=options.vocab[side],
            hidden_size=options.hidden[side],
            layers=options.layers[side],
        )
        tokenizer = train_tokenizer(kinds[side], recipe.vocab_size, texts)
        compute = ComputeConfig(loss_memory_mib=options.loss_memory_mib)
        learners.append(make_learner(recipe, tokenizer, options.tuning, compute))
    return pair_learners(*learners, cache=None)


def make_learner(
    recipe: ZooModelConfig,
    tokenizer: PreTrainedTokenizerFast,
    tuning: str,
    compute: ComputeConfig,
) -> Learner:
    network = build_network(recipe, tokenizer, seed=0)
    model = LanguageModel(recipe.name, network, tokenizer, path="")
    if tuning == "lora":
        add_adapter(model, "own", 16, 32.0, 0.0, (), seed=0)
        set_trainable(model, adapter_parameters(model, "own").values())
    else:
        set_trainable(model, base_parameters(model).values())
    return Learner(model, Encoder(model, "{input}", max_length=MAX_LENGTH), compute=compute)


def make_views(
    pairing: Pairing, texts: Sequence[str], shape: Shape
) -> tuple[list[EncodedExample], list[EncodedExample]]:
    """Texts of `shape` for both models; all but a short prompt is answer."""
    prompt = Example("", "Go on:", (), "", "", "benchmark")
    room = shape.tokens - len(pairing.left.encoder.prompt(prompt, 8)) - 2  # EOS, and a first space
    pieces = cut(pairing.left.model.tokenizer, texts, shape.samples, room)
    examples = [replace(prompt, references=(piece,)) for piece in pieces]
    return pairing.left.encoder(examples), pairing.right.encoder(examples)


def clear(pairing: Pairing) -> None:
    for learner in (pairing.left, pairing.right):
        learner.model.network.zero_grad(set_to_none=True)


def describe_model(learner: Learner, num_classes: int) -> dict[str, object]:
    network = learner.model.network
    return {
        "architecture": network.config.model_type,
        "vocabulary": network.get_output_embeddings().weight.shape[0],
        "common_classes": num_classes,
        "hidden_size": network.config.hidden_size,
        "layers": network.config.num_hidden_layers,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
