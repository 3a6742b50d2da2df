"""One run on one machine, from data to scores: the order in which things happen."""

from collections.abc import Sequence
from dataclasses import dataclass

from coplms.api.members import MemberBuilder
from coplms.config.model import ModelConfig
from coplms.consortium.journal import Label, Result
from coplms.consortium.members import OWN, Device, Server, use_domain_adapter
from coplms.consortium.messages import SERVER
from coplms.consortium.rounds import run_rounds
from coplms.data.example import Example
from coplms.evaluation.evaluate import evaluate_model
from coplms.methods.coplms import CoPLMs
from coplms.methods.standalone import tune_alone
from coplms.models.language_model import LanguageModel
from coplms.runtimes.local import LocalRuntime
from coplms.training.phases import Phase


@dataclass(frozen=True, eq=False)
class Run:
    """The phases of one run.

    Attributes:
        members: Builds server and devices, and knows what all phases share.
    """

    members: MemberBuilder

    def execute(self) -> tuple[Server, list[Device]]:
        """All phases in order; those that are done are skipped. The tuned members."""
        members, config = self.members, self.members.assembler.config
        if config.alone:
            self._tune_alone()
        server = members.server()
        devices = members.devices(server)
        members.restore(server, devices)
        self._evaluate("before", server, devices)
        method = CoPLMs(config.method, config.optimizer, config.evaluation.max_new_tokens)
        runtime = LocalRuntime(method, devices, members.journal, members.ledger)
        rounds = config.method.rounds
        run_rounds(method, server, runtime, rounds, members.journal, self._after_round)
        self._evaluate("after", server, devices)
        return server, devices

    # Every model alone ---------------------------------------------------------------------

    def _tune_alone(self) -> None:
        config, data = self.members.assembler.config, self.members.data
        public = data.server.train
        self._one_alone(SERVER, "llm", config.llm, public, config.method.server_steps)
        for device in config.devices:
            text = [*data.devices[device.name].train, *public]
            self._one_alone(device.name, "slm", device.slm, text, config.method.device_steps)

    def _one_alone(
        self, member: str, kind: str, model: ModelConfig, text: Sequence[Example], steps: int
    ) -> None:
        journal, assembler = self.members.journal, self.members.assembler
        scored = Label(0, member, "alone-evaluate")
        if journal.is_done(scored):
            return
        learner = assembler.own(model, kind, steps, f"{member}/alone")
        part = learner.parts[OWN]
        journal.restore(part)
        optimizer = assembler.config.optimizer
        journal.phase(
            Label(0, member, "alone"),
            lambda phase: tune_alone(learner, text, steps, optimizer, phase),
            [part],
        )
        self._score(scored, learner.model, "alone", member, kind)

    # Scores --------------------------------------------------------------------------------

    def _evaluate(self, when: str, server: Server, devices: Sequence[Device]) -> None:
        number = 0 if when == "before" else self.members.assembler.config.method.rounds + 1
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
        config, data = self.members.assembler.config, self.members.data

        def work(_: Phase) -> Result:
            result = evaluate_model(
                model,
                data.server.test,
                config.data.template,
                config.data.max_length,
                config.evaluation.max_new_tokens,
                config.evaluation.batch_size,
            )
            shared = {"when": when, "member": member, "model": kind}
            rows = [{**shared, "scope": "all", **result.to_json()}]
            if member != SERVER:
                own = {example.domain for example in data.devices[member].test}
                rows.append({**shared, "scope": "own", **result.restrict(own).to_json()})
            return {"evaluations": rows}

        self.members.journal.phase(label, work)
