"""Tuned members -> adapters as PEFT folders, fully tuned models as Hugging Face folders."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from coplms.api.assemble import Assembler
from coplms.config.model import ModelConfig, TuningConfig
from coplms.consortium.members import DOMAIN, OWN, SHARED, Device, Server
from coplms.models.adapters import merged_copy, save_adapter
from coplms.training.learner import Learner


def save_models(
    folder: Path, server: Server, devices: Sequence[Device], assembler: Assembler
) -> None:
    """Write what each member keeps, under `adapters/MEMBER/` and `models/MEMBER/`."""
    config = assembler.config
    proxy = config.dpm.tuning or config.tuning
    _save_own(folder, "server", "llm", server.llm, assembler, config.llm)
    _save_shared(folder, "server", server.dpm, proxy)
    for device, described in zip(devices, config.devices, strict=True):
        _save_own(folder, device.name, "slm", device.slm, assembler, described.slm)
        _save_shared(folder, device.name, device.dpm, proxy)
        _save_adapter(folder / "adapters" / device.name / "dpm-domain", device.dpm, DOMAIN)


def _save_own(
    folder: Path, member: str, name: str, learner: Learner, assembler: Assembler, model: ModelConfig
) -> None:
    tuning = model.tuning or assembler.config.tuning
    if tuning.kind == "lora":
        _save_adapter(folder / "adapters" / member / name, learner, OWN)
    else:
        _save_whole(folder / "models" / member / name, learner, [])


def _save_shared(folder: Path, member: str, dpm: Learner, tuning: TuningConfig) -> None:
    if tuning.kind == "lora":
        _save_adapter(folder / "adapters" / member / "dpm-shared", dpm, SHARED)
    else:
        _save_whole(folder / "models" / member / "dpm", dpm, [])


def _save_adapter(target: Path, learner: Learner, adapter: str) -> None:
    temporary = _fresh(target)
    save_adapter(learner.model, adapter, temporary)
    _replace(temporary, target)


def _save_whole(target: Path, learner: Learner, adapters: Sequence[str]) -> None:
    temporary = _fresh(target)
    merged_copy(learner.model, adapters).save_pretrained(temporary)
    learner.model.tokenizer.save_pretrained(temporary)
    _replace(temporary, target)


def _fresh(target: Path) -> Path:
    temporary = target.with_name(target.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def _replace(temporary: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
