"""Bytes that a run writes to disk and sends over the wire."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coplms.api.plan import ModelPlan
from coplms.config.run import RunConfig
from coplms.consortium.messages import PublicText, Welcome, welcome_message
from coplms.data.members import ConsortiumData
from coplms.errors import RunError
from coplms.report.costs import size_text
from coplms.transport.codec import count_tensor_bytes

STATES = 3
"""A checkpoint holds every trained weight and AdamW's two moments."""


@dataclass(frozen=True)
class DiskCheck:
    """Room for the run's folder.

    Attributes:
        checkpoints: Bytes of the newest states, and of the one that is being written.
        proxies: Bytes of the DPM, on the server and as received by each device.
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
        rounds: Each is one download and one upload; a last download follows.
        welcome: Bytes to each device before round 1: DPM, tokenizer and public text.
        shared: Bytes of the shared part, once.
    """

    num_devices: int
    rounds: int
    welcome: int
    shared: int

    @property
    def per_round(self) -> int:
        """Bytes of one round, both directions, all devices."""
        return 2 * self.num_devices * self.shared

    @property
    def total(self) -> int:
        """Bytes of the whole run."""
        downloads_and_uploads = 2 * self.rounds + 1
        return self.num_devices * (self.welcome + downloads_and_uploads * self.shared)


def estimate_traffic(
    config: RunConfig, plans: Sequence[ModelPlan], data: ConsortiumData
) -> Traffic:
    """What travels in a run; message headers are left out."""
    dpm = plans[1]
    public = PublicText(data.server.train, data.server.dev, data.transfer)
    text = count_tensor_bytes(welcome_message(Welcome({}, public)).tensors)
    tokenizer = len(dpm.outline.model.tokenizer.backend_tokenizer.to_str(pretty=True).encode())
    return Traffic(
        num_devices=len(config.devices),
        rounds=config.method.rounds,
        welcome=dpm.folder_bytes + tokenizer + text,
        shared=dpm.parts[0].size.num_bytes,
    )


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
    existing = next(each for each in (output, *output.absolute().parents) if each.exists())
    return DiskCheck(
        checkpoints=STATES * (sum(parts) + alone + written),
        proxies=(1 + len(config.devices)) * plans[1].folder_bytes,
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
