"""LLM2SLM (arXiv:2406.02224, as a variant of FedMKT): the LLM teaches, and learns from nobody.

The LLM is tuned on the server's text before round 1. Then each round an SLM takes cross-entropy
steps on its device's text, and learns from the LLM on public text as in FedMKT; nothing flows back.
"""

from dataclasses import dataclass, field

from coplms.config.method import MethodConfig, OptimizerConfig
from coplms.consortium.journal import Journal, Label
from coplms.consortium.members import OWN
from coplms.consortium.messages import SERVER
from coplms.methods.baseline import Parties, clients
from coplms.methods.fedmkt import Bridges, FedMkt, tune_locally
from coplms.methods.standalone import tune_alone
from coplms.training.phases import Phase


@dataclass(frozen=True)
class Llm2Slm:
    """The baseline of that name."""

    config: MethodConfig
    optimizer: OptimizerConfig
    bridges: Bridges = field(default_factory=Bridges)

    def round(self, number: int, parties: Parties, journal: Journal) -> None:
        """Tune, then teach the SLMs."""
        llm = parties.llm

        def work(phase: Phase) -> dict[str, float]:
            steps = self.config.server_steps
            return tune_alone(llm, parties.server.train, steps, self.optimizer, phase)

        if number == 1:
            journal.phase(Label(1, SERVER, "tune"), work, [llm.parts[OWN]])
        names = parties.drawn(number)
        for client in clients(parties, names):
            tune_locally(self.config, self.optimizer, number, client, parties, journal)
        FedMkt(self.config, self.optimizer, self.bridges).teach(number, names, parties, journal)
