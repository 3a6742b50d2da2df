"""FedCoLLM (arXiv:2411.11707): one small model for all, averaged, and taught beside the LLM.

Each round:

    device   cross-entropy of the small model on the device's text
             send its trained part
    server   average the parts into its own copy
             mutual learning of small model and LLM on public text:
                 L_g = CE(g) + lambda KL(f || g)      L_f = CE(f) + lambda KL(g || f)
             send the small model's part

All devices need the same architecture, of the LLM's family: here that of the DPM, as it is after
distillation. A device's own SLM has no place in it.
"""

from dataclasses import dataclass

from coplms.config.method import FedCollmConfig, MethodConfig, OptimizerConfig
from coplms.consortium.aggregate import weighted_mean
from coplms.consortium.journal import Journal, Label
from coplms.consortium.members import OWN, SHARED
from coplms.consortium.messages import SERVER
from coplms.losses.mutual import Exchange
from coplms.methods.baseline import Parties, clients, part_of, visible
from coplms.methods.fedlora import hand_out, uploads
from coplms.methods.standalone import Standalone
from coplms.training.phases import Phase, mutual_learn
from coplms.training.pools import Pool


@dataclass(frozen=True)
class FedCollm:
    """The baseline of that name."""

    config: MethodConfig
    optimizer: OptimizerConfig

    def round(self, number: int, parties: Parties, journal: Journal) -> None:
        """Tune, average, learn from each other, send."""
        names = parties.drawn(number)
        alone = Standalone(self.config, self.optimizer)
        for client in clients(parties, names):
            alone.tune_client(number, client, visible(client, parties), journal)
        pairing = parties.proxy
        shared, own = pairing.left.parts[SHARED], pairing.right.parts[OWN]

        def aggregate(_: Phase) -> dict[str, float]:
            shared.load_values(weighted_mean(uploads(number, names, parties)))
            return {"num_devices": len(names)}

        def mutual(phase: Phase) -> dict[str, float]:
            exchange = exchange_of(self.config.fedcollm)
            steps = part_of(self.config.server_steps, number, self.config.rounds)
            pools = [Pool(parties.server.train, self.optimizer.batch_size)]
            return mutual_learn(
                pairing, (shared, own), pools, steps, lambda: exchange, self.optimizer, phase
            )

        sent = parties.senders(names, "up")
        journal.phase(Label(number, SERVER, "aggregate"), aggregate, [shared, *sent])
        journal.phase(Label(number, SERVER, "mutual"), mutual, [shared, own])
        hand_out(number, shared.values(), parties.names, parties, journal)


def exchange_of(config: FedCollmConfig) -> Exchange:
    """What the two models learn from each other: everything, from the first step on."""
    return Exchange(config.weight, config.temperature, gate="none")
