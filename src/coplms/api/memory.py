"""An estimate of the memory that training takes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from coplms.api.available import available_memory
from coplms.api.plan import ModelPlan
from coplms.api.reading import Lengths
from coplms.config.run import RunConfig
from coplms.consortium.messages import SERVER
from coplms.models.language_model import LanguageModel
from coplms.models.load import vocab_size

LAYER_WIDTHS = 17
"""Values that a layer keeps per token for the backward pass, in hidden sizes: Korthikanti et al.
2022 (arXiv:2205.05198, section 4.1) count 34 bytes of 16-bit values, attention being fused."""

LOGIT_COPIES = 4
"""Tensors of the logits' size in float32 that the plain loss holds at once: logits, probabilities,
gradients of both."""

MESSAGES = 7
"""Tensors of the shared part's size that a server holds: the download's values and message, an
upload's values, message and file, and float64 sums."""

DISTILLATION = "distillation"
"""Owner of what the server does before round 1."""


@dataclass(frozen=True)
class MemoryRow:
    """Bytes that one member's training takes on one device.

    Attributes:
        owner: The member, or `DISTILLATION`.
        device: Where.
        weights: Models and adapters.
        moments: AdamW's, two per trained weight; they stay for the whole run.
        gradients: While a step runs.
        activations: While a step runs, or the cache of keys and values while answers are written.
        logits: While a step runs: those of answer rows, in distillation of every row; with the
            fused loss what its blocks may take.
    """

    owner: str
    device: torch.device
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
        rows: By member and device, those of distillation first.
        device: The one of which least is left.
        peak: Bytes there for all members in one process, where devices share networks.
        available: Bytes that are free there.
    """

    rows: tuple[MemoryRow, ...]
    device: torch.device
    peak: int
    available: int


@dataclass(frozen=True)
class _Step:
    """The largest step that a model takes in a phase.

    Attributes:
        plan: Of the model.
        moments: Bytes of the moments that it keeps.
        gradients: Bytes of gradients.
        tokens: Tokens of the batch.
        rows: Logits that a plain loss would make.
        learns: Whether anything is kept for a backward pass.
    """

    plan: ModelPlan
    moments: int
    gradients: int
    tokens: int
    rows: int
    learns: bool = True


def estimate_memory(
    config: RunConfig, plans: Sequence[ModelPlan], lengths: Mapping[str, Lengths]
) -> MemoryCheck:
    """What the run needs, member by member and in one process, and what there is.

    Args:
        config: The run's.
        plans: The models of every member, the server first.
        lengths: By member, in the tokens of its own model.
    """
    members: dict[str, list[ModelPlan]] = {}
    for plan in plans:
        members.setdefault(plan.member, []).append(plan)
    steps = {name: _learning(config, held, lengths[name]) for name, held in members.items()}
    distilling = list(_rows(config, DISTILLATION, _distillation(config, members[SERVER])))
    rows = [row for name, found in steps.items() for row in _rows(config, name, found)]
    devices = dict.fromkeys(row.device for row in (*distilling, *rows))
    shared = _distinct(step for found in steps.values() for step in found)
    peaks = {
        device: max(
            _cutting(config, members[SERVER], device),
            *(row.total for row in distilling if row.device == device),
            _together(rows, shared, plans, device),
        )
        for device in devices
    }
    available = {device: available_memory(device) for device in devices}
    fullest = min(devices, key=lambda device: available[device] - peaks[device])
    return MemoryCheck((*distilling, *rows), fullest, peaks[fullest], available[fullest])


def _cutting(config: RunConfig, server: Sequence[ModelPlan], device: torch.device) -> int:
    """While the DPM is cut out of a copy of the LLM on the CPU."""
    llm, *proxies = server
    held = llm.weights.num_bytes if llm.device == device else 0
    if device.type != "cpu" or config.dpm.model is not None or not proxies:
        return held
    return held + llm.weights.num_bytes + proxies[0].weights.num_bytes


def _distinct(steps: Iterable[_Step]) -> list[_Step]:
    """One step for each network: devices in one process share those that are alike."""
    found = {(step.plan.member == SERVER, id(step.plan.outline)): step for step in steps}
    return list(found.values())


def _together(
    rows: Sequence[MemoryRow],
    networks: Sequence[_Step],
    plans: Sequence[ModelPlan],
    device: torch.device,
) -> int:
    """All members in one process, one of which takes a step."""
    here = [step for step in networks if step.plan.device == device]
    total = sum(_weights(step.plan) + step.moments for step in here)
    total += max((row.total - row.lasting for row in rows if row.device == device), default=0)
    if device.type == "cpu":
        shared = [plan.parts[0].size.num_bytes for plan in plans if plan.role == "dpm"]
        total += MESSAGES * max(shared, default=0)
    return total


def _learning(config: RunConfig, held: Sequence[ModelPlan], length: Lengths) -> list[_Step]:
    """SAML, the largest step of a member: it trains the shared part and the model's own."""
    examples = -(-config.optimizer.batch_size // config.optimizer.accumulation)
    return [
        _Step(
            plan,
            moments=2 * sum(part.size.num_bytes for part in plan.parts if part.steps),
            gradients=plan.parts[0].size.num_bytes if plan.parts[0].steps else 0,
            tokens=examples * length.example,
            rows=examples * length.answer,
        )
        for plan in held
    ]


def _distillation(config: RunConfig, server: Sequence[ModelPlan]) -> list[_Step]:
    """The LLM teaches, and all of the DPM learns; neither has an adapter yet."""
    if len(server) == 1:
        return []
    llm, dpm = server
    settings = config.method.distill
    on = 1 if settings.steps else 0
    tokens = on * settings.batch_size * settings.block_tokens
    weights = on * dpm.weights.num_bytes
    return [
        _Step(replace(llm, parts=()), 0, 0, tokens, tokens, learns=False),
        _Step(replace(dpm, parts=()), 2 * weights, weights, tokens, tokens),
    ]


def _rows(config: RunConfig, owner: str, steps: Sequence[_Step]) -> Iterator[MemoryRow]:
    """One row for each device that the pair lies on."""
    for device in dict.fromkeys(step.plan.device for step in steps):
        here = [step for step in steps if step.plan.device == device]
        activations = sum(_activations(config, step) for step in here)
        if owner != DISTILLATION:
            activations = max(activations, *(_keys_and_values(config, step.plan) for step in here))
        yield MemoryRow(
            owner=owner,
            device=device,
            weights=sum(_weights(step.plan) for step in here),
            moments=sum(step.moments for step in here),
            gradients=sum(step.gradients for step in here),
            activations=activations,
            logits=_logits(config, here, device),
        )


def _weights(plan: ModelPlan) -> int:
    adapters = sum(part.size.num_bytes for part in plan.parts if part.is_adapter)
    return plan.weights.num_bytes + adapters


def _activations(config: RunConfig, step: _Step) -> int:
    """What a step keeps of its layers; with checkpoints their inputs, and one layer whole."""
    if not step.learns:
        return 0
    model = step.plan.outline.model
    per_token = _layer_values(config, model)
    if not config.compute.gradient_checkpointing:
        return LAYER_WIDTHS * step.tokens * per_token
    layers = int(model.network.config.get_text_config().num_hidden_layers)
    return step.tokens * (per_token + LAYER_WIDTHS * per_token // layers)


def _keys_and_values(config: RunConfig, plan: ModelPlan) -> int:
    model = plan.outline.model
    tokens = config.evaluation.batch_size * config.data.max_length
    return 2 * tokens * _widths(model) * model.network.dtype.itemsize


def _layer_values(config: RunConfig, model: LanguageModel) -> int:
    """Bytes of one token's hidden states in all layers, as training steps compute them."""
    dtype = torch.bfloat16 if config.compute.autocast else model.network.dtype
    return _widths(model) * dtype.itemsize


def _widths(model: LanguageModel) -> int:
    shape = model.network.config.get_text_config()
    return int(shape.hidden_size * shape.num_hidden_layers)


def _logits(config: RunConfig, steps: Sequence[_Step], device: torch.device) -> int:
    """All answer rows' logits, or where the loss is fused no more than its blocks may take."""
    rows = sum(step.rows * vocab_size(step.plan.outline.model) for step in steps)
    whole = LOGIT_COPIES * torch.float32.itemsize * rows
    if config.compute.loss == "plain":
        return whole
    return min(whole, config.compute.loss_memory_bytes(device.type))
