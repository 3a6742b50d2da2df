"""What a run will load and train: every member's models and parts, with sizes and steps."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from coplms.api.outline import Outline, outline
from coplms.config.model import ModelConfig, TuningConfig
from coplms.config.run import RunConfig
from coplms.consortium.members import DOMAIN, OWN, SHARED
from coplms.consortium.messages import SERVER
from coplms.models.adapters import adapter_parameters, add_adapter, base_parameters
from coplms.models.language_model import LanguageModel
from coplms.models.load import check_same_tokenizer, resolve_device
from coplms.models.slicing import slice_model


@dataclass(frozen=True)
class Size:
    """Some parameters, each counted once."""

    num_parameters: int
    num_bytes: int


@dataclass(frozen=True)
class PartPlan:
    """What is trained together.

    Attributes:
        name: As in checkpoints, such as `hospital/slm`.
        size: Its parameters.
        steps: Optimiser steps over the whole run.
        is_adapter: Whether it comes on top of the model's weights, or is all of them.
    """

    name: str
    size: Size
    steps: int
    is_adapter: bool


@dataclass(frozen=True, eq=False)
class ModelPlan:
    """One model of one member.

    Attributes:
        member: `server` or a device's name.
        role: What it is there.
        outline: Its shapes and tokenizer.
        weights: Without adapters, as the run holds them.
        folder_bytes: Bytes of its weights as they lie on disk and travel.
        device: Where it will run.
        parts: What of it is trained; of a DPM the shared part first.
    """

    member: str
    role: Literal["llm", "dpm", "slm"]
    outline: Outline
    weights: Size
    folder_bytes: int
    device: torch.device
    parts: tuple[PartPlan, ...]


def plan_models(config: RunConfig, zoo: Mapping[str, Path]) -> list[ModelPlan]:
    """LLM and DPM of the server, then SLM and DPM of each device that is described here.

    Args:
        config: The run's.
        zoo: Where each mini model lies, or will.

    Raises:
        ModelError: If a model cannot be loaded, the DPM does not have the LLM's tokenizer, or
            this machine has no such device.
        ConfigError: If a setting does not fit its model.
    """
    method = config.method
    llm = outline(config, zoo, config.llm, "llm")
    dpm = _dpm(config, zoo, llm)
    plans = [_own(config, llm, config.llm, (SERVER, "llm"), method.server_steps)]
    folder_bytes = _size(base_parameters(dpm.model)).num_bytes
    # From here on the DPM's outline has the adapters of a device's copy.
    shared, domain = _proxy_sizes(config, dpm.model)
    weights = _size(base_parameters(dpm.model))
    is_adapter = config.tuning_of(config.dpm).kind == "lora"
    place = resolve_device(config.device_of(config.dpm))

    def proxy(member: str, steps: int, *others: PartPlan) -> ModelPlan:
        parts = (PartPlan(f"{member}/dpm-shared", shared, steps, is_adapter), *others)
        return ModelPlan(member, "dpm", dpm, weights, folder_bytes, place, parts)

    plans.append(proxy(SERVER, method.server_proxy_steps))
    alike: dict[ModelConfig, ModelPlan] = {}
    for device in config.devices:
        name = device.name
        if device.slm is None:
            continue
        if device.slm not in alike:
            slm = outline(config, zoo, device.slm, f"{name}/slm")
            alike[device.slm] = _own(config, slm, device.slm, (name, "slm"), method.device_steps)
        plans.append(_of_member(alike[device.slm], name))
        own_part = PartPlan(f"{name}/dpm-domain", domain, method.domain_steps, True)
        plans.append(proxy(name, method.device_proxy_steps, own_part))
    return plans


def _own(
    config: RunConfig,
    found: Outline,
    model: ModelConfig,
    who: tuple[str, Literal["llm", "slm"]],
    steps: int,
) -> ModelPlan:
    member, role = who
    tuning = config.tuning_of(model)
    weights = _size(base_parameters(found.model))
    trained = _trained(found.model, OWN, tuning)
    part = PartPlan(f"{member}/{role}", trained, steps, tuning.kind == "lora")
    place = resolve_device(config.device_of(model))
    return ModelPlan(member, role, found, weights, weights.num_bytes, place, (part,))


def _of_member(plan: ModelPlan, member: str) -> ModelPlan:
    """The same model in another device's hands."""
    parts = tuple(replace(part, name=f"{member}/{plan.role}") for part in plan.parts)
    return replace(plan, member=member, parts=parts)


def _dpm(config: RunConfig, zoo: Mapping[str, Path], llm: Outline) -> Outline:
    """The DPM before distillation; it has no adapter yet."""
    if config.dpm.model is None:
        sliced = slice_model(llm.model, config.dpm.layers, "dpm")
        return replace(llm, model=sliced, source=f"slice of {llm.source}", build_steps=0)
    found = outline(config, zoo, ModelConfig(model=config.dpm.model), "dpm")
    if llm.can_encode and found.can_encode:
        check_same_tokenizer(llm.model, found.model)
    return found


def _proxy_sizes(config: RunConfig, dpm: LanguageModel) -> tuple[Size, Size]:
    """Shared part and domain adapter of a device's DPM, which gets its adapters here."""
    nn.Module.to(dpm.network, getattr(torch, config.dtype))
    shared = _trained(dpm, SHARED, config.tuning_of(config.dpm))
    return shared, _trained(dpm, DOMAIN, config.domain_tuning)


def _trained(model: LanguageModel, adapter: str, tuning: TuningConfig) -> Size:
    if tuning.kind == "full":
        return _size(base_parameters(model))
    rank, alpha, dropout = tuning.rank, tuning.alpha, tuning.dropout
    add_adapter(model, adapter, rank, alpha, dropout, tuning.target_modules, seed=0)
    return _size(adapter_parameters(model, adapter))


def _size(parameters: Mapping[str, nn.Parameter]) -> Size:
    values = parameters.values()
    return Size(
        sum(value.numel() for value in values),
        sum(value.numel() * value.element_size() for value in values),
    )
