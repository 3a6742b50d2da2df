"""Whom a run's messages go to, when, and by what."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coplms.config.participation import draw_devices
from coplms.config.run import RunConfig
from coplms.config.terms import Terms
from coplms.consortium.report import DeviceReport
from coplms.transport.ledger import Ledger
from coplms.transport.link import Link


@dataclass(frozen=True)
class Rules:
    """Who is asked, and how long for.

    Attributes:
        seed: Decides who takes part in which round.
        participation: Part of the devices that is drawn in a round.
        quorum: Part of those that must answer.
        greet_seconds: Deadline of the first contact.
        round_seconds: Deadline of a round.
        finish_seconds: Deadline of the work after the last round.
    """

    seed: int
    participation: float
    quorum: float
    greet_seconds: float
    round_seconds: float
    finish_seconds: float

    def chosen(self, devices: Sequence[str], round_number: int) -> list[str]:
        """The devices that take part in a round, in their order."""
        return draw_devices(devices, self.participation, self.seed, round_number)

    def least(self, num_chosen: int) -> int:
        """How many of the chosen devices must answer."""
        return max(1, math.ceil(self.quorum * num_chosen - 1e-9))


@dataclass(frozen=True)
class Notice:
    """Something that a watching person would like to know now.

    Attributes:
        round_number: From 1; 0 at first contact.
        device: Whom it is about.
        what: `ready`, `upload`, `finished`, or why there is none.
        failed: Whether it is a failure.
        num_bytes: Of the device's answer.
        report: What the device told.
    """

    round_number: int
    device: str
    what: str
    failed: bool = False
    num_bytes: int = 0
    report: DeviceReport | None = None


@dataclass(frozen=True)
class Post:
    """Whom a run's messages go to, and by what.

    Attributes:
        link: Carries them.
        devices: Names of all that are expected, in the configuration's order.
        scored: Those whose models are scored.
        terms: What they are told at first contact.
        rules: Who is asked when, and for how long.
        ledger: Counts bytes.
        folder: The run's.
        watch: Gets every notice.
    """

    link: Link
    devices: tuple[str, ...]
    scored: frozenset[str]
    terms: Terms
    rules: Rules
    ledger: Ledger
    folder: Path
    watch: Callable[[Notice], None]


def rules_of(config: RunConfig) -> Rules:
    """The rules that a configuration asks for."""
    network = config.network
    return Rules(
        seed=config.seed,
        participation=config.method.participation,
        quorum=network.quorum,
        greet_seconds=network.prepare_seconds,
        round_seconds=network.round_seconds,
        finish_seconds=network.finish_seconds,
    )
