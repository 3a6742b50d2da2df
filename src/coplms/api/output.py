"""Tuned members -> adapters as PEFT folders, fully tuned models as Hugging Face folders."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from coplms.api.assemble import Assembler
from coplms.config.model import ModelConfig, TuningConfig
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


def save_models(run: Path, server: Server, devices: Sequence[Device], assembler: Assembler) -> None:
    """Write what each member keeps, under `adapters/MEMBER/` and `models/MEMBER/`."""
    config = assembler.config
    proxy = config.dpm.tuning or config.tuning
    _save_own(run, SERVER, "llm", server.llm, assembler, config.llm)
    _save_shared(run, SERVER, server.dpm, proxy)
    for device, described in zip(devices, config.devices, strict=True):
        _save_own(run, device.name, "slm", device.slm, assembler, described.slm)
        _save_shared(run, device.name, device.dpm, proxy)
        _save_adapter(adapter_folder(run, device.name, PROXY_DOMAIN), device.dpm, DOMAIN)


def save_whole(target: Path, network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write an ordinary Hugging Face folder, which appears when it is whole."""
    temporary = _fresh(target)
    network.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    _replace(temporary, target)


def _save_own(
    run: Path, member: str, name: str, learner: Learner, assembler: Assembler, model: ModelConfig
) -> None:
    tuning = model.tuning or assembler.config.tuning
    if tuning.kind == "lora":
        _save_adapter(adapter_folder(run, member, name), learner, OWN)
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
