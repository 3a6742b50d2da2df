"""Networks that the devices of one machine share: loaded once, a device's parts put in by turns.

A thousand devices with the same base models cost the memory of one. What is a device's own lies on
disk, in its journal; here it is only at work.
"""

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from coplms.api.assemble import Assembler
from coplms.config.model import ModelConfig
from coplms.consortium.members import DOMAIN, OWN, SHARED, pair_learners
from coplms.training.learner import Learner
from coplms.training.pair import Pairing
from coplms.training.part import Part


@dataclass(eq=False)
class Bench:
    """A network in a workshop.

    Attributes:
        learner: It, with the parts of the device that was here last.
        initial: Part -> its values before any training.
    """

    learner: Learner
    initial: dict[str, dict[str, Tensor]]

    def seat(self, parts: dict[str, Part]) -> Learner:
        """The learner with these parts, as they are before any training."""
        for kind, part in parts.items():
            part.load_values(self.initial[kind])
        self.learner.parts = parts
        return self.learner


@dataclass(eq=False)
class Workshop:
    """The networks, and class maps that devices of one machine share.

    Attributes:
        classes: Where class maps are kept between runs.
    """

    classes: Path
    _benches: dict[str, Bench] = field(default_factory=dict)
    _pairings: dict[tuple[int, int], Pairing] = field(default_factory=dict)

    def slm(self, assembler: Assembler, model: ModelConfig, part: str, steps: int) -> Learner:
        """A device's SLM, whose part has this name and is untrained."""
        bench = self._slm_bench(assembler, model)
        parameters = bench.learner.parts[OWN].parameters
        return bench.seat({OWN: assembler.part(part, parameters, steps)})

    def dpm(self, assembler: Assembler, folder: Path, device: str) -> Learner:
        """A device's copy of the DPM, untrained."""
        bench = self._dpm_bench(assembler, folder)
        before = bench.learner.parts
        return bench.seat(
            assembler.proxy_parts(device, before[SHARED].parameters, before[DOMAIN].parameters)
        )

    def initial_shared(self, assembler: Assembler, folder: Path) -> dict[str, Tensor]:
        """The DPM's shared part before any training."""
        return self._dpm_bench(assembler, folder).initial[SHARED]

    def pairing(self, dpm: Learner, slm: Learner) -> Pairing:
        """The DPM (left) and an SLM (right) of this workshop."""
        key = (id(dpm), id(slm))
        if key not in self._pairings:
            self._pairings[key] = pair_learners(dpm, slm, self.classes)
        return self._pairings[key]

    def _slm_bench(self, assembler: Assembler, model: ModelConfig) -> Bench:
        key = f"slm {model.model_dump_json()}"
        if key not in self._benches:
            self._benches[key] = _bench(assembler.own(model, "slm", 1, "slm"))
        return self._benches[key]

    def _dpm_bench(self, assembler: Assembler, folder: Path) -> Bench:
        key = f"dpm {folder}"
        if key not in self._benches:
            self._benches[key] = _bench(assembler.proxy(folder, "device"))
        return self._benches[key]


def _bench(learner: Learner) -> Bench:
    return Bench(learner, {kind: part.values() for kind, part in learner.parts.items()})
