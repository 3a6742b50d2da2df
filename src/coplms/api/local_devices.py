"""The devices of a run that is simulated on one machine: thousands of them, one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coplms.api.assemble import Assembler
from coplms.api.workplace import DeviceInRun, Materials
from coplms.api.workshop import Workshop
from coplms.config.model import ModelConfig
from coplms.config.run import RunConfig
from coplms.config.terms import Terms
from coplms.consortium.desk import Desk
from coplms.consortium.journal import Journal, Observer
from coplms.consortium.members import PublicText
from coplms.data.members import MemberData
from coplms.errors import UnknownRunError
from coplms.transport.link import Answer


def device_folder(run: Path, device: str) -> Path:
    """Where a simulated device keeps its state."""
    return run / "devices" / device


@dataclass(eq=False)
class LocalDevices:
    """Every device's side of a run, in this process.

    Attributes:
        folder: The run's.
        config: The run's.
        data: Device -> its private text.
        zoo: Folders of mini models.
        workshop: The networks that they share.
        public: What the server offers, and the test sets of all devices to compare scores on; it
            lies on this machine, so nothing is copied.
        observer: Watches the devices' phases.
    """

    folder: Path
    config: RunConfig
    data: Mapping[str, MemberData]
    zoo: Mapping[str, Path]
    workshop: Workshop
    public: PublicText
    observer: Observer
    _terms: Terms | None = None
    _slms: dict[str, ModelConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._slms = {each.name: each.slm for each in self.config.devices if each.slm is not None}

    def answer(self, device: str) -> Answer:
        """The device's side of the link; errors come out as they are."""
        return Desk(device, lambda terms: self._open(device, terms), _raise).answer

    def _open(self, device: str, terms: Terms | None) -> DeviceInRun:
        self._terms = terms or self._terms
        if self._terms is None:
            raise UnknownRunError(f"'{device}' was not welcomed to the run.")
        found = Materials(
            terms=self._terms,
            slm=self._slms[device],
            data=self.data[device],
            dpm=self.folder / "dpm",
            public=self.public,
            results=self.folder,
        )
        checkpoints = device_folder(self.folder, device) / "checkpoints"
        journal = Journal(checkpoints, self.config.seed, self.observer)
        assembler = Assembler(self.config, self.zoo)
        return DeviceInRun(device, found, assembler, self.workshop, journal)


def _raise(error: Exception) -> None:
    raise error
