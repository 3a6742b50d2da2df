"""What a run will load and train: every member's models and parts, with sizes and steps."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from coplms.api.hub import Hub
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


def plan_models(
    config: RunConfig, zoo: Mapping[str, Path], hub: Hub | None = None
) -> list[ModelPlan]:
    """LLM and DPM of the server, then SLM and DPM of each device that is described here.

    A baseline has no DPM, or its devices tune that in place of an SLM.

    Args:
        config: The run's.
        zoo: Where each mini model lies, or will.
        hub: Of a dry run, which knows models that are not to be had by their written sizes.

    Raises:
        ModelError: If a model cannot be loaded, the DPM does not have the LLM's tokenizer, or
            this machine has no such device.
        ConfigError: If a setting does not fit its model.
    """
    method = config.method
    llm = outline(config, zoo, config.llm, "llm", hub)
    proxy = _proxy(config, _dpm(config, zoo, llm, hub)) if method.has_proxy else None
    plans = [_own(config, llm, config.llm, (SERVER, "llm"), method.server_steps)]
    # Where devices tune the DPM in place of an SLM, it takes an SLM's steps.
    on_server, on_device = method.server_steps, [method.device_steps]
    if method.has_slms:
        on_server = method.server_proxy_steps
        on_device = [method.device_proxy_steps, method.domain_steps]
    if proxy is not None:
        plans.append(proxy.of(SERVER, on_server))
    alike: dict[str, ModelPlan] = {}
    for device in config.devices:
        if device.slm is None:
            continue
        name, key = device.name, device.slm.model_dump_json()
        if method.has_slms and key not in alike:
            slm = outline(config, zoo, device.slm, f"{name}/slm", hub)
            alike[key] = _own(config, slm, device.slm, (name, "slm"), method.device_steps)
        if method.has_slms:
            plans.append(_of_member(alike[key], name))
        if proxy is not None:
            plans.append(proxy.of(name, *on_device))
    return plans


@dataclass(frozen=True, eq=False)
class _Proxy:
    """The DPM, of which every member has a copy."""

    outline: Outline
    weights: Size
    folder_bytes: int
    device: torch.device
    shared: Size
    domain: Size
    is_adapter: bool

    def of(self, member: str, steps: int, domain_steps: int | None = None) -> ModelPlan:
        """A member's copy; with a domain adapter where it takes steps."""
        parts = [PartPlan(f"{member}/dpm-shared", self.shared, steps, self.is_adapter)]
        if domain_steps is not None:
            parts.append(PartPlan(f"{member}/dpm-domain", self.domain, domain_steps, True))
        return ModelPlan(
            member, "dpm", self.outline, self.weights, self.folder_bytes, self.device, tuple(parts)
        )


def _proxy(config: RunConfig, dpm: Outline) -> _Proxy:
    """The DPM's sizes; from here on its outline has the adapters of a device's copy."""
    folder_bytes = _size(base_parameters(dpm.model)).num_bytes
    nn.Module.to(dpm.model.network, getattr(torch, config.dtype))
    return _Proxy(
        outline=dpm,
        weights=_size(base_parameters(dpm.model)),
        folder_bytes=folder_bytes,
        device=resolve_device(config.device_of(config.dpm)),
        shared=_trained(dpm.model, SHARED, config.tuning_of(config.dpm)),
        domain=_trained(dpm.model, DOMAIN, config.domain_tuning),
        is_adapter=config.tuning_of(config.dpm).kind == "lora",
    )


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


def _dpm(config: RunConfig, zoo: Mapping[str, Path], llm: Outline, hub: Hub | None) -> Outline:
    """The DPM before distillation; it has no adapter yet."""
    if config.dpm.model is None:
        sliced = slice_model(llm.model, config.dpm.layers, "dpm")
        source = f"slice of {llm.source}"
        return replace(llm, model=sliced, source=source, build_steps=0, written=None)
    model = ModelConfig(model=config.dpm.model, sizes=config.dpm.sizes)
    found = outline(config, zoo, model, "dpm", hub)
    if llm.can_encode and found.can_encode:
        check_same_tokenizer(llm.model, found.model)
    return found


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
