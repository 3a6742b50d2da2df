"""One run, from data to scores: the order in which things happen at the server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from coplms.api.scoring import score_rows
from coplms.api.server import ServerBuilder
from coplms.consortium.courier import Courier
from coplms.consortium.journal import Label
from coplms.consortium.members import OWN, SHARED, Server
from coplms.consortium.messages import SERVER
from coplms.consortium.post import Post
from coplms.consortium.report import DeviceReport
from coplms.consortium.rounds import run_rounds
from coplms.methods.coplms import CoPLMs
from coplms.methods.standalone import tune_alone
from coplms.models.language_model import LanguageModel
from coplms.transport.packing import layout_of

Greeted = Callable[[Mapping[str, DeviceReport]], None]
"""Gets what the devices told at first contact."""


@dataclass(frozen=True, eq=False)
class Run:
    """The phases of one run.

    Attributes:
        builder: Builds the server, and knows what all phases share.
        connect: The server's post, once there is a DPM to offer.
        on_greeted: Takes note of who is there.
    """

    builder: ServerBuilder
    connect: Callable[[Server], Post]
    on_greeted: Greeted

    def execute(self) -> Server:
        """All phases in order; those that are done are skipped. The tuned server."""
        builder, config = self.builder, self.builder.config
        if config.alone:
            self._tune_alone()
        server = builder.server()
        initial = server.dpm.parts[SHARED].values()
        builder.restore(server)
        if config.evaluation.before:
            self._score_both("before", server)
        layout = layout_of(initial, config.transport.form, config.transport.block)
        courier = Courier(self.connect(server), layout, initial, builder.journal)
        self.on_greeted(courier.greet())
        method = CoPLMs(config.method, config.optimizer, config.evaluation.max_new_tokens)
        rounds = config.method.rounds
        run_rounds(method, server, courier, rounds, builder.journal, self._after_round)
        self._score_both("after", server)
        return server

    def _tune_alone(self) -> None:
        """The LLM by itself, for as many steps as with the devices."""
        config, journal = self.builder.config, self.builder.journal
        scored = Label(0, SERVER, "alone-evaluate")
        if journal.is_done(scored):
            return
        text, steps = self.builder.data.server.train, config.method.server_steps
        learner = self.builder.assembler.own(config.llm, "llm", steps, f"{SERVER}/alone")
        part = learner.parts[OWN]
        journal.restore(part)
        journal.phase(
            Label(0, SERVER, "alone"),
            lambda phase: tune_alone(learner, text, steps, config.optimizer, phase),
            [part],
        )
        self._score(scored, learner.model, "alone", "llm")

    def _score_both(self, when: str, server: Server) -> None:
        number = 0 if when == "before" else self.builder.config.method.rounds + 1
        for kind, learner in (("llm", server.llm), ("dpm", server.dpm)):
            label = Label(number, SERVER, f"evaluate-{when}-{kind}")
            self._score(label, learner.model, when, kind)

    def _after_round(self, round_number: int, server: Server) -> None:
        label = Label(round_number, SERVER, "evaluate-dpm")
        self._score(label, server.dpm.model, f"round-{round_number}", "dpm")
        if self.builder.config.evaluation.each_round:
            label = Label(round_number, SERVER, "evaluate-llm")
            self._score(label, server.llm.model, f"round-{round_number}", "llm")

    def _score(self, label: Label, model: LanguageModel, when: str, kind: str) -> None:
        about = {"when": when, "member": SERVER, "model": kind}
        test, config = self.builder.data.server.test, self.builder.config
        self.builder.journal.phase(label, lambda _: score_rows(model, test, (), config, about))
