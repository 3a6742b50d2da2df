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
        """Everybody tunes, equal models are averaged, and their devices get the average."""
        alone = Standalone(self.config, self.optimizer)
        groups: dict[str, list[str]] = {}
        for client in clients(parties, parties.drawn(number)):
            groups.setdefault(client.group, []).append(client.name)
            alone.tune_client(number, client, visible(client, parties), journal)
        alone.tune_server(number, parties, parties.server.train, journal)
        for place, names in enumerate(groups.values()):
            if len(names) > 1:
                self._average(number, place, names, parties, journal)

    def _average(
        self, number: int, place: int, names: Sequence[str], parties: Parties, journal: Journal
    ) -> None:
        average = Average(f"{SERVER}/group-{place}")
        journal.restore(average)

        def aggregate(_: Phase) -> dict[str, float]:
            average.values = weighted_mean(uploads(number, names, parties))
            return {"num_devices": len(names)}

        sent = parties.senders(names, "up")
        journal.phase(Label(number, SERVER, f"aggregate-{place}"), aggregate, [average, *sent])
        for client in clients(parties, names):

            def receive(_: Phase, client: Client = client) -> dict[str, float]:
                values = parties.carry_part(number, client, "down", average.values)
                client.part.load_values(values)
                return {}

            sent = parties.senders([client.name], "down")
            journal.phase(Label(number, client.name, "receive"), receive, [client.part, *sent])


def uploads(number: int, names: Sequence[str], parties: Parties) -> Iterator[Upload]:
    """What each device sends of its model, one at a time."""
    for client in clients(parties, names):
        values = parties.carry_part(number, client, "up", client.part.values())
        yield Upload(number, client.name, values, len(client.data.train))
