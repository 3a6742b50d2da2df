"""`coplms.methods.coplms`: what a device does in a round, and after the last one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from coplms.config.method import (
    DstConfig,
    MethodConfig,
    OptimizerConfig,
    SamlConfig,
    TransferConfig,
)
from coplms.consortium.journal import Journal, Result
from coplms.consortium.members import DOMAIN, OWN, SHARED, Device, PublicText, pair_learners
from coplms.consortium.messages import Download
from coplms.data.members import MemberData
from coplms.methods.coplms import CoPLMs
from coplms.training.learner import Learner
from coplms.training.sft import nats_per_byte
from tests.unit.training.conftest import EXAMPLES, dpm, make_learner, optimizer, slm, tokenizers

__all__ = ["dpm", "make_learner", "optimizer", "slm", "tokenizers"]

Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Seen:
    """A device after a phase.

    Attributes:
        phase: Its name.
        cost: Nats per byte of its private text, by the DPM as it stands.
        parts: Values of every part.
    """

    phase: str
    cost: float
    parts: dict[str, Values]


class Watcher:
    """Looks at a device after each of its phases."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.parts = {**device.dpm.parts, **device.slm.parts}
        self.seen = [self._look("before")]

    def _look(self, phase: str) -> Seen:
        dpm = self.device.dpm
        cost = nats_per_byte(dpm, dpm.encoder(self.device.data.train), 64)
        return Seen(phase, cost, {name: part.values() for name, part in self.parts.items()})

    def phase_started(self, name: str) -> None: ...

    def phase_logged(self, name: str, row: dict[str, float]) -> None: ...

    def phase_finished(self, row: Result, *, again: bool) -> None:
        self.seen.append(self._look(row["phase"]))


Finish = Callable[[int], list[Seen]]


@pytest.fixture
def device(dpm: Learner, slm: Learner) -> Device:
    """With three private examples, and a transfer set."""
    data = MemberData(EXAMPLES[:3], (), ())
    public = PublicText((), (), (), EXAMPLES)
    return Device("one", slm, dpm, data, public, pair_learners(dpm, slm, None))


@pytest.fixture
def aggregate(dpm: Learner) -> dict[str, Tensor]:
    """A shared part that is not the device's."""
    generator = torch.Generator().manual_seed(1)
    values = dpm.parts[SHARED].values()
    return {
        name: torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in values.items()
    }


@pytest.fixture
def finish(
    device: Device,
    optimizer: OptimizerConfig,
    aggregate: dict[str, Tensor],
    tmp_path: Path,
) -> Finish:
    """Steps of the last DST -> a device's phases after the last round, and what was there then."""

    def run(last_steps: int) -> list[Seen]:
        watcher = Watcher(device)
        config = MethodConfig(
            dst=DstConfig(last_steps=last_steps),
            transfer=TransferConfig(steps=2, min_confidence=0.0),
        )
        journal = Journal(tmp_path / str(last_steps), 0, watcher)
        download = Download(4, aggregate)
        CoPLMs(config, optimizer, 4).device_finish(device, download, journal)
        return watcher.seen

    return run


def same(left: Values, right: Values) -> bool:
    return all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.mark.parametrize(
    ("dst_steps", "kinds"), [(0, ["proxy", "saml"]), (2, ["proxy", "dst", "saml"])]
)
def test_a_round_has_dst_where_it_has_steps(
    dst_steps: int,
    kinds: list[str],
    device: Device,
    optimizer: OptimizerConfig,
    aggregate: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    config = MethodConfig(
        dst=DstConfig(steps=dst_steps), saml=SamlConfig(proxy_steps=1, steps=1, server_steps=1)
    )
    journal = Journal(tmp_path, 0, Watcher(device))
    CoPLMs(config, optimizer, 4).device_round(device, Download(1, aggregate), journal)
    assert [row["kind"] for row in journal.rows] == kinds


def test_the_domain_adapter_learns_once_more_on_the_aggregate(
    finish: Finish, aggregate: dict[str, Tensor]
) -> None:
    before, dst, transfer = finish(5)
    assert [dst.phase, transfer.phase] == ["round-4/one/dst", "round-4/one/transfer"]
    assert same(dst.parts[SHARED], aggregate)
    assert not same(dst.parts[DOMAIN], before.parts[DOMAIN])
    assert same(dst.parts[OWN], before.parts[OWN])
    # Then it answers, and only the SLM learns.
    assert same(transfer.parts[SHARED], aggregate)
    assert same(transfer.parts[DOMAIN], dst.parts[DOMAIN])
    assert not same(transfer.parts[OWN], dst.parts[OWN])


def test_what_answers_knows_the_private_text_better_than_the_aggregate(finish: Finish) -> None:
    without, learnt = (finish(steps)[1].cost for steps in (0, 5))
    assert learnt < without - 0.01
