"""How training steps are computed: time and memory, while results move by rounding only."""

from typing import Literal

from pydantic import Field

from coplms.config.base import Section

DEVICE_PATTERN = r"^(auto|cpu|cuda(:\d+)?)$"
"""What a `device` may be."""

_MIB = 2**20
_LOSS_MEMORY_MIB = {"cpu": 32, "cuda": 1024}


class ComputeConfig(Section):
    """How training steps are computed.

    Answers and scores are always computed in the weights' own dtype.
    """

    autocast: bool = False
    """Compute the forward passes of training in bfloat16 wherever PyTorch's autocast does; weights
    and optimiser keep their dtype, losses are float32."""
    gradient_checkpointing: bool = False
    """Keep only the input of every layer for the backward pass, which then computes the layer once
    more: less memory, a third more time, the same gradients."""
    loss: Literal["auto", "fused", "plain"] = "auto"
    """`plain`: losses of all logits at once, by autograd. `fused`: block by block, so that all
    logits never exist together; the run is refused where a model's output head is of no known
    form. `auto`: fused where it can be."""
    loss_memory_mib: int | None = Field(None, ge=1)
    """Memory that the blocks of the fused loss may take, in MiB; absent: 32 on the CPU, 1024 on a
    GPU."""
    teraflops: float | None = Field(None, gt=0)
    """What the machine that will train sustains, in 10^12 floating-point operations a second; only
    the time that `coplms train --dry-run` estimates depends on it. Absent: measured where the dry
    run takes place."""

    def loss_memory_bytes(self, device_type: str) -> int:
        """Bytes that the blocks of the fused loss may take on a `cpu` or `cuda` device.

        >>> ComputeConfig().loss_memory_bytes("cpu")
        33554432
        """
        return _MIB * (self.loss_memory_mib or _LOSS_MEMORY_MIB[device_type])
