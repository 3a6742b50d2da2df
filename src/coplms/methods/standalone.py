"""Every model tuned alone: what co-tuning is measured against."""

from collections.abc import Sequence
from dataclasses import dataclass

from coplms.config.method import MethodConfig, OptimizerConfig
from coplms.consortium.journal import Journal, Label
from coplms.consortium.members import OWN
from coplms.consortium.messages import SERVER
from coplms.data.example import Example
from coplms.methods.baseline import Client, Parties, part_of, visible
from coplms.training.learner import Learner
from coplms.training.phases import Phase, tune
from coplms.training.pools import Pool


def tune_alone(
    learner: Learner,
    text: Sequence[Example],
    steps: int,
    optimizer: OptimizerConfig,
    phase: Phase,
) -> dict[str, float]:
    """Cross-entropy on all labelled text that the member may see, for as many steps as co-tuned.

    Args:
        learner: A fresh copy of the member's model.
        text: A device's private and the public examples; the server's public ones.
        steps: Optimiser steps.
        optimizer: Batches and AdamW, as in co-tuning.
        phase: Seed and log.
    """
    pools = [Pool(text, optimizer.batch_size)]
    return tune(learner, learner.parts[OWN], pools, steps, optimizer, phase)


@dataclass(frozen=True)
class Standalone:
    """The baseline of that name: nothing is exchanged."""

    config: MethodConfig
    optimizer: OptimizerConfig

    def round(self, number: int, parties: Parties, journal: Journal) -> None:
        """Cross-entropy on what each member may see."""
        for name in parties.names:
            client = parties.client(name)
            self.tune_client(number, client, visible(client, parties), journal)
        self.tune_server(number, parties, parties.server.train, journal)

    def tune_client(
        self, number: int, client: Client, text: Sequence[Example], journal: Journal
    ) -> None:
        """A round's steps of a device's model."""
        steps = part_of(self.config.device_steps, number, self.config.rounds)

        def work(phase: Phase) -> dict[str, float]:
            pools = [Pool(text, self.optimizer.batch_size)]
            return tune(client.model, client.part, pools, steps, self.optimizer, phase)

        journal.phase(Label(number, client.name, "tune"), work, [client.part])

    def tune_server(
        self, number: int, parties: Parties, text: Sequence[Example], journal: Journal
    ) -> None:
        """A round's steps of the LLM."""
        steps = part_of(self.config.server_steps, number, self.config.rounds)
        llm = parties.llm

        def work(phase: Phase) -> dict[str, float]:
            pools = [Pool(text, self.optimizer.batch_size)]
            return tune(llm, llm.parts[OWN], pools, steps, self.optimizer, phase)

        journal.phase(Label(number, SERVER, "tune"), work, [llm.parts[OWN]])
