"""What a member of a run trains by: what the configurations of server and devices share."""

from typing import Literal

from pydantic import Field

from coplms.config.base import Section
from coplms.config.compute import DEVICE_PATTERN, ComputeConfig
from coplms.config.data import DataConfig
from coplms.config.method import MethodConfig, OptimizerConfig
from coplms.config.model import DpmConfig, ModelConfig, TuningConfig, ZooConfig
from coplms.config.transport import TransportConfig


class EvaluationConfig(Section):
    """How models are asked and scored."""

    batch_size: int = Field(64, ge=1)
    max_new_tokens: int = Field(48, ge=1)
    """Longest answer, in tokens of the answering model."""
    before: bool = True
    """Also score every model before it is tuned."""
    each_round: bool = False
    """Also score LLM and SLMs after every round but the last."""
    split: Literal["test", "dev"] = "test"
    """What models are asked: `dev` where settings are chosen, for `test` must not choose them."""
    max_devices: int | None = Field(None, ge=1)
    """Score (and tune alone) only the first so many devices; absent: all of them."""


class TrainingConfig(Section):
    """Everything that builds and trains the models of one member."""

    seed: int = 0
    """Decides partition, order of batches and adapter initialisation."""
    dpm: DpmConfig = DpmConfig()
    data: DataConfig
    tuning: TuningConfig = TuningConfig()
    """What is trained, unless a model says otherwise."""
    optimizer: OptimizerConfig = OptimizerConfig()
    method: MethodConfig = MethodConfig()
    transport: TransportConfig = TransportConfig()
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
