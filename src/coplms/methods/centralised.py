"""All text in one place: the upper bound, which breaks privacy."""

from dataclasses import dataclass

from coplms.config.method import MethodConfig, OptimizerConfig
from coplms.consortium.journal import Journal
from coplms.methods.baseline import Parties
from coplms.methods.standalone import Standalone


@dataclass(frozen=True)
class Centralised:
    """Every model is tuned alone, on the text of all."""

    config: MethodConfig
    optimizer: OptimizerConfig

    def round(self, number: int, parties: Parties, journal: Journal) -> None:
        """Cross-entropy on everything."""
        alone = Standalone(self.config, self.optimizer)
        text = [*parties.private(), *parties.public.labelled]
        for name in parties.names:
            alone.tune_client(number, parties.client(name), text, journal)
        alone.tune_server(number, parties, text, journal)
