"""How large the benchmark is: models, texts, steps; and what can be set in one run."""

from dataclasses import asdict, dataclass, field
from typing import Any

from coplms.config.model import ZooConfig, ZooModelConfig

WARM_UP = 20
"""Steps over which the learning rate rises; then it stays, so that a curve can be read anywhere."""

DOMAINS = "domains/sgd_nlg"
"""The task: what an assistant says, given its dialogue act."""


@dataclass(frozen=True)
class Setting:
    """What a method is told; what it does not know, it ignores.

    Without a ramp, so that a curve can be read anywhere.

    Attributes:
        weight: lambda, beside a cross-entropy of weight 1.
        ramp: Part of the steps over which lambda rises from 0 (ours alone; the others do not ramp).
        temperature: tau; None is the method's own default.
        divergence: Seen from the learner (ours).
        gate: Where to learn from the peer (ours).
        chunk_event: Whether a chunk is an outcome of its own (ours).
        fresh_passes: How often a text may have been seen until shut gates leak (ours).
    """

    weight: float = 1.0
    ramp: float = 0.0
    temperature: float | None = None
    divergence: str = "forward_kl"
    gate: str = "sample"
    chunk_event: bool = False
    fresh_passes: float = 2.0

    def changes(self) -> dict[str, Any]:
        """What differs from the default."""
        default = asdict(Setting())
        return {name: value for name, value in asdict(self).items() if value != default[name]}


@dataclass(frozen=True)
class Done:
    """How far a run is.

    Attributes:
        progress: Part of its steps that are done.
        passes: How often it has seen its examples.
    """

    progress: float
    passes: float


@dataclass(frozen=True)
class Recipe:
    """A mini model, and what it has read before the benchmark starts.

    Attributes:
        model: Architecture, tokenizer, size, steps of pre-training.
        texts: Files below the data folder, for tokenizer and pre-training.
        tuned: Whether it has then learnt the task by cross-entropy, on text of its own.
    """

    model: ZooModelConfig
    texts: tuple[str, ...]
    tuned: bool = False

    def zoo(self, block_tokens: int) -> ZooConfig:
        return ZooConfig(models=(self.model,), block_tokens=block_tokens)


@dataclass(frozen=True)
class Scale:
    """One size of the whole benchmark.

    Attributes:
        recipes: Every model by name.
        characters: Text beyond this is not read for pre-training.
        block_tokens: Tokens per sequence of pre-training.
        steps: Optimiser steps at which methods are compared; ramps are relative to them.
        early: Steps at which they are compared too, while texts are still new.
        longer: How many times as many steps a method runs, so that it can be read at equal CPU
            seconds; methods that are not named take `steps`.
        every: Steps between two evaluations.
        batch_size: Examples per step.
        train: Examples that a run learns from, drawn anew by every seed.
        pool: Examples that runs draw from; all others are the tuned models' text.
        dev: Examples for choosing weights and learning rates.
        test: Examples for the figures.
        teacher_steps: Steps of the tuned models on their own text.
        rates: Learning rates that cross-entropy chooses from.
        weights: Weights that every method chooses from.
        repeats: Timed steps of every method.
    """

    recipes: dict[str, Recipe]
    characters: int = 6_000_000
    block_tokens: int = 64
    steps: int = 400
    early: int = 80
    longer: dict[str, float] = field(default_factory=lambda: {"ce": 1.8, "ce-both": 1.2})
    every: int = 80
    batch_size: int = 8
    train: int = 300
    pool: int = 3000
    dev: int = 160
    test: int = 320
    teacher_steps: int = 1200
    rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3)
    weights: tuple[float, ...] = (0.3, 1.0, 3.0)
    repeats: int = 15

    def steps_of(self, method: str) -> int:
        return round(self.steps * self.longer.get(method, 1.0))

    @property
    def most_steps(self) -> int:
        return max(self.steps, *(self.steps_of(method) for method in self.longer))


_DIALOGUES = ("corpus/dialogues.jsonl.gz", "domains/webnlg/train.jsonl")
_FACTS = ("corpus/wikitext2_valid_test.jsonl.gz", "domains/webnlg/train.jsonl")
_BOOKS = ("corpus/books.jsonl.gz",)


def _model(name: str, kind: str, vocabulary: int, width: int, layers: int, steps: int) -> Any:
    architecture, tokenizer = kind.split("/")
    return ZooModelConfig.model_validate(
        {
            "name": name,
            "architecture": architecture,
            "tokenizer": tokenizer,
            "vocab_size": vocabulary,
            "hidden_size": width,
            "layers": layers,
            "steps": steps,
        }
    )


_TEACHER = Recipe(_model("teacher", "llama/byte_bpe", 2048, 160, 4, 800), _DIALOGUES, tuned=True)
_FULL = {
    "teacher": _TEACHER,
    "bpe": Recipe(_model("bpe", "gpt_neox/byte_bpe", 1024, 96, 2, 500), _FACTS),
    "unigram": Recipe(_model("unigram", "llama/unigram", 1536, 96, 2, 500), _BOOKS),
    "fallback": Recipe(_model("fallback", "bloom/fallback_bpe", 1536, 96, 2, 500), _BOOKS),
}
_TINY = {
    name: Recipe(
        _model(name, kind, 400, 16, 1, 2), ("domains/sgd_nlg/train.jsonl",), name == "teacher"
    )
    for name, kind in {
        "teacher": "llama/byte_bpe",
        "bpe": "gpt_neox/byte_bpe",
        "unigram": "llama/unigram",
        "fallback": "bloom/fallback_bpe",
    }.items()
}

SCALES = {
    "full": Scale(_FULL),
    "tiny": Scale(
        _TINY,
        longer={"ce": 2.0, "ce-both": 1.5},
        block_tokens=16,
        steps=2,
        early=1,
        every=1,
        batch_size=2,
        train=6,
        pool=12,
        dev=4,
        test=4,
        teacher_steps=2,
        rates=(1e-3, 2e-3),
        weights=(0.3, 1.0),
        repeats=1,
    ),
}
