"""Whole phases: what they train, and what they leave bit-equal."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from coplms.alignment.classes import load_class_map
from coplms.config.compute import ComputeConfig
from coplms.config.method import DistillConfig, OptimizerConfig
from coplms.data.example import Example
from coplms.losses.mutual import Exchange
from coplms.models.adapters import activate
from coplms.models.load import vocab_size
from coplms.training.learner import Learner
from coplms.training.pair import Pairing, pair
from coplms.training.part import Part
from coplms.training.phases import Phase, distill, mutual_learn, tune
from coplms.training.pools import Pool

MakeLearner = Callable[..., Learner]
Weights = dict[str, torch.Tensor]


def weights(*learners: Learner) -> Weights:
    return {
        f"{learner.model.name}/{name}": parameter.detach().clone()
        for learner in learners
        for name, parameter in learner.model.network.named_parameters()
    }


def changed(before: Weights, after: Weights) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def names_of(learner: Learner, part: Part) -> set[str]:
    own = {id(parameter) for parameter in part.parameters.values()}
    return {
        f"{learner.model.name}/{name}"
        for name, parameter in learner.model.network.named_parameters()
        if id(parameter) in own
    }


def paired(left: Learner, right: Learner) -> Pairing:
    tokenizers = (left.model.tokenizer, right.model.tokenizer)
    sizes = (vocab_size(left.model), vocab_size(right.model))
    return pair(left, right, load_class_map(*tokenizers, *sizes, None))


@pytest.fixture
def pairing(dpm: Learner, slm: Learner) -> Pairing:
    return paired(dpm, slm)


def learn(
    pairing: Pairing,
    parts: tuple[Part | None, Part | None],
    examples: Sequence[Example],
    config: OptimizerConfig,
    phase: Phase,
) -> dict[str, float]:
    pools = [Pool(examples, config.batch_size)]
    return mutual_learn(pairing, parts, pools, 3, lambda: Exchange(1.0, gate="none"), config, phase)


def test_dst_trains_the_domain_adapter_and_nothing_else(
    dpm: Learner, examples: Sequence[Example], optimizer: OptimizerConfig, phase: Phase
) -> None:
    before = weights(dpm)
    tune(dpm, dpm.parts["domain"], [Pool(examples, 3)], 3, optimizer, phase)
    assert changed(before, weights(dpm)) == names_of(dpm, dpm.parts["domain"])
    assert dpm.parts["domain"].steps_taken == 3
    assert dpm.parts["shared"].steps_taken == 0


def test_saml_trains_the_shared_part_and_the_slm_and_nothing_else(
    pairing: Pairing,
    dpm: Learner,
    slm: Learner,
    examples: Sequence[Example],
    optimizer: OptimizerConfig,
    phase: Phase,
) -> None:
    tune(dpm, dpm.parts["domain"], [Pool(examples, 3)], 1, optimizer, phase)
    before = weights(dpm, slm)
    shared, own = dpm.parts["shared"], slm.parts["own"]
    metrics = learn(pairing, (shared, own), examples, optimizer, phase)
    assert changed(before, weights(dpm, slm)) == names_of(dpm, shared) | names_of(slm, own)
    assert sorted(metrics) == sorted(
        ["loss", "left_ce", "right_ce", "left_kl", "right_kl", "left_open", "right_open"]
    )


def test_a_frozen_proxy_teaches_and_stays(
    pairing: Pairing,
    dpm: Learner,
    slm: Learner,
    examples: Sequence[Example],
    optimizer: OptimizerConfig,
    phase: Phase,
) -> None:
    before = weights(dpm, slm)
    learn(pairing, (None, slm.parts["own"]), examples, optimizer, phase)
    assert changed(before, weights(dpm, slm)) == names_of(slm, slm.parts["own"])


def test_the_domain_adapter_acts_while_it_is_frozen(
    pairing: Pairing,
    dpm: Learner,
    slm: Learner,
    examples: Sequence[Example],
    optimizer: OptimizerConfig,
    phase: Phase,
) -> None:
    tune(dpm, dpm.parts["domain"], [Pool(examples, 3)], 3, optimizer, phase)
    rows: list[dict[str, float]] = []
    logged = replace(phase, log=rows.append)
    frozen = (None, slm.parts["own"])
    learn(pairing, frozen, examples, optimizer, logged)
    activate(dpm.model, ["shared"])
    learn(pairing, frozen, examples, optimizer, logged)
    assert rows[0]["left_ce"] != rows[1]["left_ce"]


def test_a_phase_is_repeated_bit_for_bit_from_its_seed_and_state(
    pairing: Pairing,
    dpm: Learner,
    slm: Learner,
    examples: Sequence[Example],
    optimizer: OptimizerConfig,
    phase: Phase,
) -> None:
    parts = (dpm.parts["shared"], slm.parts["own"])
    starts = [part.state() for part in parts]
    learn(pairing, parts, examples, optimizer, phase)
    first = weights(dpm, slm)
    for part, state in zip(parts, starts, strict=True):
        part.load_state(state)
    learn(pairing, parts, examples, optimizer, phase)
    assert changed(first, weights(dpm, slm)) == set()
    for part, state in zip(parts, starts, strict=True):
        part.load_state(state)
    learn(pairing, parts, examples, optimizer, replace(phase, seed=phase.seed + 1))
    assert changed(first, weights(dpm, slm))


def test_one_exchange_is_asked_for_every_step(
    pairing: Pairing,
    slm: Learner,
    examples: Sequence[Example],
    optimizer: OptimizerConfig,
    phase: Phase,
) -> None:
    own = slm.parts["own"]
    seen: list[int] = []

    def exchange() -> Exchange:
        seen.append(own.steps_taken)
        return Exchange(1.0)

    mutual_learn(pairing, (None, own), [Pool(examples, 2)], 4, exchange, optimizer, phase)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("accumulation", [2, 3])
def test_accumulation_does_not_change_supervised_training(
    make_learner: MakeLearner, examples: Sequence[Example], phase: Phase, accumulation: int
) -> None:
    def trained(pieces: int) -> Weights:
        config = OptimizerConfig(learning_rate=0.01, accumulation=pieces)
        learner = make_learner("llama")
        parameters = dict(learner.model.network.named_parameters())
        learner.parts["own"] = Part("own", parameters, config, 0.01, 3)
        tune(learner, learner.parts["own"], [Pool(examples, 5)], 3, config, phase)
        return weights(learner)

    whole, pieced = trained(1), trained(accumulation)
    for name, value in whole.items():
        torch.testing.assert_close(value, pieced[name], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("gate", ["none", "sample", "chunk"])
@pytest.mark.parametrize("loss", ["plain", "fused"])
def test_accumulation_does_not_change_mutual_learning(
    make_learner: MakeLearner, examples: Sequence[Example], phase: Phase, loss: str, gate: str
) -> None:
    def trained(pieces: int) -> Weights:
        config = OptimizerConfig(learning_rate=0.01, accumulation=pieces)
        left, right = make_learner("llama"), make_learner("neox")
        for learner in (left, right):
            learner.compute = ComputeConfig(loss=loss)
            parameters = dict(learner.model.network.named_parameters())
            learner.parts["own"] = Part("own", parameters, config, 0.01, 3)
        parts = (left.parts["own"], right.parts["own"])
        exchange, pools = Exchange(1.0, gate=gate), [Pool(examples, 5)]
        mutual_learn(paired(left, right), parts, pools, 3, lambda: exchange, config, phase)
        return weights(left, right)

    whole, pieced = trained(1), trained(3)
    for name, value in whole.items():
        torch.testing.assert_close(value, pieced[name], rtol=1e-8, atol=1e-10)


def test_only_what_is_trained_takes_gradients(
    pairing: Pairing,
    dpm: Learner,
    slm: Learner,
    examples: Sequence[Example],
    optimizer: OptimizerConfig,
    phase: Phase,
) -> None:
    seen: list[set[str]] = []

    def look(network: torch.nn.Module, _: object) -> None:
        name = dpm.model.name if network is dpm.model.network else slm.model.name
        seen.append({f"{name}/{n}" for n, p in network.named_parameters() if p.requires_grad})

    for learner in (dpm, slm):
        assert learner.head  # read once, by a forward pass that is no step
        learner.model.network.register_forward_pre_hook(look)
    shared, domain, own = dpm.parts["shared"], dpm.parts["domain"], slm.parts["own"]
    for part in (shared, domain, own):
        part.set_trainable(trainable=False)
    tune(dpm, domain, [Pool(examples, 3)], 1, optimizer, phase)
    mutual_learn(
        pairing, (shared, own), [Pool(examples, 3)], 1, lambda: Exchange(1.0), optimizer, phase
    )
    mutual_learn(
        pairing, (None, own), [Pool(examples, 3)], 1, lambda: Exchange(1.0), optimizer, phase
    )
    assert seen == [
        names_of(dpm, domain),
        names_of(dpm, shared),
        names_of(slm, own),
        set(),
        names_of(slm, own),
    ]


def test_dropout_acts_while_training_only(
    dpm: Learner, examples: Sequence[Example], optimizer: OptimizerConfig, phase: Phase
) -> None:
    modes: list[bool] = []
    assert dpm.head  # read once, by a forward pass that is no step
    handle = dpm.model.network.register_forward_pre_hook(
        lambda network, _: modes.append(network.training)
    )
    tune(dpm, dpm.parts["domain"], [Pool(examples, 2)], 2, optimizer, phase)
    handle.remove()
    assert modes == [True, True]
    assert not dpm.model.network.training


def test_distillation_brings_the_student_closer_and_leaves_the_teacher(
    make_learner: MakeLearner, optimizer: OptimizerConfig, phase: Phase
) -> None:
    teacher, student = make_learner("llama"), make_learner("llama")
    for parameter in teacher.model.network.parameters():
        parameter.data *= 1.2
    parameters = dict(student.model.network.named_parameters())
    part = Part("student", parameters, optimizer, 0.01, 40)
    before = weights(teacher)
    rows: list[dict[str, float]] = []
    blocks = torch.randint(5, 300, (6, 9))
    config = DistillConfig(steps=40, batch_size=4)
    logged = replace(phase, log=rows.append)
    last = distill(paired(teacher, student), part, blocks, config, logged)
    assert changed(before, weights(teacher)) == set()
    assert last["loss"] < rows[0]["loss"]
    assert part.steps_taken == 40
