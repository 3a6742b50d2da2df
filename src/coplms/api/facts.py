"""What a check says about models and data: plain values for tables."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from coplms.api.plan import ModelPlan
from coplms.consortium.messages import SERVER
from coplms.data.members import ConsortiumData
from coplms.models.load import vocab_size


@dataclass(frozen=True)
class ModelCheck:
    """One model.

    Attributes:
        name: `llm`, `dpm`, or `NAME/slm`.
        source: As the configuration names it.
        state: `ready`, `download`, `build`, or `written` where only its sizes are known.
        build_steps: Optimiser steps of building a mini model; 0 where nothing is built.
        architecture: Hugging Face model type.
        num_parameters: Without adapters; at most so many where the model is still to be built.
        num_written: Likewise, by the sizes that the configuration gives, where it gives any.
        num_trained: Parameters of the part that is the model's own; of a DPM, of its shared part.
        vocab_size: Columns of its logits; likewise at most so many.
        tokenizer: Its kind; empty where it is not at hand.
    """

    name: str
    source: str
    state: str
    build_steps: int
    architecture: str
    num_parameters: int
    num_written: int | None
    num_trained: int
    vocab_size: int
    tokenizer: str


@dataclass(frozen=True)
class DataCheck:
    """What one member holds: numbers of examples, and of train examples by domain."""

    member: str
    train: int
    dev: int
    test: int
    domains: dict[str, int]


def model_checks(plans: Sequence[ModelPlan]) -> list[ModelCheck]:
    """LLM, DPM, and every device's SLM."""
    return [_model_check(plan) for plan in plans if plan.member == SERVER or plan.role != "dpm"]


def _model_check(plan: ModelPlan) -> ModelCheck:
    found = plan.outline
    return ModelCheck(
        name=found.model.name,
        source=found.source,
        state=found.origin,
        build_steps=found.build_steps,
        architecture=str(found.model.network.config.model_type),
        num_parameters=plan.weights.num_parameters,
        num_written=found.written,
        num_trained=plan.parts[0].size.num_parameters,
        vocab_size=vocab_size(found.model),
        tokenizer=tokenizer_kind(found.model.tokenizer) if found.can_encode else "",
    )


def data_checks(data: ConsortiumData) -> list[DataCheck]:
    """The server's numbers, then each device's."""
    return [
        DataCheck(
            member=name,
            train=len(held.train),
            dev=len(held.dev),
            test=len(held.test),
            domains=dict(sorted(Counter(example.domain for example in held.train).items())),
        )
        for name, held in {SERVER: data.server, **data.devices}.items()
    ]


def tokenizer_kind(tokenizer: PreTrainedTokenizerFast) -> str:
    """Such as `byte-level BPE`, `Unigram` or `BPE with byte fallback`."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    model = backend["model"]
    kind = str(model["type"])
    if '"ByteLevel"' in json.dumps([backend["pre_tokenizer"], backend["decoder"]]):
        return f"byte-level {kind}"
    return f"{kind} with byte fallback" if model.get("byte_fallback") else kind
