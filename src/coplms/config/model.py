"""Which models take part, and how they are tuned."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, Field, JsonValue, model_validator

from coplms.config.base import Section
from coplms.config.compute import DEVICE_PATTERN


class TuningConfig(Section):
    """What of a model is trained."""

    kind: Literal["lora", "full"] = "lora"
    """`lora` trains a PEFT adapter; `full` every weight (small models from scratch need it)."""
    rank: int = Field(16, ge=1)
    """LoRA rank r; ignored with `kind: full`."""
    alpha: float = Field(32.0, gt=0)
    """LoRA alpha; updates are scaled by alpha / rank. Usually alpha = 2 * rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """LoRA dropout on the adapter's input."""
    target_modules: tuple[str, ...] = ()
    """Names of the linear layers that get LoRA; empty finds all of them but the output head."""


def _names_its_kind(sizes: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if not isinstance(sizes.get("model_type"), str):
        raise ValueError("has no `model_type`, such as llama; take it from the model's config.json")
    return sizes


Sizes = Annotated[dict[str, JsonValue], AfterValidator(_names_its_kind)]
"""`model_type`, and the other keys of a hub model's config.json that fix its shape."""


class ModelConfig(Section):
    """One causal language model."""

    model: str
    """`mini/NAME` (built offline), a local folder in Hugging Face format, or a hub name."""
    sizes: Sizes | None = None
    """What in the hub model's config.json fixes its shape: `model_type`, `vocab_size`,
    `hidden_size` and so on. `coplms train --dry-run` goes by it where the hub does not answer and
    the model is not on this machine; nothing else does."""
    tuning: TuningConfig | None = None
    """Overrides the run's `tuning` for this model."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Overrides the run's `dtype` for this model."""
    device: str | None = Field(None, pattern=DEVICE_PATTERN)
    """Overrides the run's `device` for this model, so that two models of a pair can lie on two
    GPUs."""


class DpmConfig(Section):
    """The distilled proxy model: sliced from the LLM, or a small model with its tokenizer."""

    model: str | None = None
    """A small model with the LLM's tokenizer (same forms as `llm.model`); absent: slice the LLM."""
    sizes: Sizes | None = None
    """Of `model`, as `llm.sizes`."""
    layers: int | None = Field(None, ge=1)
    """How many of the LLM's layers a sliced DPM keeps, evenly spaced; absent: half of them."""
    tuning: TuningConfig | None = None
    """What is shared between the members: a LoRA adapter, or with `kind: full` all weights."""
    domain_rank: int = Field(8, ge=1)
    """LoRA rank of the private domain adapter."""
    device: str | None = Field(None, pattern=DEVICE_PATTERN)
    """Overrides the run's `device` for every copy of the DPM."""

    @model_validator(mode="after")
    def _sizes_are_of_a_model(self) -> Self:
        if self.sizes is not None and self.model is None:
            raise ValueError("has `sizes` and no `model`; a DPM cut out of the LLM needs none")
        return self


class DeviceConfig(Section):
    """One device of the consortium."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Unique; used in file names, so letters, digits, `_`, `.` and `-` only."""
    slm: ModelConfig | None = None
    """The device's own small language model, of any architecture and tokenizer; absent where the
    device runs on another machine (`coplms device`) and describes it there."""
    data: "MemberDataConfig | None" = None
    """The device's own files; absent where `data.pool` is divided among the devices."""
    count: int = Field(1, ge=1)
    """So many devices alike, called NAME-1, NAME-2, ...; they share base weights in memory."""


class ZooModelConfig(Section):
    """One mini model of the offline zoo, trained from scratch."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Referred to as `mini/NAME`."""
    architecture: Literal["llama", "gpt_neox", "bloom", "gpt2", "phi", "qwen2"]
    """Hugging Face model type."""
    tokenizer: Literal["byte_bpe", "unigram", "fallback_bpe"]
    """`byte_bpe`: byte-level BPE. `unigram`: Unigram with metaspace. `fallback_bpe`: metaspace
    BPE with byte fallback."""
    vocab_size: int = Field(2048, ge=300)
    hidden_size: int = Field(128, ge=16)
    layers: int = Field(3, ge=1)
    heads: int = Field(4, ge=1)
    steps: int = Field(1000, ge=0)
    """Optimiser steps of pre-training."""
    copies: int = Field(0, ge=0)
    """Sequences of random, repeating tokens per step, which teach a model to copy from its prompt
    as so little text does not: alone for a quarter of the steps, then a quarter of them beside
    text."""


PRESETS = ("bench", "bench-large")
"""Recipes that are shipped, in `presets/`."""


class ZooConfig(Section):
    """The mini zoo: small models trained from scratch on text, offline."""

    preset: Literal["bench", "bench-large"] | None = None
    """Takes what is not given here from a shipped recipe: the bench's models, for two cores or a
    GPU."""
    text: tuple[str, ...] = ()
    """Files to train on: JSONL or JSONL.gz with `text`, or with `instruction`, `input`, `output`;
    empty: the text that coplms generates for its quick start."""
    models: tuple[ZooModelConfig, ...]
    batch_size: int = Field(16, ge=1)
    block_tokens: int = Field(128, ge=8)
    """Tokens per training sequence."""
    learning_rate: float = Field(2e-3, gt=0)
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: object) -> object:
        if not isinstance(values, Mapping) or values.get("preset") not in PRESETS:
            return values
        recipe = files("coplms.config").joinpath("presets", f"{values['preset']}.yaml")
        return {**yaml.safe_load(recipe.read_text(encoding="utf-8")), **values}


from coplms.config.data import MemberDataConfig  # noqa: E402  (DeviceConfig names it)

DeviceConfig.model_rebuild()
