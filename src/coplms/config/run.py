"""The whole configuration of one run."""

from typing import Literal, Self

from pydantic import Field, model_validator

from coplms.config.base import Section
from coplms.config.compute import DEVICE_PATTERN, ComputeConfig
from coplms.config.data import DataConfig
from coplms.config.method import CoPLMsConfig, OptimizerConfig
from coplms.config.model import DeviceConfig, DpmConfig, ModelConfig, TuningConfig, ZooConfig


class EvaluationConfig(Section):
    """How models are asked and scored."""

    batch_size: int = Field(64, ge=1)
    max_new_tokens: int = Field(48, ge=1)
    """Longest answer, in tokens of the answering model."""


class RunConfig(Section):
    """A consortium and how it is tuned: the content of `consortium.yaml`."""

    name: str = "consortium"
    """Shown in the report."""
    seed: int = 0
    """Decides partition, order of batches and adapter initialisation."""
    llm: ModelConfig
    """The server's large language model."""
    dpm: DpmConfig = DpmConfig()
    devices: tuple[DeviceConfig, ...] = Field(min_length=1)
    data: DataConfig
    tuning: TuningConfig = TuningConfig()
    """What is trained, unless a model says otherwise."""
    optimizer: OptimizerConfig = OptimizerConfig()
    method: CoPLMsConfig = CoPLMsConfig()
    alone: bool = True
    """Also tune every model alone for the same number of steps, to see what co-tuning bought."""
    evaluation: EvaluationConfig = EvaluationConfig()
    zoo: ZooConfig | None = None
    """Recipe of the `mini/...` models; absent: none may be used."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What weights are held in; adapters are always float32."""
    device: str = Field("auto", pattern=DEVICE_PATTERN)
    """Where models run; `auto` takes CUDA where there is one."""
    threads: int | None = Field(None, ge=1)
    """CPU threads of PyTorch; part of what makes a run repeatable. Absent: all cores."""
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _device_names_are_unique(self) -> Self:
        names = [device.name for device in self.devices]
        if "server" in names:
            raise ValueError(
                "devices: 'server' is the server's own name; call the device otherwise"
            )
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"devices: the name '{name}' occurs twice; give every device its own"
                )
        return self

    @model_validator(mode="after")
    def _data_has_one_layout(self) -> Self:
        own = [device.name for device in self.devices if device.data is not None]
        if self.data.pool is not None:
            if own or self.data.server or self.data.transfer:
                raise ValueError(
                    "data.pool divides one body of text, so data.server, data.transfer and "
                    "devices[].data must be absent"
                )
            return self
        if self.data.server is None:
            raise ValueError("data: give either `pool`, or `server` and `data` in every device")
        missing = [device.name for device in self.devices if device.data is None]
        if missing:
            raise ValueError(
                f"devices: '{missing[0]}' has no `data`; without data.pool each needs its own"
            )
        return self

    def tuning_of(self, model: ModelConfig | DpmConfig) -> TuningConfig:
        """What of a model is trained: its own `tuning`, or the run's."""
        return model.tuning or self.tuning

    def dtype_of(self, model: ModelConfig) -> Literal["float32", "bfloat16"]:
        """What a model's weights are held in: its own `dtype`, or the run's."""
        return model.dtype or self.dtype

    def device_of(self, model: ModelConfig | DpmConfig) -> str:
        """Where a model runs: its own `device`, or the run's."""
        return model.device or self.device

    @property
    def domain_tuning(self) -> TuningConfig:
        """The LoRA adapter that is a device's private part of the DPM."""
        rank = self.dpm.domain_rank
        changes = {"kind": "lora", "rank": rank, "alpha": 2.0 * rank}
        return self.tuning_of(self.dpm).model_copy(update=changes)
