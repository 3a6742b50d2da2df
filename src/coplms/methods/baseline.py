"""What a baseline finds: a consortium whose members are all on this machine.

Baselines are simulated. What their members tell each other goes through `Parties.carry`, which
counts it as the message that a network would carry, and returns only what was in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from coplms.consortium.journal import Journal, Saved
from coplms.consortium.members import PublicText
from coplms.data.example import Example
from coplms.data.members import MemberData
from coplms.training.learner import Learner
from coplms.training.pair import Pairing
from coplms.training.part import Part
from coplms.transport.ledger import Direction


@dataclass(eq=False)
class Client:
    """A device as baselines see it: one model and its text.

    Attributes:
        name: The device's.
        model: Its SLM, or its copy of the DPM where the method knows no other.
        part: What of the model is trained.
        data: The device's private text.
        group: Equal for devices whose models are copies of one another before training.
    """

    name: str
    model: Learner
    part: Part
    data: MemberData
    group: str


class Parties(Protocol):
    """Everyone in a baseline's run."""

    @property
    def llm(self) -> Learner:
        """The server's."""

    @property
    def server(self) -> MemberData:
        """The server's text."""

    @property
    def public(self) -> PublicText:
        """Text that every member has."""

    @property
    def names(self) -> Sequence[str]:
        """All devices."""

    @property
    def groups(self) -> Sequence[Sequence[str]]:
        """All devices, each beside those with an SLM of the same `Client.group`."""

    @property
    def cache(self) -> Path | None:
        """Folder for what follows from tokenizers alone; None keeps nothing."""

    @property
    def proxy(self) -> Pairing:
        """The server's DPM (left) and LLM (right).

        Raises:
            AttributeError: Where the method has no DPM.
        """

    def drawn(self, round_number: int) -> Sequence[str]:
        """The devices that take part in a round."""

    def client(self, name: str) -> Client:
        """A device in its newest state; it is valid until another one is asked for."""

    def private(self) -> Sequence[Example]:
        """All devices' text together: only for the bound that breaks privacy."""

    def carry(
        self,
        round_number: int,
        device: str,
        direction: Direction,
        tensors: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """What arrives of a message, which is counted."""

    def carry_part(
        self,
        round_number: int,
        client: Client,
        direction: Direction,
        values: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """What arrives of a client's trained part, in the form in which the run sends weights."""

    def senders(self, names: Sequence[str], direction: Direction) -> Sequence[Saved]:
        """What a checkpoint has to hold of parts that were carried: what their messages lost."""


class Baseline(Protocol):
    """A method that Co-PLMs is compared with; `coplms.methods` has one file for each."""

    def round(self, number: int, parties: Parties, journal: Journal) -> None:
        """Everyone's work in one round; each part of it is a phase."""


def clients(parties: Parties, names: Sequence[str]) -> Iterator[Client]:
    """Some devices, one at a time."""
    return (parties.client(name) for name in names)


def visible(client: Client, parties: Parties) -> list[Example]:
    """All labelled text that a device may train on: its own and the public one."""
    return [*client.data.train, *parties.public.labelled]


def part_of(total: int, number: int, rounds: int) -> int:
    """Steps of a round, of which all rounds have `total` together.

    >>> [part_of(10, number, 3) for number in (1, 2, 3)]
    [3, 3, 4]
    """
    return total * number // rounds - total * (number - 1) // rounds
