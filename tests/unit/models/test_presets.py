"""The recipes that are shipped: models of the sizes that the bench promises."""

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from coplms.config.model import ZooConfig, ZooModelConfig
from coplms.models.zoo_networks import build_network, check_recipe

MILLIONS = {
    "bench": {"llm": (5, 8), "dpm": (1, 2), "slm": (1, 3)},
    "bench-large": {"llm": (90, 110), "dpm": (15, 25), "slm": (10, 30)},
}


def size(model: ZooModelConfig) -> float:
    """Parameters in millions."""
    words = {f"w{number}": number for number in range(model.vocab_size)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")), eos_token="w1", pad_token="w2"
    )
    with torch.device("meta"):
        return sum(p.numel() for p in build_network(model, tokenizer, 0).parameters()) / 1e6


@pytest.mark.parametrize("preset", sorted(MILLIONS))
def test_a_preset_has_a_model_of_each_kind_in_its_size(preset: str) -> None:
    zoo = ZooConfig.model_validate({"preset": preset})
    found = {model.name: model for model in zoo.models}
    slms = [model for name, model in found.items() if name.startswith("slm-")]
    assert len({model.architecture for model in slms}) == 3
    assert len({(model.tokenizer, model.vocab_size) for model in slms}) == 3
    for name, model in found.items():
        check_recipe(model)
        least, most = MILLIONS[preset][name.partition("-")[0]]
        assert least <= size(model) <= most, name
    llm, dpm = found["llm"], found["dpm"]
    assert (llm.tokenizer, llm.vocab_size) == (dpm.tokenizer, dpm.vocab_size)


def test_what_is_given_beside_a_preset_counts() -> None:
    zoo = ZooConfig.model_validate({"preset": "bench", "batch_size": 3})
    assert zoo.batch_size == 3
    assert zoo.models
    assert ZooConfig.model_validate(zoo.model_dump()) == zoo
