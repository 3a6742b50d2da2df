"""A simulated consortium's devices, written out as `device.yaml` files with their share of text."""

import json
from collections.abc import Sequence
from pathlib import Path

from coplms.config.data import MemberDataConfig, SourceConfig
from coplms.config.edge import EdgeConfig
from coplms.config.load import dump_config
from coplms.config.model import DeviceConfig, ModelConfig, ZooConfig
from coplms.config.run import RunConfig
from coplms.data.example import Example
from coplms.data.members import MemberData, load_data
from coplms.errors import ConfigError

_MINI = "mini/"


def write_edges(config: RunConfig, count: int, folder: Path) -> dict[str, Path]:
    """Device name -> its new `device.yaml`, for the first devices of a configuration.

    A device's files hold what `coplms train` would have given it, in the same order, so that both
    tune the same models.

    Args:
        config: Describes at least so many devices with their `slm`.
        count: How many.
        folder: Gets a folder for each.

    Raises:
        ConfigError: If fewer devices are described.
        DataError: If their text is missing or broken.
    """
    here = [device for device in config.devices if device.slm is not None]
    if len(here) < count:
        raise ConfigError(
            f"--local-devices {count}: the configuration describes {len(here)} devices with `slm` "
            "and data. Describe more, or start fewer."
        )
    shares = load_data(config).devices if config.data.pool is not None else {}
    return {
        device.name: _write_edge(config, device, shares.get(device.name), folder / device.name)
        for device in here[:count]
    }


def _write_edge(
    config: RunConfig, device: DeviceConfig, share: MemberData | None, folder: Path
) -> Path:
    assert device.slm is not None
    folder.mkdir(parents=True, exist_ok=True)
    data = device.data if share is None else _write_share(share, folder)
    assert data is not None
    edge = EdgeConfig(
        slm=device.slm,
        data=data,
        device=config.device,
        dpm_device=config.dpm.device,
        threads=config.threads,
        compute=config.compute,
        zoo=_own_recipe(config.zoo, device.slm),
    )
    path = folder / "device.yaml"
    path.write_text(dump_config(edge), encoding="utf-8")
    return path


def _write_share(share: MemberData, folder: Path) -> MemberDataConfig:
    sources = {}
    for part in ("train", "dev", "test"):
        path = folder / f"{part}.jsonl"
        _write_examples(path, getattr(share, part))
        sources[part] = SourceConfig(path=str(path.resolve()))
    return MemberDataConfig(**sources)


def _write_examples(path: Path, examples: Sequence[Example]) -> None:
    rows = [
        {
            "instruction": example.instruction,
            "input": example.input,
            "references": list(example.references),
            "domain": example.domain,
            "task": example.task,
        }
        for example in examples
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def _own_recipe(zoo: ZooConfig | None, model: ModelConfig) -> ZooConfig | None:
    """The recipe of the device's own mini model alone."""
    if zoo is None or not model.model.startswith(_MINI):
        return None
    models = tuple(each for each in zoo.models if _MINI + each.name == model.model)
    return zoo.model_copy(update={"models": models})
