"""The whole configuration of one run."""

from collections import Counter
from typing import Self

from pydantic import Field, field_validator, model_validator

from coplms.config.model import DeviceConfig, ModelConfig
from coplms.config.network import NetworkConfig
from coplms.config.training import TrainingConfig


class RunConfig(TrainingConfig):
    """A consortium and how it is tuned: the content of `consortium.yaml`."""

    name: str = "consortium"
    """Shown in the report."""
    llm: ModelConfig
    """The server's large language model."""
    devices: tuple[DeviceConfig, ...] = Field(min_length=1)
    alone: bool = True
    """Also tune every model alone for the same number of steps, to see what co-tuning bought."""
    network: NetworkConfig = NetworkConfig()

    @field_validator("devices")
    @classmethod
    def _devices_are_single(cls, devices: tuple[DeviceConfig, ...]) -> tuple[DeviceConfig, ...]:
        """Write `count: 3` out as three devices."""
        return tuple(single for device in devices for single in _copies(device))

    @model_validator(mode="after")
    def _device_names_are_unique(self) -> Self:
        names = [device.name for device in self.devices]
        if "server" in names:
            raise ValueError(
                "devices: 'server' is the server's own name; call the device otherwise"
            )
        for name, count in Counter(names).items():
            if count > 1:
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
        missing = [each.name for each in self.devices if each.slm and each.data is None]
        if missing:
            raise ValueError(
                f"devices: '{missing[0]}' has no `data`; without data.pool each needs its own"
            )
        return self

    @property
    def remote(self) -> tuple[str, ...]:
        """Devices that are described on their own machines."""
        return tuple(device.name for device in self.devices if device.slm is None)

    @property
    def scored(self) -> frozenset[str]:
        """Devices whose models are scored, and whose SLM is tuned alone."""
        return frozenset(each.name for each in self.devices[: self.evaluation.max_devices])


def _copies(device: DeviceConfig) -> list[DeviceConfig]:
    """A device, or as many as its `count` says, called NAME-1, NAME-2, ..."""
    if device.count == 1:
        return [device]
    width = len(str(device.count))
    names = [f"{device.name}-{number:0{width}}" for number in range(1, device.count + 1)]
    return [device.model_copy(update={"name": name, "count": 1}) for name in names]
