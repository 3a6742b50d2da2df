"""`coplms.api.memory`: sums worked out by hand, and what a machine has left."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from coplms.api.memory import (
    Lengths,
    _container,
    _machine,
    available_memory,
    estimate_memory,
)
from coplms.api.plan import plan_models
from coplms.config.run import RunConfig
from coplms.models.load import vocab_size

MakeConfig = Callable[..., RunConfig]
CPU = torch.device("cpu")
LENGTHS = {name: Lengths(example=10, answer=2) for name in ("server", "one", "two")}


def test_a_members_row_adds_up(make_config: MakeConfig) -> None:
    optimizer = {"batch_size": 4, "accumulation": 2}
    evaluation = {"batch_size": 1, "max_new_tokens": 8}
    config = make_config(tuning={"kind": "full"}, optimizer=optimizer, evaluation=evaluation)
    plans = plan_models(config, {})
    slm, dpm = plans[2:4]
    row = estimate_memory(config, plans, LENGTHS, CPU).rows[2]
    weights = slm.weights.num_bytes + dpm.weights.num_bytes
    domain = dpm.parts[1].size.num_bytes
    assert row.owner == "one"
    assert row.weights == weights + domain
    assert row.moments == 2 * (weights + domain)
    assert row.gradients == weights
    # 2 examples of 10 tokens; hidden size 16, 1 layer of the SLM and 2 of the DPM, 4 bytes.
    assert row.activations == 17 * 20 * 16 * (1 + 2) * 4
    # 2 examples with 2 answer rows each, 4 tensors of 4 bytes.
    vocabulary = vocab_size(slm.outline.model) + vocab_size(dpm.outline.model)
    assert row.logits == 4 * 4 * 4 * vocabulary
    assert row.total == row.lasting + row.gradients + row.activations + row.logits


def test_lora_needs_moments_of_adapters_only(make_config: MakeConfig) -> None:
    config = make_config()
    plans = plan_models(config, {})
    row = estimate_memory(config, plans, LENGTHS, CPU).rows[1]
    # The server's DPM is frozen by default: nothing of it is trained in the rounds.
    assert row.owner == "server"
    assert row.moments == 2 * plans[0].parts[0].size.num_bytes
    assert row.gradients == plans[0].parts[0].size.num_bytes


def test_without_distillation_steps_only_weights_are_counted(make_config: MakeConfig) -> None:
    config = make_config(method={"distill": {"steps": 0}})
    row = estimate_memory(config, plan_models(config, {}), LENGTHS, CPU).rows[0]
    assert row.owner == "distillation"
    assert row.total == row.weights


def test_one_process_holds_all_members_and_the_largest_step(make_config: MakeConfig) -> None:
    config = make_config(method={"distill": {"steps": 0}})
    plans = plan_models(config, {})
    found = estimate_memory(config, plans, LENGTHS, CPU)
    members = found.rows[1:]
    steps = max(row.total - row.lasting for row in members)
    messages = 5 * plans[1].parts[0].size.num_bytes
    assert found.peak == sum(row.lasting for row in members) + steps + messages
    assert found.available > 0


def test_what_linux_calls_available_is_taken(tmp_path: Path) -> None:
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:  2000 kB\n")
    assert _machine(table) == 2_048_000


def test_without_such_a_table_the_whole_memory_is_taken(tmp_path: Path) -> None:
    assert _machine(tmp_path / "absent") >= available_memory(CPU)


@pytest.mark.parametrize(("most", "left"), [("1000", 900), ("50", 0), ("max", 2**63)])
def test_a_containers_limit_counts(tmp_path: Path, most: str, left: int) -> None:
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text("100\n")
    assert _container(tmp_path) == left


def test_no_container_is_no_limit(tmp_path: Path) -> None:
    assert _container(tmp_path) == 2**63
