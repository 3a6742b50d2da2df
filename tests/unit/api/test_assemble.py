"""`coplms.api.assemble`: every model where its settings want it, and computed as they say."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from coplms.api import assemble
from coplms.api.assemble import Assembler, run_devices
from coplms.api.plan import plan_models
from coplms.config.run import RunConfig
from coplms.errors import ModelError
from coplms.models.language_model import LanguageModel
from coplms.models.load import load_model

MakeConfig = Callable[..., RunConfig]
CPU = torch.device("cpu")
FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, torch.device]]:
    """Name, dtype and device of every model that is loaded; it comes to the CPU all the same."""
    seen: list[tuple[str, str, torch.device]] = []

    def load(name: str, path: str, dtype: str, device: torch.device) -> LanguageModel:
        seen.append((name, dtype, device))
        return load_model(name, path, dtype, CPU)  # type: ignore[arg-type]

    monkeypatch.setattr(assemble, "load_model", load)
    return seen


def on_two(make_config: MakeConfig, **settings: object) -> RunConfig:
    """LLM and first SLM on the run's GPU, the second SLM on the CPU, the DPM on the other GPU."""
    config = make_config(device="cuda", dpm={"device": "cuda:1"}, **settings)
    one, two = config.devices
    slm = two.slm.model_copy(update={"device": "cpu", "dtype": "bfloat16"})
    devices = (one, two.model_copy(update={"slm": slm}))
    return config.model_copy(update={"devices": devices})


@pytest.mark.usefixtures("two_gpus")
def test_every_model_is_loaded_where_its_settings_want_it(
    make_config: MakeConfig,
    model_folders: dict[str, Path],
    asked: list[tuple[str, str, torch.device]],
) -> None:
    config = on_two(make_config)
    assembler = Assembler(config, {})
    assembler.own(config.llm, "llm", 1, "server/llm")
    for device in config.devices:
        assembler.own(device.slm, "slm", 1, f"{device.name}/slm")
        assembler.proxy(model_folders["llm"], device.name)
    assert asked == [
        ("llm", "float32", FIRST),
        ("slm", "float32", FIRST),
        ("dpm", "float32", SECOND),
        ("slm", "bfloat16", CPU),
        ("dpm", "float32", SECOND),
    ]


@pytest.mark.usefixtures("two_gpus")
def test_plans_know_the_same_devices(make_config: MakeConfig) -> None:
    config = on_two(make_config)
    plans = plan_models(config, {})
    assert [plan.device for plan in plans] == [FIRST, SECOND, FIRST, SECOND, CPU, SECOND]
    assert run_devices(config) == [FIRST, SECOND, CPU]


def test_a_models_device_that_is_absent_is_refused_before_it_is_loaded(
    make_config: MakeConfig,
) -> None:
    config = make_config(dpm={"device": "cuda:7"})
    with pytest.raises(ModelError, match="device is 'cuda:7', and PyTorch sees"):
        plan_models(config, {})


def test_learners_know_how_their_steps_are_computed(
    make_config: MakeConfig, model_folders: dict[str, Path]
) -> None:
    config = make_config(compute={"autocast": True, "loss": "plain"})
    assembler = Assembler(config, {})
    learner = assembler.own(config.llm, "llm", 1, "server/llm")
    proxy = assembler.proxy(model_folders["llm"], "one")
    student = assembler.student(learner.model)
    for found in (learner, proxy, student):
        assert found.compute == config.compute
        assert found.head is None
