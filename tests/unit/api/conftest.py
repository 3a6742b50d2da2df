"""A consortium of untrained tiny models, and files for its members."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from coplms.config.model import ZooModelConfig
from coplms.config.run import RunConfig
from coplms.models.zoo_networks import build_network
from coplms.models.zoo_tokenizers import train_tokenizer

MakeConfig = Callable[..., RunConfig]
COLOURS = ("red", "green", "blue", "yellow")
TEXTS = [f"Name the colour of thing {n}.\nAnswer: {COLOURS[n % 4]}" for n in range(80)]
RECIPES = {
    "llm": ("llama", "byte_bpe", 300, 3),
    "near": ("gpt_neox", "fallback_bpe", 320, 1),
    "far": ("bloom", "unigram", 40, 1),
}


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`llm`, and two SLMs with other tokenizers."""
    root = tmp_path_factory.mktemp("models")
    for name, (architecture, kind, vocab_size, layers) in RECIPES.items():
        recipe = ZooModelConfig.model_validate(
            {
                **{"name": name, "architecture": architecture, "tokenizer": kind},
                **{"hidden_size": 16, "layers": layers, "heads": 2},
            }
        )
        tokenizer = train_tokenizer(recipe.tokenizer, vocab_size, TEXTS)
        build_network(recipe, tokenizer, seed=0).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return {name: root / name for name in RECIPES}


def write_examples(path: Path, first: int, count: int) -> dict[str, str]:
    """A file of examples, as a source of the configuration."""
    rows = [
        {"instruction": "Name it.", "input": f"thing {n}", "output": COLOURS[n % 4]}
        for n in range(first, first + count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": str(path)}


@pytest.fixture
def make_config(model_folders: dict[str, Path], tmp_path: Path) -> MakeConfig:
    """Two devices, `one` with the near and `two` with the far SLM; sections may be replaced."""

    def make(**changes: object) -> RunConfig:
        sources = {
            name: write_examples(tmp_path / f"{name}.jsonl", 100 * number, 20)
            for number, name in enumerate(("server", "one", "two", "transfer"))
        }
        settings: dict[str, object] = {
            "llm": {"model": str(model_folders["llm"])},
            "devices": [
                {"name": name, "slm": {"model": str(model_folders[slm])}}
                | {"data": {"train": sources[name]}}
                for name, slm in (("one", "near"), ("two", "far"))
            ],
            "data": {
                "server": {"train": sources["server"]},
                "transfer": sources["transfer"],
                "max_length": 64,
            },
            "method": {"rounds": 2, "distill": {"steps": 7}, "dst": {"steps": 3, "last_steps": 0}},
            "evaluation": {"max_new_tokens": 8},
            "device": "cpu",
        }
        return RunConfig.model_validate(settings | changes)

    return make
