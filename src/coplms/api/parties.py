"""The members of a baseline's run: `coplms.methods.baseline.Parties`, on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from coplms.api.assemble import Assembler
from coplms.api.server import ServerBuilder
from coplms.api.workshop import Workshop
from coplms.config.method import WITH_PROXY
from coplms.config.model import ModelConfig
from coplms.config.participation import draw_devices
from coplms.config.run import RunConfig
from coplms.consortium.journal import Saved
from coplms.consortium.members import (
    OWN,
    SHARED,
    PublicText,
    pair_learners,
    use_domain_adapter,
)
from coplms.consortium.messages import SERVER
from coplms.data.example import Example
from coplms.data.members import MemberData
from coplms.methods.baseline import Client
from coplms.training.learner import Learner
from coplms.training.pair import Pairing
from coplms.transport.codec import Message, Schema, decode, encode
from coplms.transport.ledger import Direction, Ledger, LedgerEntry
from coplms.transport.part_exchange import PartExchange


@dataclass(eq=False)
class SimulatedParties:
    """Server and devices, whose networks are shared where they are equal.

    Attributes:
        builder: Knows configuration, text and journal of the run.
        workshop: The devices' networks.
        ledger: Counts messages.
    """

    builder: ServerBuilder
    workshop: Workshop
    ledger: Ledger

    def __post_init__(self) -> None:
        self._slms = {each.name: each.slm for each in self.config.devices if each.slm is not None}
        self._exchanges: dict[str, PartExchange] = {}

    @property
    def config(self) -> RunConfig:
        """The run's."""
        return self.builder.config

    @property
    def assembler(self) -> Assembler:
        """Builds learners."""
        return self.builder.assembler

    @property
    def has_proxy(self) -> bool:
        """Whether devices tune the DPM."""
        return self.config.method.name in WITH_PROXY

    # What methods are told -----------------------------------------------------------------

    @property
    def names(self) -> Sequence[str]:
        """All devices."""
        return list(self._slms)

    @property
    def groups(self) -> Sequence[Sequence[str]]:
        """All devices, each beside those with an SLM of the same `Client.group`."""
        found: dict[str, list[str]] = {}
        for name, model in self._slms.items():
            found.setdefault(_group_of(model), []).append(name)
        return list(found.values())

    @property
    def cache(self) -> Path | None:
        """Folder of class and vocabulary maps."""
        return self.builder.cache

    @property
    def server(self) -> MemberData:
        """The server's text."""
        return self.builder.data.server

    @cached_property
    def public(self) -> PublicText:
        """Text that every member has."""
        data = self.server
        return PublicText(data.train, data.dev, data.test, self.builder.data.transfer)

    @cached_property
    def llm(self) -> Learner:
        """The server's LLM, in its newest state."""
        config = self.config
        steps = config.method.server_steps
        learner = self.assembler.own(config.llm, "llm", steps, f"{SERVER}/llm")
        self.builder.journal.restore(learner.parts[OWN])
        return learner

    @cached_property
    def proxy(self) -> Pairing:
        """The server's DPM (left) and LLM (right); the DPM is distilled if it is not yet."""
        if not self.has_proxy:
            raise AttributeError(f"method '{self.config.method.name}' has no proxy")
        dpm = self.assembler.proxy(self.builder.proxy_folder(self.llm), SERVER)
        steps, parameters = self.config.method.server_steps, dpm.parts[SHARED].parameters
        rate = self.assembler.proxy_learning_rate
        dpm.parts[SHARED] = self.assembler.part(f"{SERVER}/dpm-shared", parameters, steps, rate)
        self.builder.journal.restore(dpm.parts[SHARED])
        return pair_learners(dpm, self.llm, self.cache)

    def drawn(self, round_number: int) -> Sequence[str]:
        """The devices that take part in a round."""
        config = self.config
        return draw_devices(self.names, config.method.participation, config.seed, round_number)

    def client(self, name: str) -> Client:
        """A device in its newest state."""
        client = self._proxy_client(name) if self.has_proxy else self._slm_client(name)
        if self.config.transport.is_lossy and name not in self._exchanges:
            self._exchanges[name] = self._exchange(client)
        self.builder.journal.restore(client.part)
        return client

    def private(self) -> Sequence[Example]:
        """All devices' text together."""
        return [example for name in self.names for example in self.builder.data.devices[name].train]

    def carry(
        self,
        round_number: int,
        device: str,
        direction: Direction,
        tensors: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """What arrives of a message; its bytes are those of `coplms.transport.codec`."""
        sender = device if direction == "up" else SERVER
        data = encode(Message("baseline", round_number, sender, dict(tensors), {}))
        values = sum(value.numel() * value.element_size() for value in tensors.values())
        content = {"shared": values, "info": len(data) - values}
        self.ledger.append(LedgerEntry(round_number, device, direction, len(data), values, content))
        return decode(data, Schema("baseline", None, len(data))).tensors

    def carry_part(
        self, round_number: int, client: Client, direction: Direction, values: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What arrives of a client's trained part, in the form of `transport.form`."""
        if not self.config.transport.is_lossy:
            return self.carry(round_number, client.name, direction, values)
        exchange = self._exchanges[client.name]
        packed = exchange.pack(direction, values)
        arrived = self.carry(round_number, client.name, direction, {"packed": packed})
        return exchange.receive(direction, arrived["packed"])

    def senders(self, names: Sequence[str], direction: Direction) -> Sequence[Saved]:
        """What a checkpoint has to hold of these clients' messages: nothing where none loses."""
        if not self.config.transport.is_lossy:
            return []
        return [self._exchanges[name].senders[direction] for name in names]

    # Devices -------------------------------------------------------------------------------

    def _exchange(self, untrained: Client) -> PartExchange:
        transport = self.config.transport
        initial = untrained.part.values()
        found = PartExchange(untrained.name, initial, transport.form, transport.block)
        for sender in found.senders.values():
            self.builder.journal.restore(sender)
        return found

    def slm_of(self, name: str) -> ModelConfig:
        """What a device's SLM is made from."""
        return self._slms[name]

    def _slm_client(self, name: str) -> Client:
        model = self._slms[name]
        steps = self.config.method.device_steps
        learner = self.workshop.slm(self.assembler, model, f"{name}/slm", steps)
        data = self.builder.data.devices[name]
        return Client(name, learner, learner.parts[OWN], data, _group_of(model))

    def _proxy_client(self, name: str) -> Client:
        folder: Path = self.builder.proxy_folder(self.llm)
        learner = self.workshop.dpm(self.assembler, folder, name)
        use_domain_adapter(learner, on=False)
        parameters, steps = learner.parts[SHARED].parameters, self.config.method.device_steps
        rate = self.assembler.proxy_learning_rate
        learner.parts[SHARED] = self.assembler.part(f"{name}/dpm-shared", parameters, steps, rate)
        data = self.builder.data.devices[name]
        return Client(name, learner, learner.parts[SHARED], data, "dpm")


def _group_of(slm: ModelConfig) -> str:
    """Equal for SLMs that are copies of one another before training."""
    return slm.model_dump_json()
