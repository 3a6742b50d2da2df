"""`coplms.api.plan`: the same parts, sizes and steps as the run that is assembled later."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from coplms.api.assemble import Assembler
from coplms.api.plan import Size, plan_models
from coplms.config.run import RunConfig
from coplms.errors import ConfigError, ModelError
from coplms.models.load import load_model
from coplms.models.slicing import slice_model
from coplms.training.learner import Learner

MakeConfig = Callable[..., RunConfig]


def assembled(config: RunConfig, folder: Path) -> list[Learner]:
    """The learners of a run with one device, as they are really built."""
    assembler = Assembler(config, {})
    llm = load_model("llm", config.llm.model, "float32", torch.device("cpu"))
    dpm = slice_model(llm, config.dpm.layers, "dpm")
    dpm.network.save_pretrained(folder)
    dpm.tokenizer.save_pretrained(folder)
    method, device = config.method, config.devices[0]
    return [
        assembler.own(config.llm, "llm", method.server_steps, "server/llm"),
        assembler.proxy(folder, "server"),
        assembler.own(device.slm, "slm", method.device_steps, "one/slm"),
        assembler.proxy(folder, "one"),
    ]


def parts_of(learner: Learner) -> list[tuple[str, int, int, int]]:
    return [
        (
            part.name,
            sum(value.numel() for value in part.parameters.values()),
            sum(value.nbytes for value in part.parameters.values()),
            part.planned_steps,
        )
        for part in learner.parts.values()
    ]


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_parts_are_those_that_the_run_will_train(
    make_config: MakeConfig, tmp_path: Path, kind: str
) -> None:
    config = make_config(tuning={"kind": kind, "rank": 4})
    plans = plan_models(config, {})
    learners = assembled(config, tmp_path / "dpm")
    assert [(plan.member, plan.role) for plan in plans[:4]] == [
        ("server", "llm"),
        ("server", "dpm"),
        ("one", "slm"),
        ("one", "dpm"),
    ]
    for plan, learner in zip(plans, learners, strict=False):
        planned = [
            (part.name, part.size.num_parameters, part.size.num_bytes, part.steps)
            for part in plan.parts
        ]
        assert planned == parts_of(learner)
    assert plans[0].parts[0].is_adapter == (kind == "lora")
    weights = tmp_path / "dpm" / "model.safetensors"
    assert plans[1].folder_bytes == pytest.approx(weights.stat().st_size, abs=4000)


def test_a_rank_one_adapter_has_the_size_worked_out_by_hand(make_config: MakeConfig) -> None:
    config = make_config(tuning={"rank": 1, "target_modules": ["q_proj"]}, dpm={"layers": 1})
    config = config.model_copy(update={"devices": config.devices[:0]})
    llm, dpm = plan_models(config, {})
    # q_proj is 16 x 16: A and B have 16 values each, in 3 layers and in 1.
    assert llm.parts[0].size == Size(96, 384)
    assert dpm.parts[0].size == Size(32, 128)


def test_bfloat16_halves_weights_but_not_adapters(make_config: MakeConfig) -> None:
    full, half = (plan_models(make_config(dtype=d), {})[0] for d in ("float32", "bfloat16"))
    assert full.weights.num_bytes == 2 * half.weights.num_bytes
    assert full.parts[0].size == half.parts[0].size


def test_a_dpm_with_another_tokenizer_is_refused(
    make_config: MakeConfig, model_folders: dict[str, Path]
) -> None:
    config = make_config(dpm={"model": str(model_folders["near"])})
    with pytest.raises(ModelError, match="must have the tokenizer of the LLM"):
        plan_models(config, {})


def test_a_given_dpm_stays_whole(make_config: MakeConfig, model_folders: dict[str, Path]) -> None:
    config = make_config(dpm={"model": str(model_folders["llm"])})
    llm, dpm = plan_models(config, {})[:2]
    assert dpm.weights == llm.weights
    assert dpm.outline.source == str(model_folders["llm"])


def test_more_layers_than_the_llm_has_are_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ModelError, match=r"dpm\.layers is 4, and the LLM 'llm' has 3 layers"):
        plan_models(make_config(dpm={"layers": 4}), {})


def test_an_unknown_target_module_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"tuning\.target_modules: 'absent'"):
        plan_models(make_config(tuning={"target_modules": ["absent"]}), {})
