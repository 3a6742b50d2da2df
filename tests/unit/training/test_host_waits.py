"""Between two lines of metrics the host never waits for the device.

On the CPU there is nothing to wait for, so these tests look for what would wait on a GPU: values
of tensors that become Python's, and results whose size depends on values.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from coplms.alignment.classes import load_class_map
from coplms.config.compute import ComputeConfig
from coplms.config.method import DistillConfig, OptimizerConfig
from coplms.data.example import Example
from coplms.losses.mutual import Exchange
from coplms.models.adapters import base_parameters
from coplms.models.load import vocab_size
from coplms.training import phases
from coplms.training.learner import Learner
from coplms.training.loop import Interval, StepLoss
from coplms.training.pair import Pairing, pair
from coplms.training.part import Part
from coplms.training.phases import Phase, distill, mutual_learn, tune
from coplms.training.pools import Pool

MakeLearner = Callable[..., Learner]
STEPS = 3
"""Metrics are logged after the second and the third."""

WAITING_OPERATORS = {
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::masked_select",
    "aten::nonzero",
    "aten::repeat_interleave.Tensor",
    "aten::unique_dim",
    "aten::_unique2",
}
WAITING_METHODS = {"cpu", "item", "tolist", "__bool__", "__float__", "__int__"}
"""Not among them: `numpy`, which refuses tensors of a GPU instead of waiting for them."""


class Waited(Exception):
    """The host asked for a value of the device."""


class Operators(TorchDispatchMode):
    """Refuses operators that wait, wherever they come from; indices by truth values among them."""

    allowed = False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = function.name()
        if not self.allowed and (name in WAITING_OPERATORS or _selects_by_truth(name, args)):
            raise Waited(name)
        return function(*args, **(kwargs or {}))


class Methods(TorchFunctionMode):
    """Refuses methods of tensors that hand values to Python without an operator.

    Lists of token ids are let through: distillation makes them of blocks that lie on the host.
    """

    allowed = False

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = getattr(function, "__name__", "")
        is_list_of_ids = name == "tolist" and args[0].dtype == torch.int64
        if not self.allowed and name in WAITING_METHODS and not is_list_of_ids:
            raise Waited(name)
        return function(*args, **(kwargs or {}))


def _selects_by_truth(name: str, args: Sequence[Any]) -> bool:
    if not name.startswith("aten::index"):
        return False
    indices = args[1] if isinstance(args[1], list | tuple) else []
    return any(index is not None and index.dtype == torch.bool for index in indices)


def forbid_waiting(patch: pytest.MonkeyPatch) -> None:
    """From its first step on a phase may wait nowhere but where it reads metrics for the log."""
    operators, methods = Operators(), Methods()
    read, take_steps = Interval.metrics, phases.optimize

    def metrics(interval: Interval) -> dict[str, float]:
        operators.allowed = methods.allowed = True
        found = read(interval)
        operators.allowed = methods.allowed = False
        return found

    def optimize(*args: Any) -> dict[str, float]:
        with operators, methods:
            return take_steps(*args)

    patch.setattr("coplms.training.loop.LOG_EVERY", 2)
    patch.setattr(Interval, "metrics", metrics)
    patch.setattr(phases, "optimize", optimize)


def paired(left: Learner, right: Learner) -> Pairing:
    tokenizers = (left.model.tokenizer, right.model.tokenizer)
    sizes = (vocab_size(left.model), vocab_size(right.model))
    return pair(left, right, load_class_map(*tokenizers, *sizes, None))


WAYS_TO_COMPUTE = {
    "plain": ComputeConfig(loss="plain"),
    "fused": ComputeConfig(loss="fused"),
    "everything": ComputeConfig(autocast=True, gradient_checkpointing=True, loss="fused"),
}


@pytest.fixture(params=WAYS_TO_COMPUTE)
def compute(request: pytest.FixtureRequest, dpm: Learner, slm: Learner) -> ComputeConfig:
    """How all steps are computed, those of the two learners among them."""
    dpm.compute = slm.compute = WAYS_TO_COMPUTE[request.param]
    return dpm.compute


@pytest.mark.usefixtures("compute")
def test_tuning_never_waits(
    dpm: Learner,
    examples: Sequence[Example],
    optimizer: OptimizerConfig,
    phase: Phase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forbid_waiting(monkeypatch)
    tune(dpm, dpm.parts["domain"], [Pool(examples, 3)], STEPS, optimizer, phase)
    assert dpm.parts["domain"].steps_taken == STEPS


@pytest.mark.usefixtures("compute")
@pytest.mark.parametrize("gate", ["none", "sample", "chunk"])
@pytest.mark.parametrize("chunk_event", [False, True])
def test_mutual_learning_never_waits(
    gate: str,
    chunk_event: bool,
    dpm: Learner,
    slm: Learner,
    examples: Sequence[Example],
    optimizer: OptimizerConfig,
    phase: Phase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairing = paired(dpm, slm)
    parts = (dpm.parts["shared"], slm.parts["own"])
    exchange = Exchange(1.0, temperature=2.0, gate=gate, chunk_event=chunk_event)
    pools = [Pool(examples, 3)]
    forbid_waiting(monkeypatch)
    mutual_learn(pairing, parts, pools, STEPS, lambda: exchange, optimizer, phase)
    assert [part.steps_taken for part in parts] == [STEPS, STEPS]


def test_distillation_never_waits(
    make_learner: MakeLearner,
    optimizer: OptimizerConfig,
    phase: Phase,
    compute: ComputeConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairing = paired(make_learner("llama"), make_learner("llama"))
    pairing.left.compute = pairing.right.compute = compute
    parameters = base_parameters(pairing.right.model)
    part = Part("dpm", parameters, optimizer, 0.01, STEPS)
    config = DistillConfig(steps=STEPS, batch_size=4)
    blocks = torch.randint(5, 300, (6, 9))
    forbid_waiting(monkeypatch)
    distill(pairing, part, blocks, config, phase)
    assert part.steps_taken == STEPS


WAYS_TO_WAIT: dict[str, Callable[[torch.Tensor], object]] = {
    "item": lambda loss: loss.item(),
    "truth": lambda loss: bool(loss > 0),
    "number": lambda loss: f"{float(loss):.3f}",
    "list": lambda loss: loss.tolist(),
    "copy": lambda loss: loss.cpu(),
    "places": lambda loss: loss.unsqueeze(0).nonzero(),
    "selection": lambda loss: loss.unsqueeze(0)[loss.unsqueeze(0) > 0],
    "equality": lambda loss: torch.equal(loss, loss),
}


@pytest.mark.parametrize("way", WAYS_TO_WAIT)
def test_a_step_that_waits_is_found(
    way: str,
    dpm: Learner,
    examples: Sequence[Example],
    optimizer: OptimizerConfig,
    phase: Phase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = phases.sft_step

    def waiting_step(*args: Any) -> StepLoss:
        loss = real(*args)
        WAYS_TO_WAIT[way](loss.total)
        return loss

    monkeypatch.setattr(phases, "sft_step", waiting_step)
    forbid_waiting(monkeypatch)
    with pytest.raises(Waited):
        tune(dpm, dpm.parts["domain"], [Pool(examples, 3)], 1, optimizer, phase)


def test_transformers_own_masks_are_found(
    dpm: Learner,
    examples: Sequence[Example],
    optimizer: OptimizerConfig,
    phase: Phase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("coplms.training.mode.padding_comes_last", nullcontext)
    forbid_waiting(monkeypatch)
    with pytest.raises(Waited, match="__bool__"):
        tune(dpm, dpm.parts["domain"], [Pool(examples, 3)], 1, optimizer, phase)


def forbid_waiting_for_cuda(patch: pytest.MonkeyPatch) -> None:
    """PyTorch's own watch over a real GPU, which also sees copies that wait."""
    read, take_steps = Interval.metrics, phases.optimize

    def metrics(interval: Interval) -> dict[str, float]:
        torch.cuda.set_sync_debug_mode("default")
        found = read(interval)
        torch.cuda.set_sync_debug_mode("error")
        return found

    def optimize(*args: Any) -> dict[str, float]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return take_steps(*args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    patch.setattr("coplms.training.loop.LOG_EVERY", 2)
    patch.setattr(Interval, "metrics", metrics)
    patch.setattr(phases, "optimize", optimize)


@pytest.mark.gpu
@pytest.mark.usefixtures("compute")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_no_phase_makes_the_host_wait_for_a_gpu(
    dpm: Learner,
    slm: Learner,
    examples: Sequence[Example],
    optimizer: OptimizerConfig,
    phase: Phase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for learner in (dpm, slm):
        torch.nn.Module.to(learner.model.network, "cuda", torch.float32)
    pairing, teaching, pools = paired(dpm, slm), paired(slm, slm), [Pool(examples, 3)]
    parts = (dpm.parts["shared"], slm.parts["own"])
    config, blocks = DistillConfig(steps=STEPS, batch_size=4), torch.randint(5, 300, (6, 9))
    exchange = Exchange(1.0)
    forbid_waiting_for_cuda(monkeypatch)
    tune(dpm, dpm.parts["domain"], pools, STEPS, optimizer, phase)
    mutual_learn(pairing, parts, pools, STEPS, lambda: exchange, optimizer, phase)
    distill(teaching, slm.parts["own"], blocks, config, phase)
    assert parts[1].steps_taken == 2 * STEPS
