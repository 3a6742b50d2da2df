"""Tuned members -> adapters as PEFT folders, fully tuned models as Hugging Face folders."""

import shutil
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from coplms.config.model import ModelConfig, TuningConfig
from coplms.config.run import RunConfig
from coplms.config.training import TrainingConfig
from coplms.consortium.members import DOMAIN, OWN, SHARED, Device, Server
from coplms.consortium.messages import SERVER
from coplms.models.adapters import merged_copy, save_adapter
from coplms.training.learner import Learner

PROXY_SHARED, PROXY_DOMAIN = "dpm-shared", "dpm-domain"
"""What the folders of a DPM's adapters are called."""


def adapter_folder(run: Path, member: str, name: str) -> Path:
    """Where a run keeps an adapter: `llm` or `slm`, `dpm-shared`, `dpm-domain`."""
    return run / "adapters" / member / name


def model_folder(run: Path, member: str, name: str) -> Path:
    """Where a run keeps a fully tuned model: `llm`, `slm` or `dpm`."""
    return run / "models" / member / name


def save_server(run: Path, server: Server, config: RunConfig) -> None:
    """Write what the server keeps, under `adapters/server/` and `models/server/`."""
    save_model(run, SERVER, "llm", server.llm, config.tuning_of(config.llm))
    _save_shared(run, SERVER, server.dpm, config.tuning_of(config.dpm))


def save_device(run: Path, device: Device, config: TrainingConfig, slm: ModelConfig) -> None:
    """Write what a device keeps, under `adapters/NAME/` and `models/NAME/`."""
    name = device.name
    save_model(run, name, "slm", device.slm, config.tuning_of(slm))
    base = device.dpm.model.path
    _save_shared(run, name, device.dpm, config.tuning_of(config.dpm))
    _save_adapter(adapter_folder(run, name, PROXY_DOMAIN), device.dpm, DOMAIN)
    device.dpm.model.path = base


def save_whole(target: Path, network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write an ordinary Hugging Face folder, which appears when it is whole."""
    temporary = _fresh(target)
    network.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    _replace(temporary, target)


def save_model(run: Path, member: str, name: str, learner: Learner, tuning: TuningConfig) -> None:
    """Write what of a member's only model was tuned: an adapter, or all of it."""
    if tuning.kind == "lora":
        adapter = OWN if OWN in learner.parts else SHARED
        _save_adapter(adapter_folder(run, member, name), learner, adapter)
    else:
        _save_without_adapters(model_folder(run, member, name), learner)


def _save_shared(run: Path, member: str, dpm: Learner, tuning: TuningConfig) -> None:
    if tuning.kind == "lora":
        _save_adapter(adapter_folder(run, member, PROXY_SHARED), dpm, SHARED)
    else:
        folder = model_folder(run, member, "dpm")
        _save_without_adapters(folder, dpm)
        # The domain adapter, saved next, belongs on these weights and names them as its base.
        dpm.model.path = str(folder)


def _save_adapter(target: Path, learner: Learner, adapter: str) -> None:
    temporary = _fresh(target)
    save_adapter(learner.model, adapter, temporary)
    _replace(temporary, target)


def _save_without_adapters(target: Path, learner: Learner) -> None:
    save_whole(target, merged_copy(learner.model, []), learner.model.tokenizer)


def _fresh(target: Path) -> Path:
    temporary = target.with_name(target.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def _replace(temporary: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
