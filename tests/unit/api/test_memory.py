"""`coplms.api.memory`: sums worked out by hand."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from coplms.api import memory
from coplms.api.memory import estimate_memory
from coplms.api.plan import ModelPlan, plan_models
from coplms.api.reading import Lengths
from coplms.config.run import RunConfig
from coplms.models.load import vocab_size

MakeConfig = Callable[..., RunConfig]
LENGTHS = {name: Lengths(10, 2, 10, 2) for name in ("server", "one", "two")}


def test_a_members_row_adds_up(make_config: MakeConfig) -> None:
    optimizer = {"batch_size": 4, "accumulation": 2}
    evaluation = {"batch_size": 1, "max_new_tokens": 8}
    config = make_config(
        tuning={"kind": "full"},
        optimizer=optimizer,
        evaluation=evaluation,
        compute={"loss": "plain"},
    )
    plans = plan_models(config, {})
    slm, dpm = plans[2:4]
    row = estimate_memory(config, plans, LENGTHS).rows[2]
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
    row = estimate_memory(config, plans, LENGTHS).rows[1]
    # The server's DPM is frozen by default: nothing of it is trained in the rounds.
    assert row.owner == "server"
    assert row.moments == 2 * plans[0].parts[0].size.num_bytes
    assert row.gradients == plans[0].parts[0].size.num_bytes


def test_without_distillation_steps_only_weights_are_counted(make_config: MakeConfig) -> None:
    config = make_config(method={"distill": {"steps": 0}})
    row = estimate_memory(config, plan_models(config, {}), LENGTHS).rows[0]
    assert row.owner == "distillation"
    assert row.total == row.weights


def test_one_process_holds_each_network_once_and_the_largest_step(make_config: MakeConfig) -> None:
    config = make_config(method={"distill": {"steps": 0}})
    plans = plan_models(config, {})
    found = estimate_memory(config, plans, LENGTHS)
    members = found.rows[1:]
    steps = max(row.total - row.lasting for row in members)
    messages = 7 * plans[1].parts[0].size.num_bytes
    # Both devices work on one copy of the DPM.
    again = lasting_of(plans[5])
    assert found.peak == sum(row.lasting for row in members) - again + steps + messages
    assert found.available > 0


def lasting_of(plan: ModelPlan) -> int:
    """Bytes of a network with adapters, and of moments."""
    adapters = sum(part.size.num_bytes for part in plan.parts)
    return plan.weights.num_bytes + adapters + 2 * adapters


def test_devices_alike_share_their_networks(make_config: MakeConfig) -> None:
    devices = [make_config().devices[0].model_dump() | {"count": count} for count in (2, 50)]
    few, many = (make_config(devices=[device]) for device in devices)
    peaks = []
    for config in (few, many):
        lengths = {each.name: Lengths(10, 2, 10, 2) for each in config.devices}
        lengths["server"] = Lengths(10, 2, 10, 2)
        peaks.append(estimate_memory(config, plan_models(config, {}), lengths).peak)
    assert peaks[0] == peaks[1]


def test_the_fused_loss_takes_no_more_than_its_blocks_may(make_config: MakeConfig) -> None:
    long = {name: Lengths(64, 60, 64, 60) for name in LENGTHS}
    found = {}
    for loss, mib in (("plain", 1), ("fused", 1), ("auto", 1), ("auto", 999)):
        config = make_config(compute={"loss": loss, "loss_memory_mib": mib})
        rows = estimate_memory(config, plan_models(config, {}), long).rows
        found[loss, mib] = rows[2].logits
    # 16 examples with 60 answer rows each: more than a mebibyte.
    assert found["plain", 1] > 2**20
    assert found["fused", 1] == found["auto", 1] == 2**20
    assert found["auto", 999] == found["plain", 1]


def test_checkpoints_keep_layers_inputs_and_one_layer_whole(make_config: MakeConfig) -> None:
    evaluation = {"batch_size": 1, "max_new_tokens": 8}
    config = make_config(
        optimizer={"batch_size": 2},
        evaluation=evaluation,
        compute={"gradient_checkpointing": True},
    )
    long = {name: Lengths(100, 2, 100, 2) for name in LENGTHS}
    row = estimate_memory(config, plan_models(config, {}), long).rows[2]
    # 2 examples of 100 tokens, 16 wide, 4 bytes: SLM of 1 layer, DPM of 2.
    token = 16 * 4
    assert row.activations == 200 * ((1 + 17) * token + (2 + 17) * token)


def test_autocast_halves_what_is_kept_of_float32_layers(make_config: MakeConfig) -> None:
    kept = []
    for autocast in (False, True):
        config = make_config(compute={"autocast": autocast}, evaluation={"batch_size": 1})
        plans = plan_models(config, {})
        kept.append(estimate_memory(config, plans, LENGTHS).rows[2].activations)
    assert kept[0] == 2 * kept[1]


def test_two_devices_have_a_row_each_and_the_fullest_counts(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(method={"distill": {"steps": 0}})
    whole = estimate_memory(config, plan_models(config, {}), LENGTHS)
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)
    plans = [
        replace(plan, device=second if plan.role == "dpm" else first)
        for plan in plan_models(config, {})
    ]
    room = {first: 10**9, second: 1000}
    monkeypatch.setattr(memory, "available_memory", room.__getitem__)
    found = estimate_memory(config, plans, LENGTHS)
    places = [(row.owner, row.device) for row in found.rows]
    owners = ("distillation", "server", "one", "two")
    assert places == [(owner, device) for owner in owners for device in (first, second)]
    slm, dpm = found.rows[4:6]
    assert slm.weights + dpm.weights == memory_of(whole, "one").weights
    assert (found.device, found.available) == (second, 1000)
    proxies = [row for row in found.rows[2:] if row.device == second]
    steps = max(row.total - row.lasting for row in proxies)
    assert found.peak == sum(row.lasting for row in proxies[:2]) + steps


def memory_of(found: memory.MemoryCheck, owner: str) -> memory.MemoryRow:
    return next(row for row in found.rows if row.owner == owner)
