"""Federated averaging among devices with the same model.

FedAvg (McMahan et al. 2017, arXiv:1602.05629, algorithm 1), for LoRA FedIT (arXiv:2305.05644). A
model of another architecture cannot be averaged with, so each group of equal models averages by
itself, a device without its like is tuned alone, and so is the LLM.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from coplms.config.method import MethodConfig, OptimizerConfig
from coplms.consortium.aggregate import weighted_mean
from coplms.consortium.journal import Journal, Label
from coplms.consortium.messages import SERVER, Upload
from coplms.methods.baseline import Client, Parties, clients, visible
from coplms.methods.standalone import Standalone
from coplms.training.phases import Phase


@dataclass(eq=False)
class Average:
    """What a group has in common after a round; a checkpoint holds it.

    Attributes:
        name: In checkpoints.
        values: Of the trained part; empty before the first round.
    """

    name: str
    values: dict[str, Tensor] = field(default_factory=dict)

    def state(self) -> dict[str, Tensor]:
        """The values."""
        return self.values

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the values of a checkpoint."""
        self.values = dict(state)


@dataclass(frozen=True)
class FedLora:
    """The baseline of that name."""

    config: MethodConfig
    optimizer: OptimizerConfig

    def round(self, number: int, parties: Parties, journal: Journal) -> None:
        """Those that are drawn tune; equal models are averaged, and all their devices get that."""
        alone = Standalone(self.config, self.optimizer)
        drawn = parties.drawn(number)
        for client in clients(parties, drawn):
            alone.tune_client(number, client, visible(client, parties), journal)
        alone.tune_server(number, parties, parties.server.train, journal)
        for place, group in enumerate(parties.groups):
            senders = [name for name in group if name in drawn]
            if len(group) > 1 and senders:
                self._average(number, place, senders, group, parties, journal)

    def _average(
        self,
        number: int,
        place: int,
        senders: Sequence[str],
        group: Sequence[str],
        parties: Parties,
        journal: Journal,
    ) -> None:
        average = Average(f"{SERVER}/group-{place}")
        journal.restore(average)

        def aggregate(_: Phase) -> dict[str, float]:
            average.values = weighted_mean(uploads(number, senders, parties))
            return {"num_devices": len(senders)}

        sent = parties.senders(senders, "up")
        journal.phase(Label(number, SERVER, f"aggregate-{place}"), aggregate, [average, *sent])
        hand_out(number, average.values, group, parties, journal)


def uploads(number: int, names: Sequence[str], parties: Parties) -> Iterator[Upload]:
    """What each device sends of its model, one at a time."""
    for client in clients(parties, names):
        values = parties.carry_part(number, client, "up", client.part.values())
        yield Upload(number, client.name, values, len(client.data.train))


def hand_out(
    number: int,
    average: Mapping[str, Tensor],
    names: Sequence[str],
    parties: Parties,
    journal: Journal,
) -> None:
    """Each of these devices gets the average, and goes on from what arrives of it."""
    for client in clients(parties, names):

        def receive(_: Phase, client: Client = client) -> dict[str, float]:
            client.part.load_values(parties.carry_part(number, client, "down", average))
            return {}

        sent = parties.senders([client.name], "down")
        journal.phase(Label(number, client.name, "receive"), receive, [client.part, *sent])
