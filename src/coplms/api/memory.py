"""An estimate of the memory that training takes, and what the machine has."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from coplms.api.plan import ModelPlan, PartPlan
from coplms.config.run import RunConfig
from coplms.models.language_model import LanguageModel
from coplms.models.load import vocab_size

LAYER_WIDTHS = 17
"""Values that a layer keeps per token for the backward pass, in hidden sizes: Korthikanti et al.
2022 (arXiv:2205.05198, section 4.1) count 34 bytes of 16-bit values, attention being fused."""

LOGIT_COPIES = 4
"""Tensors of the logits' size in float32 that are alive at once: logits, probabilities, gradients
of both."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of a model's longest example, and of its longest answer."""

    example: int
    answer: int


@dataclass(frozen=True)
class MemoryRow:
    """Bytes that one member's training takes.

    Attributes:
        owner: The member; `distillation` is what the server does before round 1.
        weights: Models and adapters.
        moments: AdamW's, two per trained weight; they stay for the whole run.
        gradients: While a step runs.
        activations: While a step runs, or the cache of keys and values while answers are written.
        logits: While a step runs: those of answer rows, in distillation of every row.
    """

    owner: str
    weights: int
    moments: int
    gradients: int
    activations: int
    logits: int

    @property
    def lasting(self) -> int:
        """Bytes that are taken between steps, too."""
        return self.weights + self.moments

    @property
    def total(self) -> int:
        """Bytes while a step runs."""
        return self.lasting + self.gradients + self.activations + self.logits


@dataclass(frozen=True)
class MemoryCheck:
    """An estimate; within a factor of two for networks that are not tiny.

    Attributes:
        rows: By member, and for distillation.
        peak: Bytes for all members in one process.
        available: Bytes that are free where models run.
    """

    rows: tuple[MemoryRow, ...]
    peak: int
    available: int


def estimate_memory(
    config: RunConfig,
    plans: Sequence[ModelPlan],
    lengths: Mapping[str, Lengths],
    device: torch.device,
) -> MemoryCheck:
    """What the run needs, member by member and in one process, and what there is.

    Args:
        config: The run's.
        plans: LLM or SLM and DPM of every member, the server first.
        lengths: By member, in the tokens of its own model.
        device: Where models run.
    """
    pairs = list(zip(plans[::2], plans[1::2], strict=True))
    members = [_member(config, own, dpm, lengths[own.member]) for own, dpm in pairs]
    distillation = _distillation(config, *pairs[0])
    llm, proxy = pairs[0][0].weights.num_bytes, pairs[0][1].weights.num_bytes
    together = sum(row.lasting for row in members)
    together += max(row.total - row.lasting for row in members)
    # A round's uploads wait in memory beside the download and a message's two forms.
    together += (len(members) + 2) * pairs[0][1].parts[0].size.num_bytes
    peak = max(2 * llm + proxy, distillation.total, together)
    return MemoryCheck((distillation, *members), peak, available_memory(device))


def _member(config: RunConfig, own: ModelPlan, dpm: ModelPlan, lengths: Lengths) -> MemoryRow:
    """SAML, the largest step of a member."""
    parts = [*own.parts, *dpm.parts]
    examples = -(-config.optimizer.batch_size // config.optimizer.accumulation)
    models = (own.outline.model, dpm.outline.model)
    step = sum(_activations(model, examples * lengths.example) for model in models)
    answering = max(_keys_and_values(config, model) for model in models)
    logits = sum(_logits(model, examples * lengths.answer) for model in models)
    adapters = sum(part.size.num_bytes for part in parts if part.is_adapter)
    return MemoryRow(
        owner=own.member,
        weights=own.weights.num_bytes + dpm.weights.num_bytes + adapters,
        moments=2 * sum(part.size.num_bytes for part in parts if part.steps),
        gradients=sum(part.size.num_bytes for part in _in_saml(own, dpm)),
        activations=max(step, answering),
        logits=logits,
    )


def _in_saml(own: ModelPlan, dpm: ModelPlan) -> list[PartPlan]:
    """The shared part and the model's own; not the domain adapter."""
    return [part for part in (own.parts[0], dpm.parts[0]) if part.steps]


def _distillation(config: RunConfig, llm: ModelPlan, dpm: ModelPlan) -> MemoryRow:
    settings = config.method.distill
    on = 1 if settings.steps else 0
    tokens = on * settings.batch_size * settings.block_tokens
    models = (llm.outline.model, dpm.outline.model)
    return MemoryRow(
        owner="distillation",
        weights=llm.weights.num_bytes + dpm.weights.num_bytes,
        moments=on * 2 * dpm.weights.num_bytes,
        gradients=on * dpm.weights.num_bytes,
        activations=_activations(dpm.outline.model, tokens),
        logits=sum(_logits(model, tokens) for model in models),
    )


def _activations(model: LanguageModel, tokens: int) -> int:
    return LAYER_WIDTHS * tokens * _layer_values(model)


def _keys_and_values(config: RunConfig, model: LanguageModel) -> int:
    return 2 * config.evaluation.batch_size * config.data.max_length * _layer_values(model)


def _layer_values(model: LanguageModel) -> int:
    """Bytes of one token's hidden states in all layers."""
    shape = model.network.config.get_text_config()
    return int(shape.hidden_size * shape.num_hidden_layers * model.network.dtype.itemsize)


def _logits(model: LanguageModel, rows: int) -> int:
    return LOGIT_COPIES * torch.float32.itemsize * rows * vocab_size(model)


def available_memory(device: torch.device) -> int:
    """Bytes that a new process could take: of the GPU, or of the machine or container."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return min(_machine(Path("/proc/meminfo")), _container(Path("/sys/fs/cgroup")))


def _machine(table: Path) -> int:
    if table.is_file():
        for line in table.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _container(group: Path) -> int:
    """What a control group (version 2) leaves free; without a limit, more than any machine has."""
    try:
        most = (group / "memory.max").read_text(encoding="ascii").strip()
        taken = int((group / "memory.current").read_text(encoding="ascii"))
    except OSError:
        return 2**63
    return 2**63 if most == "max" else max(0, int(most) - taken)


__all__ = ["Lengths", "MemoryCheck", "MemoryRow", "available_memory", "estimate_memory"]
