"""Two tiny models that share no architecture and no tokenizer, and some examples."""

from collections.abc import Callable, Sequence
from typing import Literal

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from coplms.config.compute import ComputeConfig
from coplms.config.method import OptimizerConfig
from coplms.data.example import Example
from coplms.models.adapters import activate, adapter_parameters, add_adapter, base_parameters
from coplms.models.language_model import LanguageModel
from coplms.models.zoo_tokenizers import train_tokenizer
from coplms.training.encoding import Encoder
from coplms.training.learner import Learner
from coplms.training.part import Part
from coplms.training.phases import Phase

TEXT = [
    "pay the bill of the garden shop, please",
    "book a flight to the old town by the sea",
    "what is the weather like near the harbour?",
    "transfer money / pay bill / book flight / weather report",
] * 3
TEMPLATE = "{instruction}\n{input}\nAnswer:"
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}


def example(text: str, answer: str, domain: str = "bank") -> Example:
    return Example("Name it.", text, (answer,), domain, domain, "test")


EXAMPLES = (
    example("pay the bill of the shop", "pay bill"),
    example("book a flight", "book flight"),
    example("what is the weather like near the harbour by the old town?", "weather report, please"),
    example("pay", ""),
    example("the sea", "née 人"),
)

CONFIGS: dict[str, Callable[[int], PreTrainedConfig]] = {
    "llama": lambda size: LlamaConfig(vocab_size=size, num_attention_heads=2, **SIZES),
    "neox": lambda size: GPTNeoXConfig(vocab_size=size, num_attention_heads=2, **SIZES),
}


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {
        "llama": train_tokenizer("byte_bpe", 330, TEXT),
        "neox": train_tokenizer("fallback_bpe", 360, TEXT),
    }


MakeLearner = Callable[..., Learner]
LossKind = Literal["fused", "plain"]


@pytest.fixture
def make_learner(tokenizers: dict[str, PreTrainedTokenizerFast]) -> MakeLearner:
    """Architecture -> a random learner in float64, always with the same weights."""

    def make(
        architecture: str = "llama", extra_columns: int = 0, loss: LossKind = "fused"
    ) -> Learner:
        tokenizer = tokenizers[architecture]
        with torch.random.fork_rng():
            torch.manual_seed(len(architecture))
            network = AutoModelForCausalLM.from_config(
                CONFIGS[architecture](len(tokenizer) + extra_columns)
            )
        for parameter in network.parameters():  # larger weights, so that predictions differ
            parameter.data *= 3
        model = LanguageModel(architecture, network.double().eval(), tokenizer, architecture)
        return Learner(model, Encoder(model, TEMPLATE, 64), compute=ComputeConfig(loss=loss))

    return make


@pytest.fixture
def optimizer() -> OptimizerConfig:
    return OptimizerConfig(learning_rate=0.01, batch_size=3)


def add_part(learner: Learner, name: str, config: OptimizerConfig, adapter: bool = False) -> Part:
    """A part that is an adapter of its own, or all of the network's own weights."""
    if adapter:
        add_adapter(learner.model, name, 2, 4.0, 0.0, (), 0)
        parameters = adapter_parameters(learner.model, name)
    else:
        parameters = base_parameters(learner.model)
    learner.parts[name] = Part(name, parameters, config, config.learning_rate, 10)
    return learner.parts[name]


@pytest.fixture
def dpm(make_learner: MakeLearner, optimizer: OptimizerConfig) -> Learner:
    """A proxy whose shared part and domain adapter are LoRA, both active."""
    learner = make_learner("llama")
    learner.shared_is_adapter = True
    add_part(learner, "shared", optimizer, adapter=True)
    add_part(learner, "domain", optimizer, adapter=True)
    activate(learner.model, ["shared", "domain"])
    return learner


@pytest.fixture
def slm(make_learner: MakeLearner, optimizer: OptimizerConfig) -> Learner:
    """A model of another architecture and tokenizer that is trained as a whole."""
    learner = make_learner("neox")
    add_part(learner, "own", optimizer)
    return learner


@pytest.fixture
def phase() -> Phase:
    return Phase(seed=3, log=lambda row: None)


@pytest.fixture
def examples() -> Sequence[Example]:
    return EXAMPLES
