"""Configuration -> learners: models loaded, adapters added, parts named."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from coplms.config.model import ModelConfig, TuningConfig
from coplms.config.run import RunConfig
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


@dataclass(frozen=True)
class Assembler:
    """Builds the learners of one run.

    Attributes:
        config: The run's.
        zoo: Folders of the mini models by name.
    """

    config: RunConfig
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

    def load(self, config: ModelConfig, name: str) -> LanguageModel:
        """A model as it is before any tuning."""
        dtype = config.dtype or self.config.dtype
        return load_model(name, self.path(config.model), dtype, resolve_device(self.config.device))

    def own(self, config: ModelConfig, name: str, steps: int, part: str) -> Learner:
        """An LLM or SLM whose part `own` is its LoRA adapter, or all of it."""
        model = self.load(config, name)
        tuning = config.tuning or self.config.tuning
        learner = self._learner(model)
        if tuning.kind == "lora":
            self._add(model, OWN, tuning)
            activate(model, [OWN])
        parameters = (
            adapter_parameters(model, OWN) if tuning.kind == "lora" else base_parameters(model)
        )
        optimizer = self.config.optimizer
        learner.parts[OWN] = Part(part, parameters, optimizer, optimizer.learning_rate, steps)
        set_trainable(model, ())
        return learner

    def proxy(self, folder: Path, member: str) -> Learner:
        """A member's copy of the DPM with its shared part; on devices also a domain adapter."""
        model = load_model(
            "dpm", str(folder), self.config.dtype, resolve_device(self.config.device)
        )
        tuning = self.config.dpm.tuning or self.config.tuning
        learner = self._learner(model)
        learner.shared_is_adapter = tuning.kind == "lora"
        if learner.shared_is_adapter:
            self._add(model, SHARED, tuning)
        else:
            weights = base_parameters(model)
        if member != SERVER:
            rank = self.config.dpm.domain_rank
            self._add(model, DOMAIN, tuning.model_copy(update={"rank": rank, "alpha": 2.0 * rank}))
        activate(model, [SHARED] if learner.shared_is_adapter else [])
        optimizer, method = self.config.optimizer, self.config.method
        rate = optimizer.proxy_learning_rate or optimizer.learning_rate
        on_server = method.saml.server_steps if method.saml.server_proxy == "train" else 0
        on_device = method.saml.proxy_steps + method.saml.steps
        steps = method.rounds * (on_server if member == SERVER else on_device)
        shared = adapter_parameters(model, SHARED) if learner.shared_is_adapter else weights
        learner.parts[SHARED] = Part(f"{member}/dpm-shared", shared, optimizer, rate, steps)
        if member != SERVER:
            learner.parts[DOMAIN] = Part(
                f"{member}/dpm-domain",
                adapter_parameters(model, DOMAIN),
                optimizer,
                method.dst.learning_rate or rate,
                method.rounds * method.dst.steps,
            )
        set_trainable(model, ())
        return learner

    def whole(self, model: LanguageModel, part: str, rate: float, steps: int) -> Learner:
        """A model whose part `own` is all of it, for distillation."""
        learner = self._learner(model)
        parameters = base_parameters(model)
        learner.parts[OWN] = Part(part, parameters, self.config.optimizer, rate, steps)
        return learner

    def _learner(self, model: LanguageModel) -> Learner:
        data = self.config.data
        return Learner(model, Encoder(model, data.template, data.max_length))

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
