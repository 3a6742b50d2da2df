"""An estimate of the time that a run takes: the operations of its phases, at a speed."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from coplms.api.plan import ModelPlan
from coplms.api.reading import Lengths
from coplms.api.schedule import plan as plan_phases
from coplms.config.run import RunConfig
from coplms.consortium.messages import SERVER
from coplms.data.members import ConsortiumData
from coplms.report.costs import TimeRow

UTILISATION = 0.4
"""Part of the speed of one large matrix product that training keeps up where it is measured."""

_MEASURED_SECONDS = 0.5
_WIDTH = {"cpu": 256, "cuda": 8192}
"""Rows and columns of the product that is measured: a CPU may be a hundred times slower in
bfloat16."""


@dataclass(frozen=True)
class TimeCheck:
    """An estimate of the time of all members, one after another in one process.

    It counts multiplications with weights and nothing else: no attention between tokens, no
    padding, no optimiser, no disk, no time in which a processor waits for memory or for Python. It
    is for large models, and tells hours from days; with mini models the rest weighs more, most of
    all in writing answers. The quick start, on one thread of a busy machine and measured there, was
    estimated at 6 minutes and took 12.6: phases that train 1.3 to 3.4 times as long as estimated,
    scoring 2.5 to 6 times. Nothing was compared on a GPU yet.

    Attributes:
        rows: Seconds by kind of phase and member, as reports have them; kinds in their order.
        operations: Floating-point operations of the run.
        teraflops: 10^12 operations that are done in a second.
        is_measured: Whether that was measured here, or is what the configuration says.
    """

    rows: tuple[TimeRow, ...]
    operations: float
    teraflops: float
    is_measured: bool

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.operations / (1e12 * self.teraflops)


def estimate_time(
    config: RunConfig,
    plans: Sequence[ModelPlan],
    data: ConsortiumData,
    lengths: Mapping[str, Lengths],
) -> TimeCheck:
    """How long the run takes, at `compute.teraflops` or as fast as this machine is now.

    Args:
        config: The run's.
        plans: The models of every member, the server first.
        data: Who holds what.
        lengths: By member, in the tokens of its own model.
    """
    work = _Work(config, {(p.member, p.role): p for p in plans}, data, lengths)
    by_kind: dict[str, dict[str, float]] = {}
    for name, steps in plan_phases(config).items():
        _, member, kind = name.split("/")
        operations = work.of(member, kind, steps)
        if operations:
            kind = "evaluate" if "evaluate" in kind else kind
            by_kind.setdefault(kind, defaultdict(float))[member] += operations
    speed = config.compute.teraflops or UTILISATION * measure_teraflops(
        plans[0].device, _dtype(config, plans[0])
    )
    rows = [
        TimeRow(kind, {member: found / (1e12 * speed) for member, found in by_member.items()})
        for kind, by_member in by_kind.items()
    ]
    total = sum(found for by_member in by_kind.values() for found in by_member.values())
    return TimeCheck(tuple(rows), total, speed, config.compute.teraflops is None)


def measure_teraflops(device: torch.device, dtype: torch.dtype) -> float:
    """10^12 operations that a second of large matrix products has; takes about that long."""
    width = _WIDTH[device.type]
    matrix = torch.ones(width, width, device=device, dtype=dtype)
    _multiply(matrix)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < _MEASURED_SECONDS:
        _multiply(matrix)
        count += 1
    return 2 * width**3 * count / (time.perf_counter() - start) / 1e12


def _multiply(matrix: torch.Tensor) -> None:
    product = matrix @ matrix
    float(product[0, 0])  # a GPU has finished when its result is asked for


def _dtype(config: RunConfig, plan: ModelPlan) -> torch.dtype:
    """In which training multiplies."""
    return torch.bfloat16 if config.compute.autocast else plan.outline.model.network.dtype


@dataclass(frozen=True)
class _Work:
    """Floating-point operations of phases.

    A token costs two for each weight that it is multiplied with: one multiplication, one addition.
    Where a model learns, the gradients of what each layer puts out cost as much again, and those of
    weights once more; LoRA leaves out the last, gradient checkpoints repeat the first. Weights of
    adapters are not counted.
    """

    config: RunConfig
    plans: Mapping[tuple[str, str], ModelPlan]
    data: ConsortiumData
    lengths: Mapping[str, Lengths]

    def of(self, member: str, kind: str, steps: int) -> float:
        """Operations of one phase of a member; a phase of another kind takes none."""
        if "evaluate" in kind:
            return self._asked(member, kind)
        kinds: dict[str, Callable[[str, int], float]] = {
            "distill": self._distill,
            "dst": self._dst,
            "proxy": self._proxy,
            "saml": self._saml,
            "transfer": self._transfer,
            "alone": self._tune,
            "tune": self._tune,
            "mutual": self._mutual,
            "learn": self._learn_lessons,
        }
        return kinds[kind](member, steps) if kind in kinds else 0.0

    def _distill(self, member: str, steps: int) -> float:
        """The LLM teaches, all of the DPM learns, over every token of full blocks."""
        settings = self.config.method.distill
        tokens = steps * settings.batch_size * settings.block_tokens
        learning = 3, int(self.config.compute.gradient_checkpointing)
        return _operations(self._own(member), tokens, tokens) + _operations(
            self._dpm(member), tokens, tokens, *learning
        )

    def _dst(self, member: str, steps: int) -> float:
        return self._learnt(self._dpm(member), steps, is_adapter=True)

    def _proxy(self, member: str, steps: int) -> float:
        return self._learnt(self._dpm(member), steps)

    def _saml(self, member: str, steps: int) -> float:
        """Two models learn, after both were judged by dev text; a frozen DPM only reads."""
        frozen = member == SERVER and self.config.method.saml.server_proxy == "freeze"
        return self._judged(member) + self._beside_dpm(member, steps, frozen=frozen)

    def _transfer(self, member: str, steps: int) -> float:
        """The DPM answers the transfer set, and teaches what it said."""
        answers = self._read(self._dpm(member), len(self.data.transfer))
        if self.config.method.transfer.weight:
            taught = self._beside_dpm(member, steps, frozen=True)
        else:
            taught = self._tune(member, steps)
        return self._judged(member) + answers + taught

    def _tune(self, member: str, steps: int) -> float:
        return self._learnt(self._own(member), steps)

    def _mutual(self, member: str, steps: int) -> float:
        return self._beside_dpm(member, steps, frozen=False)

    def _learn_lessons(self, member: str, steps: int) -> float:
        """A model learns from others what they say of the public text, which all of them read."""
        readers = [self._own(member)]
        if member == SERVER:
            readers += [plan for (name, _), plan in self.plans.items() if name != SERVER]
        public = len(self.data.server.train)
        return self._tune(member, steps) + sum(self._read(each, public) for each in readers)

    def _asked(self, member: str, kind: str) -> float:
        """Answers to the test set; in one process devices are asked the server's, too."""
        plan = self._dpm(member) if kind.endswith("dpm") else self._own(member)
        return self._read(plan, len(self.data.server.test))

    # Models --------------------------------------------------------------------------------

    def _own(self, member: str) -> ModelPlan:
        """A member's LLM or SLM, or the DPM where it tunes that in its place."""
        role = "llm" if member == SERVER else "slm"
        return self.plans.get((member, role)) or self._dpm(member)

    def _dpm(self, member: str) -> ModelPlan:
        return self.plans[member, "dpm"]

    def _beside_dpm(self, member: str, steps: int, *, frozen: bool) -> float:
        """Steps of a member's own model and of the DPM together."""
        dpm, examples = self._dpm(member), steps * self.config.optimizer.batch_size
        beside = self._read(dpm, examples) if frozen else self._learnt(dpm, steps)
        return beside + self._learnt(self._own(member), steps)

    def _judged(self, member: str) -> float:
        """What dev text costs both models."""
        own = () if member == SERVER else self.data.devices[member].dev
        count = len(own) + len(self.data.server.dev)
        return self._read(self._dpm(member), count) + self._read(self._own(member), count)

    def _learnt(self, plan: ModelPlan, steps: int, *, is_adapter: bool | None = None) -> float:
        """So many steps of a model of which one part learns."""
        is_adapter = plan.parts[0].is_adapter if is_adapter is None else is_adapter
        checkpoints = int(self.config.compute.gradient_checkpointing)
        tokens, rows = self._tokens(plan, steps * self.config.optimizer.batch_size)
        return _operations(plan, tokens, rows, 2 if is_adapter else 3, checkpoints)

    def _read(self, plan: ModelPlan, examples: int) -> float:
        """A model reads, or writes, so many examples."""
        return _operations(plan, *self._tokens(plan, examples))

    def _tokens(self, plan: ModelPlan, examples: int) -> tuple[float, float]:
        """Of examples, and of their answers. The DPM's tokenizer is the LLM's."""
        lengths = self.lengths[SERVER if plan.role == "dpm" else plan.member]
        return examples * lengths.mean_example, examples * lengths.mean_answer


def _operations(
    plan: ModelPlan, tokens: float, rows: float, passes: int = 1, again: int = 0
) -> float:
    """Operations on some tokens.

    Args:
        plan: Of the model. Its embeddings are looked up, and multiply nothing.
        tokens: What its layers see.
        rows: Those of which its output head predicts the next.
        passes: 1 to read, 2 for gradients of outputs beside that, 3 for those of weights, too.
        again: Times that its layers, and not its head, are gone through once more.
    """
    network = plan.outline.model.network
    module: nn.Linear = network.get_output_embeddings()  # type: ignore[no-untyped-call]
    looked_up = cast("nn.Embedding", network.get_input_embeddings())
    head, embeddings = module.weight, looked_up.weight
    apart = head.numel() + (0 if embeddings is head else embeddings.numel())
    body = plan.weights.num_parameters - apart
    return 2.0 * (body * tokens * (passes + again) + head.numel() * rows * passes)
