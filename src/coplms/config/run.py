"""The whole configuration of one run."""

from typing import Any, Self

from pydantic import Field, model_validator

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

    @model_validator(mode="before")
    @classmethod
    def _devices_are_single(cls, values: Any) -> Any:
        """Write `count: 3` out as three devices."""
        if not isinstance(values, dict) or not isinstance(values.get("devices"), list):
            return values
        devices = [each for device in values["devices"] for each in _copies(device)]
        return {**values, "devices": devices}

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

    def is_scored(self, device: str) -> bool:
        """Whether a device's models are scored, and its SLM tuned alone."""
        names = [each.name for each in self.devices]
        return device in names[: self.evaluation.max_devices]


def _copies(device: Any) -> list[Any]:
    """A device, or as many as its `count` says, called NAME-1, NAME-2, ..."""
    count = device.get("count") if isinstance(device, dict) else None
    if not isinstance(count, int) or isinstance(count, bool) or count < 2:
        return [device]
    width = len(str(count))
    single = {key: value for key, value in device.items() if key != "count"}
    return [
        {**single, "name": f"{device.get('name')}-{number:0{width}}"}
        for number in range(1, count + 1)
    ]
