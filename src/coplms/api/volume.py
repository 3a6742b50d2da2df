"""Bytes that a run writes to disk and sends over the wire."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coplms.api.plan import ModelPlan, Size
from coplms.api.public import text_bytes
from coplms.config.run import RunConfig
from coplms.config.transport import TransportConfig
from coplms.consortium.members import PublicText
from coplms.data.members import ConsortiumData
from coplms.errors import RunError
from coplms.report.costs import size_text
from coplms.transport.packing import SCALE_BYTES

STATES = 3
"""A checkpoint holds every trained weight and AdamW's two moments."""


@dataclass(frozen=True)
class DiskCheck:
    """Room for the run's folder.

    Attributes:
        checkpoints: Bytes of the newest states and messages, and of those that are being written.
        proxies: Bytes of the DPM.
        results: Bytes of adapters and fully tuned models at the end.
        present: Bytes that an earlier start has already written.
        free: Bytes that the file system has left.
    """

    checkpoints: int
    proxies: int
    results: int
    present: int
    free: int

    @property
    def needed(self) -> int:
        """Bytes that are still to be written."""
        return max(0, self.checkpoints + self.proxies + self.results - self.present)


@dataclass(frozen=True)
class Traffic:
    """Bytes over the wire; the server sends and receives them all.

    Attributes:
        num_devices: Receivers.
        num_chosen: Those that take part in a round.
        rounds: Each is one download and one upload; a last download to all devices follows.
        welcome: Bytes to each device before round 1: DPM, tokenizer and public text.
        shared: Bytes of the shared part as it travels, once.
    """

    num_devices: int
    num_chosen: int
    rounds: int
    welcome: int
    shared: int

    @property
    def per_round(self) -> int:
        """Bytes of one round, both directions, all devices that take part."""
        return 2 * self.num_chosen * self.shared

    @property
    def total(self) -> int:
        """Bytes of the whole run."""
        once = self.num_devices * (self.welcome + self.shared)
        return once + self.rounds * self.per_round


def estimate_traffic(
    config: RunConfig, plans: Sequence[ModelPlan], data: ConsortiumData
) -> Traffic:
    """What travels in a run; message headers are left out."""
    dpm = plans[1]
    held = data.server
    text = text_bytes(PublicText(held.train, held.dev, data.offered_test, data.transfer))
    tokenizer = len(dpm.outline.model.tokenizer.backend_tokenizer.to_str(pretty=True).encode())
    return Traffic(
        num_devices=len(config.devices),
        num_chosen=_num_chosen(config),
        rounds=config.method.rounds,
        welcome=dpm.folder_bytes + tokenizer + text,
        shared=_packed_bytes(dpm.parts[0].size, config.transport),
    )


def _num_chosen(config: RunConfig) -> int:
    """Devices in a round, as `coplms.config.participation` draws them."""
    return max(1, round(config.method.participation * len(config.devices)))


def _packed_bytes(size: Size, transport: TransportConfig) -> int:
    """Bytes of a shared part on the wire, as `coplms.transport.packing` has them."""
    if transport.form == "lossless":
        return size.num_bytes
    if transport.form == "bfloat16":
        return 2 * size.num_parameters
    return size.num_parameters + SCALE_BYTES * -(-size.num_parameters // transport.block)


def check_disk(config: RunConfig, plans: Sequence[ModelPlan], output: Path) -> DiskCheck:
    """What the run's folder needs, and what there is.

    Args:
        config: The run's.
        plans: LLM or SLM and DPM of every member, the server first.
        output: The run's folder; need not exist.
    """
    parts = [part.size.num_bytes for plan in plans for part in plan.parts]
    own = [part.size.num_bytes for plan in plans if plan.role != "dpm" for part in plan.parts]
    alone = sum(own) if config.alone else 0
    # A phase changes a model's own part and the shared part, and writes both before it removes
    # their older states.
    written = max(own) + plans[1].parts[0].size.num_bytes
    shared = plans[1].parts[0].size
    packed = _packed_bytes(shared, config.transport)
    lost = 0 if config.transport.form == "lossless" else 4 * shared.num_parameters
    senders = sum(plan.role == "dpm" for plan in plans)
    # Every sender keeps its newest message and what it lost; the server keeps a round's uploads.
    messages = (senders + 1) * (packed + lost) + _num_chosen(config) * packed
    existing = next(each for each in (output, *output.absolute().parents) if each.exists())
    return DiskCheck(
        checkpoints=STATES * (sum(parts) + alone + written) + messages,
        proxies=plans[1].folder_bytes,
        results=sum(parts),
        present=sum(file.stat().st_size for file in output.rglob("*") if file.is_file()),
        free=shutil.disk_usage(existing).free,
    )


def disk_error(disk: DiskCheck, output: Path) -> RunError | None:
    """The refusal of a run that would fill the disk."""
    if disk.needed <= disk.free:
        return None
    return RunError(
        f"{output}: the run needs {size_text(disk.needed)} (checkpoints "
        f"{size_text(disk.checkpoints)}, DPMs {size_text(disk.proxies)}, results "
        f"{size_text(disk.results)}), and the disk has {size_text(disk.free)} left. Free some, "
        "give an --output on another disk, or train less: `tuning: {kind: lora}`."
    )
