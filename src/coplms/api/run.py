"""One run on one machine, from data to scores: the order in which things happen."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coplms.api.assemble import Assembler
from coplms.consortium.journal import Journal, Label, Result
from coplms.consortium.members import OWN, Device, Server, pair_learners, use_domain_adapter
from coplms.consortium.messages import DPM_FILES, SERVER, PublicText, Welcome
from coplms.consortium.rounds import run_rounds
from coplms.data.example import Example
from coplms.data.members import ConsortiumData
from coplms.data.text import read_text
from coplms.evaluation.evaluate import evaluate_model
from coplms.methods.coplms import CoPLMs
from coplms.methods.standalone import tune_alone
from coplms.models.language_model import LanguageModel
from coplms.models.load import check_same_tokenizer, load_model, resolve_device
from coplms.models.slicing import slice_model
from coplms.models.zoo import pack
from coplms.runtimes.local import LocalRuntime, welcome
from coplms.training.learner import Learner
from coplms.training.phases import Phase, distill
from coplms.transport.ledger import Ledger


@dataclass(frozen=True, eq=False)
class Run:
    """What the phases of one run share.

    Attributes:
        folder: Where everything is written.
        cache: Where class maps are kept between runs.
        assembler: Builds learners.
        data: Who holds what.
        distill_text: Plain text for distillation, as paths.
        journal: What is done.
        ledger: What has travelled.
    """

    folder: Path
    cache: Path
    assembler: Assembler
    data: ConsortiumData
    distill_text: Sequence[str]
    journal: Journal
    ledger: Ledger

    def execute(self) -> tuple[Server, list[Device]]:
        """All phases in order; those that are done are skipped. The tuned members."""
        config = self.assembler.config
        if config.alone:
            self._tune_alone()
        server = self._server()
        devices = self._devices(server)
        self._restore(server, devices)
        self._evaluate("before", server, devices)
        method = CoPLMs(config.method, config.optimizer, config.evaluation.max_new_tokens)
        runtime = LocalRuntime(method, devices, self.journal, self.ledger)
        rounds = config.method.rounds
        run_rounds(method, server, runtime, rounds, self.journal, self._after_round)
        self._evaluate("after", server, devices)
        return server, devices

    # Building the members ------------------------------------------------------------------

    def _server(self) -> Server:
        config = self.assembler.config
        steps = config.method.server_steps
        llm = self.assembler.own(config.llm, "llm", steps, f"{SERVER}/llm")
        self._make_proxy(llm)
        dpm = self.assembler.proxy(self.folder / "dpm", SERVER)
        public = PublicText(self.data.server.train, self.data.server.dev, self.data.transfer)
        pairing = pair_learners(dpm, llm, self.cache)
        return Server(llm, dpm, self.data.server, public, pairing)

    def _devices(self, server: Server) -> list[Device]:
        config = self.assembler.config
        files = {
            file.name: file.read_bytes()
            for file in sorted((self.folder / "dpm").iterdir())
            if file.name in DPM_FILES
        }
        devices = []
        for device in config.devices:
            received = welcome(Welcome(files, server.public), device.name, self.ledger)
            folder = self.folder / "devices" / device.name / "dpm"
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in received.files.items():
                (folder / name).write_bytes(content)
            steps = config.method.device_steps
            slm = self.assembler.own(device.slm, "slm", steps, f"{device.name}/slm")
            dpm = self.assembler.proxy(folder, device.name)
            pairing = pair_learners(dpm, slm, self.cache)
            data = self.data.devices[device.name]
            devices.append(Device(device.name, slm, dpm, data, received.public, pairing))
        return devices

    def _make_proxy(self, llm: Learner) -> None:
        """Write the distilled DPM's folder, unless an earlier start has."""
        final = self.folder / "dpm"

        def work(phase: Phase) -> Result:
            model = self._raw_proxy(llm.model)
            metrics = self._distill(llm, model, phase)
            temporary = self.folder / "dpm.tmp"
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(final, ignore_errors=True)
            model.network.save_pretrained(temporary)
            model.tokenizer.save_pretrained(temporary)
            temporary.rename(final)
            return dict(metrics)

        self.journal.phase(Label(0, SERVER, "distill"), work)

    def _raw_proxy(self, llm: LanguageModel) -> LanguageModel:
        config = self.assembler.config
        plain = self.assembler.load(config.llm, "llm")
        if config.dpm.model is None:
            return slice_model(plain, config.dpm.layers, "dpm")
        path = self.assembler.path(config.dpm.model)
        dpm = load_model("dpm", path, config.dtype, resolve_device(config.device))
        check_same_tokenizer(llm, dpm)
        return dpm

    def _distill(self, llm: Learner, model: LanguageModel, phase: Phase) -> dict[str, float]:
        config = self.assembler.config
        settings = config.method.distill
        if settings.steps == 0:
            return {}
        rate = config.optimizer.proxy_learning_rate or config.optimizer.learning_rate
        student = self.assembler.whole(model, "dpm", rate, settings.steps)
        texts = [*_as_text(self.data.server.train, config.data.template)]
        texts += [*_as_text(self.data.transfer, config.data.template)]
        texts += read_text(self.distill_text) if self.distill_text else []
        blocks = pack(model.tokenizer, texts, settings.block_tokens)
        return distill(llm.model, model, student.parts[OWN], blocks, settings, phase)

    def _restore(self, server: Server, devices: Sequence[Device]) -> None:
        for learner in (server.llm, server.dpm, *(x for d in devices for x in (d.slm, d.dpm))):
            for part in learner.parts.values():
                self.journal.restore(part)

    # Every model alone ---------------------------------------------------------------------

    def _tune_alone(self) -> None:
        config = self.assembler.config
        public = self.data.server.train
        method = config.method
        build = self.assembler.own
        self._one_alone(
            lambda: build(config.llm, "llm", method.server_steps, f"{SERVER}/alone"),
            (SERVER, "llm"),
            public,
            method.server_steps,
        )
        for device in config.devices:
            text = [*self.data.devices[device.name].train, *public]
            self._one_alone(
                lambda d=device: build(d.slm, "slm", method.device_steps, f"{d.name}/alone"),  # type: ignore[misc]
                (device.name, "slm"),
                text,
                method.device_steps,
            )

    def _one_alone(
        self,
        build: Callable[[], Learner],
        who: tuple[str, str],
        text: Sequence[Example],
        steps: int,
    ) -> None:
        member, model = who
        scored = Label(0, member, "alone-evaluate")
        if self.journal.is_done(scored):
            return
        learner = build()
        part = learner.parts[OWN]
        self.journal.restore(part)
        optimizer = self.assembler.config.optimizer
        self.journal.phase(
            Label(0, member, "alone"),
            lambda phase: tune_alone(learner, text, steps, optimizer, phase),
            [part],
        )
        self._score(scored, learner.model, "alone", member, model)

    # Scores --------------------------------------------------------------------------------

    def _evaluate(self, when: str, server: Server, devices: Sequence[Device]) -> None:
        number = 0 if when == "before" else self.assembler.config.method.rounds + 1
        label = Label(number, SERVER, f"evaluate-{when}-llm")
        self._score(label, server.llm.model, when, SERVER, "llm")
        label = Label(number, SERVER, f"evaluate-{when}-dpm")
        self._score(label, server.dpm.model, when, SERVER, "dpm")
        for device in devices:
            label = Label(number, device.name, f"evaluate-{when}-slm")
            self._score(label, device.slm.model, when, device.name, "slm")
            if when == "after":
                use_domain_adapter(device.dpm, on=True)
                label = Label(number, device.name, f"evaluate-{when}-dpm")
                self._score(label, device.dpm.model, when, device.name, "dpm")

    def _after_round(self, round_number: int, server: Server) -> None:
        label = Label(round_number, SERVER, "evaluate-dpm")
        self._score(label, server.dpm.model, f"round-{round_number}", SERVER, "dpm")

    def _score(self, label: Label, model: LanguageModel, when: str, member: str, kind: str) -> None:
        """Score on all domains' test examples, and for a device also on its own domains'."""
        config = self.assembler.config

        def work(_: Phase) -> Result:
            result = evaluate_model(
                model,
                self.data.server.test,
                config.data.template,
                config.data.max_length,
                config.evaluation.max_new_tokens,
                config.evaluation.batch_size,
            )
            shared = {"when": when, "member": member, "model": kind}
            rows = [{**shared, "scope": "all", **result.to_json()}]
            if member != SERVER:
                own = {example.domain for example in self.data.devices[member].test}
                rows.append({**shared, "scope": "own", **result.restrict(own).to_json()})
            return {"evaluations": rows}

        self.journal.phase(label, work)


def _as_text(examples: Sequence[Example], template: str) -> list[str]:
    """Examples as documents; those without an answer end after the prompt."""
    return [
        " ".join(
            [template.format(instruction=e.instruction, input=e.input).strip(), *e.references[:1]]
        )
        for e in examples
    ]
