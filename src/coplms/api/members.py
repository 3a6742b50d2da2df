"""A run's server and devices: models loaded, the DPM made, sent and received."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from coplms.api.assemble import Assembler
from coplms.config.model import ModelConfig
from coplms.consortium.journal import Journal, Label, Result
from coplms.consortium.members import OWN, Device, Server, pair_learners
from coplms.consortium.messages import DPM_FILES, SERVER, PublicText, Welcome
from coplms.data.example import Example
from coplms.data.members import ConsortiumData
from coplms.data.text import read_text
from coplms.models.language_model import LanguageModel
from coplms.models.load import check_same_tokenizer
from coplms.models.slicing import slice_model
from coplms.models.zoo import pack
from coplms.runtimes.local import welcome
from coplms.training.learner import Learner
from coplms.training.phases import Phase, distill
from coplms.transport.ledger import Ledger


@dataclass(frozen=True, eq=False)
class MemberBuilder:
    """Builds the members of one run.

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

    def server(self) -> Server:
        """The server, whose DPM is distilled unless an earlier start has done so."""
        config = self.assembler.config
        steps = config.method.server_steps
        llm = self.assembler.own(config.llm, "llm", steps, f"{SERVER}/llm")
        self._make_proxy(llm)
        dpm = self.assembler.proxy(self.folder / "dpm", SERVER)
        public = PublicText(self.data.server.train, self.data.server.dev, self.data.transfer)
        pairing = pair_learners(dpm, llm, self.cache)
        return Server(llm, dpm, self.data.server, public, pairing)

    def devices(self, server: Server) -> list[Device]:
        """All devices, each with the DPM and the public text that the server sent it."""
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

    def restore(self, server: Server, devices: Sequence[Device]) -> None:
        """Give every part of every member its newest state."""
        for learner in (server.llm, server.dpm, *(x for d in devices for x in (d.slm, d.dpm))):
            for part in learner.parts.values():
                self.journal.restore(part)

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
        """The DPM before distillation, where it will run."""
        config = self.assembler.config
        device = self.assembler.device(config.dpm)
        if config.dpm.model is None:
            # A copy of the LLM without adapter, cut on the CPU: the GPU holds the LLM once.
            plain = self.assembler.load(config.llm, "llm", torch.device("cpu"))
            dpm = slice_model(plain, config.dpm.layers, "dpm")
            nn.Module.to(dpm.network, device)
            return dpm
        dpm = self.assembler.load(ModelConfig(model=config.dpm.model), "dpm", device)
        check_same_tokenizer(llm, dpm)
        return dpm

    def _distill(self, llm: Learner, model: LanguageModel, phase: Phase) -> dict[str, float]:
        config = self.assembler.config
        settings = config.method.distill
        if settings.steps == 0:
            return {}
        rate = self.assembler.proxy_learning_rate
        student = self.assembler.whole(model, "dpm", rate, settings.steps)
        texts = [*_as_text(self.data.server.train, config.data.template)]
        texts += [*_as_text(self.data.transfer, config.data.template)]
        texts += read_text(self.distill_text) if self.distill_text else []
        blocks = pack(model.tokenizer, texts, settings.block_tokens)
        pairing = pair_learners(llm, student, self.cache)
        return distill(pairing, student.parts[OWN], blocks, settings, phase)


def _as_text(examples: Sequence[Example], template: str) -> list[str]:
    """Examples as documents; those without an answer end after the prompt."""
    return [
        " ".join(
            [template.format(instruction=e.instruction, input=e.input).strip(), *e.references[:1]]
        )
        for e in examples
    ]
