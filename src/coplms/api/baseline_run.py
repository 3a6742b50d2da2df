"""A run of a baseline, from scores before to scores after."""

from dataclasses import dataclass

from coplms.api.output import save_model
from coplms.api.parties import SimulatedParties
from coplms.api.scoring import score_rows
from coplms.config.run import RunConfig
from coplms.consortium.journal import Journal, Label, Result
from coplms.consortium.messages import SERVER
from coplms.data.example import Example
from coplms.methods.baseline import Baseline
from coplms.methods.centralised import Centralised
from coplms.methods.fedcollm import FedCollm
from coplms.methods.fedlora import FedLora
from coplms.methods.fedmkt import FedMkt
from coplms.methods.llm2slm import Llm2Slm
from coplms.methods.standalone import Standalone
from coplms.models.language_model import LanguageModel
from coplms.training.phases import Phase

BASELINES: dict[str, type[Baseline]] = {
    "standalone": Standalone,
    "fedlora": FedLora,
    "llm2slm": Llm2Slm,
    "fedcollm": FedCollm,
    "fedmkt": FedMkt,
    "centralised": Centralised,
}
"""`method.name` -> the method."""


@dataclass(frozen=True, eq=False)
class BaselineRun:
    """The phases of a run.

    Attributes:
        parties: Everyone in it.
        journal: What is done.
    """

    parties: SimulatedParties
    journal: Journal

    @property
    def config(self) -> RunConfig:
        """The run's."""
        return self.parties.config

    def execute(self) -> None:
        """All phases in order; those that are done are skipped."""
        settings, optimizer = self.config.method, self.config.optimizer
        method: Baseline = BASELINES[settings.name](settings, optimizer)  # type: ignore[call-arg]
        if self.config.evaluation.before:
            self._score_all("before", 0)
        for number in range(1, settings.rounds + 1):
            method.round(number, self.parties, self.journal)
            if self.config.evaluation.each_round and number < settings.rounds:
                self._score_all(f"round-{number}", number)
        self._score_all("after", settings.rounds)
        self._save()

    def _score_all(self, when: str, number: int) -> None:
        """Scores of the LLM and of the scored devices' models."""
        llm = self.parties.llm.model
        self._score(Label(number, SERVER, f"evaluate-{when}-llm"), llm, when, "llm", ())
        for name in self.parties.names:
            if name not in self.config.scored:
                continue
            label = Label(number, name, f"evaluate-{when}-slm")
            if not self.journal.is_done(label):
                client = self.parties.client(name)
                self._score(label, client.model.model, when, "slm", client.data.test)

    def _score(
        self, label: Label, model: LanguageModel, when: str, kind: str, own: tuple[Example, ...]
    ) -> None:
        about = {"when": when, "member": label.member, "model": kind}
        test = self.parties.server.test
        self.journal.phase(label, lambda _: score_rows(model, test, own, self.config, about))

    def _save(self) -> None:
        config, folder = self.config, self.parties.builder.folder

        def save(_: Phase) -> Result:
            tuning = config.tuning_of(config.llm)
            save_model(folder, SERVER, "llm", self.parties.llm, tuning)
            for name in self.parties.names:
                client = self.parties.client(name)
                slm = config.dpm if self.parties.has_proxy else self.parties.slm_of(name)
                save_model(folder, name, "slm", client.model, config.tuning_of(slm))
            return {}

        self.journal.phase(Label(config.method.rounds, SERVER, "save"), save)
