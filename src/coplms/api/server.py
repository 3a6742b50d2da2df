"""A run's server: models loaded, and the DPM made."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from coplms.api.assemble import Assembler
from coplms.config.model import ModelConfig
from coplms.config.run import RunConfig
from coplms.consortium.journal import Journal, Label, Result
from coplms.consortium.members import OWN, PublicText, Server, pair_learners
from coplms.consortium.messages import SERVER
from coplms.data.example import Example
from coplms.data.members import ConsortiumData
from coplms.data.text import read_text
from coplms.models.language_model import LanguageModel
from coplms.models.load import check_same_tokenizer
from coplms.models.slicing import slice_model
from coplms.models.zoo import pack
from coplms.training.learner import Learner
from coplms.training.phases import Phase, distill


@dataclass(frozen=True, eq=False)
class ServerBuilder:
    """Builds the server of one run.

    Attributes:
        folder: Where everything is written.
        cache: Where class maps are kept between runs.
        config: The run's.
        assembler: Builds learners.
        data: Who holds what.
        distill_text: Plain text for distillation, as paths.
        journal: What is done.
    """

    folder: Path
    cache: Path
    config: RunConfig
    assembler: Assembler
    data: ConsortiumData
    distill_text: Sequence[str]
    journal: Journal

    def server(self) -> Server:
        """The server, whose DPM is distilled unless an earlier start has done so."""
        config = self.config
        steps = config.method.server_steps
        llm = self.assembler.own(config.llm, "llm", steps, f"{SERVER}/llm")
        dpm = self.assembler.proxy(self.proxy_folder(llm), SERVER)
        data = self.data.server
        public = PublicText(data.train, data.dev, self.data.offered_test, self.data.transfer)
        pairing = pair_learners(dpm, llm, self.cache)
        return Server(llm, dpm, data, public, pairing)

    def restore(self, server: Server) -> None:
        """Give every part of the server its newest state."""
        for learner in (server.llm, server.dpm):
            for part in learner.parts.values():
                self.journal.restore(part)

    def proxy_folder(self, llm: Learner) -> Path:
        """The distilled DPM's folder, which is written unless an earlier start has."""
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
        return final

    def _raw_proxy(self, llm: LanguageModel) -> LanguageModel:
        """The DPM before distillation, where it will run."""
        config = self.config
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
        config = self.config
        settings = config.method.distill
        if settings.steps == 0:
            return {}
        student = self.assembler.student(model)
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
