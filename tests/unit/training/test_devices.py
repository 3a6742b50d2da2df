"""A pair on one GPU, or its models on two devices, learns what it learns on the CPU."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

from coplms.alignment.classes import load_class_map
from coplms.config.compute import ComputeConfig
from coplms.config.method import DistillConfig, OptimizerConfig
from coplms.data.example import Example
from coplms.losses.mutual import Exchange
from coplms.models.load import vocab_size
from coplms.training.learner import Learner
from coplms.training.pair import Pairing, pair
from coplms.training.part import Part
from coplms.training.phases import Phase, distill, mutual_learn
from coplms.training.pools import Pool

MakeLearner = Callable[..., Learner]
EXCHANGE = Exchange(1.0)
PLACES = [("cuda:0", "cuda:0"), ("cpu", "cuda:0"), ("cuda:0", "cpu"), ("cuda:0", "cuda:1")]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


def pair_on(
    places: tuple[str, str],
    architectures: tuple[str, str],
    make_learner: MakeLearner,
    compute: ComputeConfig,
) -> tuple[Pairing, tuple[Part, Part]]:
    """Two learners in float64, all of whose weights are trained."""
    if max(torch.device(place).index or 0 for place in places) >= torch.cuda.device_count():
        pytest.skip("needs two GPUs")
    config = OptimizerConfig(learning_rate=0.01)
    learners, parts = [], []
    for place, architecture in zip(places, architectures, strict=True):
        learner = make_learner(architecture)
        nn.Module.to(learner.model.network, place)
        learner.compute = compute
        parameters = dict(learner.model.network.named_parameters())
        parts.append(Part("own", parameters, config, 0.01, 4))
        learners.append(learner)
    left, right = learners
    tokenizers = (left.model.tokenizer, right.model.tokenizer)
    sizes = (vocab_size(left.model), vocab_size(right.model))
    return pair(left, right, load_class_map(*tokenizers, *sizes, None)), (parts[0], parts[1])


@pytest.mark.parametrize("loss", ["plain", "fused"])
@pytest.mark.parametrize("places", PLACES)
def test_mutual_learning_is_the_same_everywhere(
    places: tuple[str, str],
    loss: str,
    make_learner: MakeLearner,
    examples: Sequence[Example],
    phase: Phase,
) -> None:
    results = []
    for where in (("cpu", "cpu"), places):
        compute = ComputeConfig(loss=loss, gradient_checkpointing=True)
        pairing, parts = pair_on(where, ("llama", "neox"), make_learner, compute)
        config, pools = OptimizerConfig(learning_rate=0.01), [Pool(examples, 3)]
        metrics = mutual_learn(pairing, parts, pools, 4, lambda: EXCHANGE, config, phase)
        results.append((metrics, [part.values() for part in parts]))
    (expected, weights), (found, moved) = results
    assert found == pytest.approx(expected, rel=1e-6)
    for wanted, got in zip(weights, moved, strict=True):
        for name, value in wanted.items():
            torch.testing.assert_close(got[name], value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("places", PLACES)
def test_distillation_is_the_same_everywhere(
    places: tuple[str, str], make_learner: MakeLearner, phase: Phase
) -> None:
    blocks = torch.randint(5, 300, (6, 9))
    losses = []
    for where in (("cpu", "cpu"), places):
        pairing, parts = pair_on(where, ("llama", "llama"), make_learner, ComputeConfig())
        config = DistillConfig(steps=4, batch_size=4)
        losses.append(distill(pairing, parts[1], blocks, config, phase)["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_autocast_on_a_gpu_keeps_float32_weights_and_comes_close(
    make_learner: MakeLearner, examples: Sequence[Example], phase: Phase
) -> None:
    losses = []
    for autocast in (False, True):
        compute = ComputeConfig(autocast=autocast)
        pairing, parts = pair_on(("cuda:0", "cuda:0"), ("llama", "neox"), make_learner, compute)
        for learner in (pairing.left, pairing.right):
            learner.model.network.float()
        config, pools = OptimizerConfig(learning_rate=0.01), [Pool(examples, 3)]
        metrics = mutual_learn(pairing, parts, pools, 4, lambda: EXCHANGE, config, phase)
        losses.append(metrics["loss"])
        assert {value.dtype for part in parts for value in part.values().values()} == {
            torch.float32
        }
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
