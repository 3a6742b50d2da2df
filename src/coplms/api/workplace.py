"""A device in a run: its models and text at hand, its state in its journal."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from coplms.api.assemble import Assembler
from coplms.api.output import save_device
from coplms.api.scoring import score_rows
from coplms.api.workshop import Workshop
from coplms.config.model import ModelConfig
from coplms.config.terms import Terms
from coplms.consortium.desk import check_finite
from coplms.consortium.journal import Journal, Label, Result
from coplms.consortium.members import DOMAIN, OWN, SHARED, Device, PublicText, use_domain_adapter
from coplms.consortium.messages import Download, Upload
from coplms.consortium.report import DeviceReport, Sizes, report_of
from coplms.data.members import MemberData
from coplms.methods.coplms import CoPLMs
from coplms.methods.standalone import tune_alone
from coplms.models.language_model import LanguageModel
from coplms.training.phases import Phase
from coplms.transport.feedback import Sender
from coplms.transport.packing import layout_of


@dataclass(frozen=True)
class Materials:
    """What a device works with.

    Attributes:
        terms: The run's.
        slm: Its own model.
        data: Its own text.
        dpm: Folder of the DPM as the server sent it.
        public: Text that the server sent.
        results: Where tuned models go: `adapters/NAME/`, `models/NAME/`.
    """

    terms: Terms
    slm: ModelConfig
    data: MemberData
    dpm: Path
    public: PublicText
    results: Path


class DeviceInRun:
    """Does what `coplms.consortium.desk.Workplace` promises, for a real device."""

    def __init__(
        self,
        name: str,
        materials: Materials,
        assembler: Assembler,
        workshop: Workshop,
        journal: Journal,
    ) -> None:
        """Take the workshop's seat, in the state that the journal has.

        Args:
            name: The device's.
            materials: What it works with.
            assembler: Builds its learners, by the run's terms.
            workshop: Whose networks it uses until another device takes its seat.
            journal: What it has done.
        """
        self.name = name
        self.run = materials.terms.run
        self.journal = journal
        self._materials = materials
        self._assembler = assembler
        self._workshop = workshop
        config = assembler.config
        self._method = CoPLMs(config.method, config.optimizer, config.evaluation.max_new_tokens)
        self.initial: Mapping[str, Tensor] = workshop.initial_shared(assembler, materials.dpm)
        transport = config.transport
        self.layout = layout_of(self.initial, transport.form, transport.block)
        self.sender = Sender(f"{name}/dpm-upload", self.layout)
        journal.restore(self.sender)
        self._device = self._seat()

    @property
    def last_sent(self) -> int:
        """The newest round whose upload is packed; 0 before the first."""
        return max((row["round"] for row in self.journal.rows if row["kind"] == "send"), default=0)

    def greet(self) -> DeviceReport:
        """How many examples the device holds."""
        return self.report(())

    def round(self, download: Download) -> Upload:
        """DST and SAML; done once, then remembered."""
        upload = self._method.device_round(self._device, download, self.journal)
        if self._assembler.config.evaluation.each_round:
            number = download.round_number
            self._score(Label(number, self.name, "evaluate-slm"), f"round-{number}", "slm")
        return upload

    def send(self, upload: Upload, reference: Mapping[str, Tensor]) -> Tensor:
        """The upload, packed; done once, then remembered."""

        def pack(_: Phase) -> Result:
            check_finite(upload)
            self.sender.pack(upload.shared, reference)
            return {}

        self.journal.phase(Label(upload.round_number, self.name, "send"), pack, [self.sender])
        assert self.sender.packed is not None
        return self.sender.packed

    def finish(self, download: Download, *, score: bool) -> None:
        """The transfer; then tuned models are saved and, with `score`, compared."""
        number = download.round_number
        self._method.device_finish(self._device, download, self.journal)
        if score:
            self._score(Label(number, self.name, "evaluate-after-slm"), "after", "slm")
            use_domain_adapter(self._device.dpm, on=True)
            self._score(Label(number, self.name, "evaluate-after-dpm"), "after", "dpm")
        self.journal.phase(Label(number, self.name, "save"), self._save)
        if score:
            self._compare()

    def report(self, rounds: Collection[int]) -> DeviceReport:
        """What happened in these rounds, in the order in which it did."""
        data, public = self._device.data, self._device.public
        sizes = Sizes(train=len(data.train), dev=len(data.dev), test=len(data.test))
        return report_of(self.journal, sizes, rounds, public.domains)

    # Parts and scores ----------------------------------------------------------------------

    def _seat(self) -> Device:
        """The device's learners with its own parts, as the journal has them."""
        found = self._materials
        steps = self._assembler.config.method.device_steps
        slm = self._workshop.slm(self._assembler, found.slm, f"{self.name}/slm", steps)
        dpm = self._workshop.dpm(self._assembler, found.dpm, self.name)
        for part in (slm.parts[OWN], dpm.parts[SHARED], dpm.parts[DOMAIN]):
            self.journal.restore(part)
        pairing = self._workshop.pairing(dpm, slm)
        return Device(self.name, slm, dpm, found.data, found.public, pairing)

    def _compare(self) -> None:
        """The SLM before any tuning, and tuned alone for as many steps."""
        number, name = 0, self.name
        scored = Label(number, name, "alone-evaluate")
        alone = self._materials.terms.alone
        before = Label(number, name, "evaluate-before-slm")
        config = self._assembler.config
        wanted = {scored: alone, before: config.evaluation.before}
        if all(self.journal.is_done(label) for label, on in wanted.items() if on):
            return
        steps = config.method.device_steps
        part = f"{name}/alone"
        slm = self._workshop.slm(self._assembler, self._materials.slm, part, steps)
        if config.evaluation.before:
            self._score(before, "before", "slm")
        if alone:
            own = slm.parts[OWN]
            self.journal.restore(own)
            text = [*self._materials.data.train, *self._materials.public.labelled]

            def tune(phase: Phase) -> Result:
                return dict(tune_alone(slm, text, steps, config.optimizer, phase))

            self.journal.phase(Label(number, name, "alone"), tune, [own])
            self._score(scored, "alone", "slm")
        self._device = self._seat()

    def _score(self, label: Label, when: str, kind: str) -> None:
        model: LanguageModel = getattr(self._device, kind).model
        about = {"when": when, "member": self.name, "model": kind}
        public, own = self._device.public.test, self._device.data.test
        config = self._assembler.config
        self.journal.phase(label, lambda _: score_rows(model, public, own, config, about))

    def _save(self, _: Phase) -> Result:
        found = self._materials
        save_device(found.results, self._device, self._assembler.config, found.slm)
        return {}
