"""`coplms.api.duration`: operations worked out by hand, and the speed that they are done at."""

from collections.abc import Callable

import pytest
import torch

from coplms.api.duration import TimeCheck, estimate_time, measure_teraflops
from coplms.api.plan import ModelPlan, plan_models
from coplms.api.reading import Lengths
from coplms.config.method import TransferConfig
from coplms.config.run import RunConfig
from coplms.data.members import load_data

MakeConfig = Callable[..., RunConfig]
LENGTHS = {
    "server": Lengths(64, 8, 10.0, 2.0),
    "one": Lengths(64, 8, 20.0, 3.0),
    "two": Lengths(64, 8, 30.0, 4.0),
}
METHOD = {
    "rounds": 2,
    "distill": {"steps": 7, "batch_size": 3, "block_tokens": 8},
    "dst": {"steps": 3, "last_steps": 9},
    "saml": {"steps": 4, "server_steps": 5, "proxy_steps": 6},
    "transfer": {"steps": 8, "server_steps": 9},
}


def check(config: RunConfig) -> tuple[TimeCheck, list[ModelPlan]]:
    plans = plan_models(config, {})
    return estimate_time(config, plans, load_data(config), LENGTHS), plans


def operations(found: TimeCheck, kind: str, member: str) -> float:
    (row,) = (row for row in found.rows if row.kind == kind)
    return row.by_member[member] * found.teraflops * 1e12


def pass_of(plan: ModelPlan, tokens: float, rows: float, passes: int, again: int = 0) -> float:
    """Embeddings and head of the fixture's models are one matrix, 16 wide."""
    head = 16 * plan.outline.model.network.config.vocab_size
    body = plan.weights.num_parameters - head
    return 2 * (body * tokens * (passes + again) + head * rows * passes)


@pytest.fixture
def config(make_config: MakeConfig) -> RunConfig:
    """LoRA, batches of 5, at 2 TFLOP/s; the server's dev has 2 examples, a device's 2, test 6."""
    return make_config(
        method=METHOD, optimizer={"batch_size": 5}, compute={"teraflops": 2.0}, alone=True
    )


def test_steps_of_one_model_cost_two_passes_with_lora(config: RunConfig) -> None:
    found, plans = check(config)
    slm, dpm = plans[2:4]
    steps = 2 * 4 + 8
    assert operations(found, "alone", "one") == pytest.approx(
        pass_of(slm, 5 * steps * 20, 5 * steps * 3, 2)
    )
    # The DPM reads in the LLM's tokens, on a device too.
    assert operations(found, "dst", "one") == pytest.approx(
        pass_of(dpm, (2 * 15 + 45) * 10, (2 * 15 + 45) * 2, 2)
    )
    assert operations(found, "proxy", "one") == pytest.approx(
        pass_of(dpm, 2 * 30 * 10, 2 * 30 * 2, 2)
    )


def test_full_tuning_and_checkpoints_cost_a_pass_more_each(make_config: MakeConfig) -> None:
    settings = {"method": METHOD, "optimizer": {"batch_size": 5}}
    compute = {"teraflops": 2.0, "gradient_checkpointing": True}
    config = make_config(**settings, compute=compute, tuning={"kind": "full"})
    found, plans = check(config)
    slm, dpm = plans[2:4]
    steps = 2 * 4 + 8
    assert operations(found, "alone", "one") == pytest.approx(
        pass_of(slm, 5 * steps * 20, 5 * steps * 3, 3, again=1)
    )
    # The domain adapter is LoRA all the same.
    assert operations(found, "dst", "one") == pytest.approx(
        pass_of(dpm, (2 * 15 + 45) * 10, (2 * 15 + 45) * 2, 2, again=1)
    )


def test_distillation_reads_with_the_llm_and_trains_all_of_the_dpm(config: RunConfig) -> None:
    found, (llm, dpm, *_) = check(config)
    tokens = 7 * 3 * 8
    assert operations(found, "distill", "server") == pytest.approx(
        pass_of(llm, tokens, tokens, 1) + pass_of(dpm, tokens, tokens, 3)
    )


def test_in_saml_two_models_learn_and_the_servers_dpm_only_reads(config: RunConfig) -> None:
    found, (llm, dpm, slm, *_) = check(config)
    own = pass_of(slm, 40 * 20, 40 * 3, 2) + pass_of(dpm, 40 * 10, 40 * 2, 2)
    # Before every phase both read 2 + 2 examples of dev text.
    dev = 2 * (pass_of(slm, 4 * 20, 4 * 3, 1) + pass_of(dpm, 4 * 10, 4 * 2, 1))
    assert operations(found, "saml", "one") == pytest.approx(own + dev)
    own = pass_of(llm, 50 * 10, 50 * 2, 2) + pass_of(dpm, 50 * 10, 50 * 2, 1)
    dev = 2 * (pass_of(llm, 2 * 10, 2 * 2, 1) + pass_of(dpm, 2 * 10, 2 * 2, 1))
    assert operations(found, "saml", "server") == pytest.approx(own + dev)


def test_the_transfer_answers_the_transfer_set_first(config: RunConfig) -> None:
    found, (_, dpm, slm, *_) = check(config)
    own = pass_of(slm, 40 * 20, 40 * 3, 2) + pass_of(dpm, 40 * 10, 40 * 2, 1)
    dev = pass_of(slm, 4 * 20, 4 * 3, 1) + pass_of(dpm, 4 * 10, 4 * 2, 1)
    answers = pass_of(dpm, 20 * 10, 20 * 2, 1)
    assert operations(found, "transfer", "one") == pytest.approx(own + dev + answers)
    method = config.method.model_copy(update={"transfer": TransferConfig(steps=8, weight=0)})
    found, _ = check(config.model_copy(update={"method": method}))
    own = pass_of(slm, 40 * 20, 40 * 3, 2)  # the DPM has no part in the steps
    assert operations(found, "transfer", "one") == pytest.approx(own + dev + answers)


def test_every_scoring_answers_the_test_set(config: RunConfig) -> None:
    found, (llm, dpm, slm, *_) = check(config)

    def asked(plan: ModelPlan, tokens: int, rows: int) -> float:
        return pass_of(plan, 6 * tokens, 6 * rows, 1)

    # before, alone and after; the DPM at the end.
    assert operations(found, "evaluate", "one") == pytest.approx(
        3 * asked(slm, 20, 3) + asked(dpm, 10, 2)
    )
    # Likewise, and the DPM before, after each of two rounds, and at the end.
    assert operations(found, "evaluate", "server") == pytest.approx(
        3 * asked(llm, 10, 2) + 4 * asked(dpm, 10, 2)
    )


def test_hours_are_operations_at_the_speed_that_is_written(config: RunConfig) -> None:
    found, _ = check(config)
    assert (found.teraflops, found.is_measured) == (2.0, False)
    total = sum(seconds for row in found.rows for seconds in row.by_member.values())
    assert found.seconds == pytest.approx(total)
    assert found.operations == pytest.approx(2e12 * total)


def test_without_a_speed_this_machines_is_taken(make_config: MakeConfig) -> None:
    found, _ = check(make_config())
    assert found.is_measured
    assert 1e-5 < found.teraflops < 10
    assert measure_teraflops(torch.device("cpu"), torch.float32) > found.teraflops / 10


def of_method(make_config: MakeConfig, name: str) -> tuple[TimeCheck, list[ModelPlan]]:
    compute = {"teraflops": 2.0}
    optimizer = {"batch_size": 5}
    return check(make_config(method=METHOD | {"name": name}, compute=compute, optimizer=optimizer))


@pytest.mark.parametrize("name", ["standalone", "centralised", "fedlora"])
def test_a_baseline_without_a_dpm_tunes_and_asks(make_config: MakeConfig, name: str) -> None:
    found, (llm, slm, _) = of_method(make_config, name)
    assert {row.kind for row in found.rows} == {"tune", "evaluate"}
    steps = 2 * (16 // 2)
    assert operations(found, "tune", "one") == pytest.approx(
        pass_of(slm, 5 * steps * 20, 5 * steps * 3, 2)
    )
    assert operations(found, "evaluate", "server") == pytest.approx(2 * pass_of(llm, 60, 12, 1))


def test_fedcollm_distils_tunes_copies_of_the_dpm_and_learns_mutually(
    make_config: MakeConfig,
) -> None:
    found, (llm, dpm, *_) = of_method(make_config, "fedcollm")
    assert {row.kind for row in found.rows} == {"distill", "tune", "mutual", "evaluate"}
    steps = 2 * (16 // 2)
    assert operations(found, "tune", "one") == pytest.approx(
        pass_of(dpm, 5 * steps * 10, 5 * steps * 2, 2)
    )
    steps = 2 * (19 // 2)
    assert operations(found, "mutual", "server") == pytest.approx(
        sum(pass_of(plan, 5 * steps * 10, 5 * steps * 2, 2) for plan in (llm, dpm))
    )


def test_in_fedmkt_all_read_the_public_text_in_every_round(make_config: MakeConfig) -> None:
    found, (llm, one, two) = of_method(make_config, "fedmkt")
    assert {row.kind for row in found.rows} == {"tune", "learn", "evaluate"}
    steps = 2 * (19 // 2)
    # 16 public examples, in each model's own tokens.
    said = pass_of(llm, 160, 32, 1) + pass_of(one, 320, 48, 1) + pass_of(two, 480, 64, 1)
    assert operations(found, "learn", "server") == pytest.approx(
        pass_of(llm, 5 * steps * 10, 5 * steps * 2, 2) + 2 * said
    )
