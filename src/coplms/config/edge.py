"""What a device brings along: the content of `device.yaml`, and what becomes of it in a run."""

from pydantic import Field

from coplms.config.base import Section
from coplms.config.compute import DEVICE_PATTERN, ComputeConfig
from coplms.config.data import DataConfig, MemberDataConfig
from coplms.config.model import ModelConfig, ZooConfig
from coplms.config.terms import Terms
from coplms.config.training import TrainingConfig


class EdgeConfig(Section):
    """One device's own model, text and means; nothing of it leaves the device."""

    slm: ModelConfig
    """The device's own small language model, of any architecture and tokenizer."""
    data: MemberDataConfig
    """The device's own text."""
    device: str = Field("auto", pattern=DEVICE_PATTERN)
    """Where models run; `auto` takes CUDA where there is one."""
    dpm_device: str | None = Field(None, pattern=DEVICE_PATTERN)
    """Overrides `device` for the DPM."""
    threads: int | None = Field(None, ge=1)
    """CPU threads of PyTorch. Absent: all cores."""
    compute: ComputeConfig = ComputeConfig()
    zoo: ZooConfig | None = None
    """Recipe of the `mini/...` models; absent: none may be used."""


def training_of(terms: Terms, edge: EdgeConfig) -> TrainingConfig:
    """What a device trains by: the run's terms with the device's own means."""
    return TrainingConfig(
        seed=terms.seed,
        dpm=terms.dpm.model_copy(update={"device": edge.dpm_device}),
        data=DataConfig(template=terms.template, max_length=terms.max_length),
        tuning=terms.tuning,
        optimizer=terms.optimizer,
        method=terms.method,
        transport=terms.transport,
        evaluation=terms.evaluation,
        zoo=edge.zoo,
        dtype=terms.dtype,
        device=edge.device,
        threads=edge.threads,
        compute=edge.compute,
    )
