"""Configuration -> learners: models loaded, adapters added, parts named."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from coplms.config.model import DpmConfig, ModelConfig, TuningConfig
from coplms.config.run import RunConfig
from coplms.config.training import TrainingConfig
from coplms.consortium.members import DOMAIN, OWN, SHARED
from coplms.consortium.messages import SERVER
from coplms.errors import ConfigError
from coplms.models.adapters import (
    activate,
    adapter_parameters,
    add_adapter,
    base_parameters,
    set_trainable,
)
from coplms.models.language_model import LanguageModel
from coplms.models.load import load_model, resolve_device
from coplms.training.encoding import Encoder
from coplms.training.learner import Learner
from coplms.training.part import Part

MINI = "mini/"
"""Prefix of the models of the zoo."""


def run_devices(config: RunConfig) -> list[torch.device]:
    """Where the models of a run lie, each place once, the LLM's first.

    Raises:
        ModelError: If this machine has no such device.
    """
    models: list[ModelConfig | DpmConfig] = [config.llm, config.dpm]
    models += [device.slm for device in config.devices if device.slm is not None]
    return list(dict.fromkeys(resolve_device(config.device_of(model)) for model in models))


@dataclass(frozen=True)
class Assembler:
    """Builds the learners of one run.

    Attributes:
        config: The run's.
        zoo: Folders of the mini models by name.
    """

    config: TrainingConfig
    zoo: Mapping[str, Path]

    def path(self, model: str) -> str:
        """Folder or hub name of a model as the configuration names it.

        Raises:
            ConfigError: If it is a mini model that the zoo does not have.
        """
        if not model.startswith(MINI):
            return model
        name = model.removeprefix(MINI)
        if name not in self.zoo:
            known = ", ".join(MINI + known for known in self.zoo) or "none"
            raise ConfigError(
                f"'{model}' is not a mini model of the `zoo:` section. Known: {known}. "
                "For other models write a folder or a hub name such as 'organisation/name'"
            )
        return str(self.zoo[name])

    def device(self, model: ModelConfig | DpmConfig) -> torch.device:
        """Where a model runs.

        Raises:
            ModelError: If this machine has no such device.
        """
        return resolve_device(self.config.device_of(model))

    def load(self, model: ModelConfig, name: str, device: torch.device) -> LanguageModel:
        """A model as it is before any tuning."""
        return load_model(name, self.path(model.model), self.config.dtype_of(model), device)

    def own(self, config: ModelConfig, name: str, steps: int, part: str) -> Learner:
        """An LLM or SLM whose part `own` is its LoRA adapter, or all of it."""
        model = self.load(config, name, self.device(config))
        tuning = self.config.tuning_of(config)
        if tuning.kind == "lora":
            self._add(model, OWN, tuning)
            activate(model, [OWN])
            parameters = adapter_parameters(model, OWN)
        else:
            parameters = base_parameters(model)
        return self._learner(model, {OWN: self.part(part, parameters, steps)})

    def proxy(self, folder: Path, member: str) -> Learner:
        """A member's copy of the DPM with its shared part; on devices also a domain adapter."""
        config = self.config
        model = load_model("dpm", str(folder), config.dtype, self.device(config.dpm))
        tuning = config.tuning_of(config.dpm)
        is_adapter = tuning.kind == "lora"
        if is_adapter:
            self._add(model, SHARED, tuning)
        shared = adapter_parameters(model, SHARED) if is_adapter else base_parameters(model)
        domain = None
        if member != SERVER:
            self._add(model, DOMAIN, self.config.domain_tuning)
            domain = adapter_parameters(model, DOMAIN)
        parts = self.proxy_parts(member, shared, domain)
        activate(model, [SHARED] if is_adapter else [])
        learner = self._learner(model, parts)
        learner.shared_is_adapter = is_adapter
        return learner

    def proxy_parts(
        self,
        member: str,
        shared: Mapping[str, nn.Parameter],
        domain: Mapping[str, nn.Parameter] | None,
    ) -> dict[str, Part]:
        """The parts of a member's copy of the DPM; the domain adapter is a device's alone."""
        method, rate = self.config.method, self.proxy_learning_rate
        on_server = domain is None
        steps = method.server_proxy_steps if on_server else method.device_proxy_steps
        parts = {SHARED: self.part(f"{member}/dpm-shared", shared, steps, rate)}
        if domain is not None:
            rate = method.dst.learning_rate or rate
            name = f"{member}/dpm-domain"
            parts[DOMAIN] = self.part(name, domain, method.domain_steps, rate)
        return parts

    @property
    def proxy_learning_rate(self) -> float:
        """Peak learning rate of the DPM's shared part."""
        optimizer = self.config.optimizer
        return optimizer.proxy_learning_rate or optimizer.learning_rate

    def student(self, model: LanguageModel) -> Learner:
        """The DPM for its distillation: its part `own` is all of it."""
        settings = self.config.method.distill
        rate = settings.learning_rate or self.proxy_learning_rate
        part = self.part("dpm", base_parameters(model), settings.steps, rate)
        return self._learner(model, {OWN: part})

    def _learner(self, model: LanguageModel, parts: dict[str, Part]) -> Learner:
        """A learner of which nothing takes gradients until a phase lets it."""
        set_trainable(model, ())
        data, compute = self.config.data, self.config.compute
        encoder = Encoder(model, data.template, data.max_length)
        return Learner(model, encoder, parts, compute=compute)

    def part(
        self,
        name: str,
        parameters: Mapping[str, nn.Parameter],
        steps: int,
        rate: float | None = None,
    ) -> Part:
        """Parameters with their optimiser; `rate` where it is not that of LLM and SLMs."""
        optimizer = self.config.optimizer
        return Part(name, parameters, optimizer, rate or optimizer.learning_rate, steps)

    def _add(self, model: LanguageModel, adapter: str, tuning: TuningConfig) -> None:
        add_adapter(
            model,
            adapter,
            tuning.rank,
            tuning.alpha,
            tuning.dropout,
            tuning.target_modules,
            self.config.seed,
        )
