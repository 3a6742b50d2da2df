"""Bytes that a run writes to disk and sends over the wire."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from coplms.api.plan import ModelPlan, Size
from coplms.api.public import text_bytes
from coplms.api.reading import Lengths
from coplms.config.participation import draw_devices
from coplms.config.run import RunConfig
from coplms.config.transport import TransportConfig
from coplms.consortium.members import PublicText
from coplms.consortium.messages import SERVER
from coplms.data.members import ConsortiumData
from coplms.errors import RunError
from coplms.models.load import vocab_size
from coplms.report.costs import size_text
from coplms.transport.packing import SCALE_BYTES

_LOGIT_AND_ID = torch.float32.itemsize + torch.int32.itemsize

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
        rounds: How many there are; a last download to all devices follows.
        welcome: Bytes to each device before round 1: DPM, tokenizer and public text.
        per_round: Bytes of one round, both directions, all devices that take part: on average, for
            a baseline whose rounds differ.
        last: Bytes to each device after the last round: the shared part as it travels.
    """

    num_devices: int
    rounds: int
    welcome: int
    per_round: int
    last: int

    @property
    def total(self) -> int:
        """Bytes of the whole run."""
        return self.num_devices * (self.welcome + self.last) + self.rounds * self.per_round


def estimate_traffic(
    config: RunConfig,
    plans: Sequence[ModelPlan],
    data: ConsortiumData,
    lengths: Mapping[str, Lengths],
) -> Traffic:
    """What travels in a run; message headers are left out.

    Args:
        config: The run's.
        plans: The models of every member, the server first.
        data: Who holds what.
        lengths: By member, in the tokens of its own model; a baseline may send something for each.
    """
    devices, rounds = len(config.devices), config.method.rounds
    if config.method.name != "coplms":
        sent = sum(
            _sent(config, plans, _drawn(config, number), len(data.server.train), lengths)
            for number in range(1, rounds + 1)
        )
        return Traffic(devices, rounds, 0, round(sent / rounds), 0)
    dpm = plans[1]
    held = data.server
    text = text_bytes(PublicText(held.train, held.dev, data.offered_test, data.transfer))
    tokenizer = len(dpm.outline.model.tokenizer.backend_tokenizer.to_str(pretty=True).encode())
    shared = _packed_bytes(dpm.parts[0].size, config.transport)
    return Traffic(
        num_devices=devices,
        rounds=rounds,
        welcome=dpm.folder_bytes + tokenizer + text,
        per_round=2 * _num_chosen(config) * shared,
        last=shared,
    )


def _sent(
    config: RunConfig,
    plans: Sequence[ModelPlan],
    drawn: Sequence[str],
    num_public: int,
    lengths: Mapping[str, Lengths],
) -> int:
    """Bytes of one round of a baseline; only weights take the form of `transport.form`."""
    own = {plan.member: plan for plan in plans if plan.member == SERVER or plan.role == "slm"}
    if config.method.name == "fedlora":
        # Those that are drawn send; all devices of their group are sent the average.
        groups = Counter(id(plan.outline) for member, plan in own.items() if member != SERVER)
        senders = Counter(id(own[name].outline) for name in drawn)
        sizes = {id(plan.outline): plan.parts[0].size for plan in own.values()}
        return sum(
            (count + groups[group]) * _packed_bytes(sizes[group], config.transport)
            for group, count in senders.items()
            if groups[group] > 1
        )
    if config.method.name == "fedcollm":  # likewise
        num_messages = len(drawn) + len(config.devices)
        return num_messages * _packed_bytes(plans[1].parts[0].size, config.transport)

    def said(member: str) -> int:
        """What a member says of the public text: K logits and ids a token, a cost an answer."""
        k = min(config.method.fedmkt.top_tokens, vocab_size(own[member].outline.model))
        tokens = num_public * lengths[member].mean_answer
        return round(tokens * k * _LOGIT_AND_ID) + num_public * torch.float32.itemsize

    if config.method.name == "llm2slm":
        return len(drawn) * said(SERVER)
    if config.method.name == "fedmkt":
        return len(drawn) * said(SERVER) + sum(map(said, drawn))
    return 0


def _drawn(config: RunConfig, round_number: int) -> list[str]:
    names = [device.name for device in config.devices]
    return draw_devices(names, config.method.participation, config.seed, round_number)


def _num_chosen(config: RunConfig) -> int:
    return len(_drawn(config, 1))


def _packed_bytes(size: Size, transport: TransportConfig) -> int:
    """Bytes of a shared part on the wire, as `coplms.transport.packing` has them."""
    if not transport.is_lossy:
        return size.num_bytes
    if transport.form == "bfloat16":
        return 2 * size.num_parameters
    return size.num_parameters + SCALE_BYTES * -(-size.num_parameters // transport.block)


def check_disk(config: RunConfig, plans: Sequence[ModelPlan], output: Path) -> DiskCheck:
    """What the run's folder needs, and what there is.

    Args:
        config: The run's.
        plans: The models of every member, the server first.
        output: The run's folder; need not exist.
    """
    parts = [part.size.num_bytes for plan in plans for part in plan.parts]
    own = [part.size.num_bytes for plan in plans if plan.role != "dpm" for part in plan.parts]
    proxies = [plan for plan in plans if plan.role == "dpm"]
    alone = sum(own) if config.alone and config.method.name == "coplms" else 0
    # A phase changes a model's own part and the shared part, and writes both before it removes
    # their older states.
    written = max(own) + max((plan.parts[0].size.num_bytes for plan in proxies), default=0)
    existing = next(each for each in (output, *output.absolute().parents) if each.exists())
    return DiskCheck(
        checkpoints=STATES * (sum(parts) + alone + written) + _messages(config, plans),
        proxies=proxies[0].folder_bytes if proxies else 0,
        results=sum(parts),
        present=sum(file.stat().st_size for file in output.rglob("*") if file.is_file()),
        free=shutil.disk_usage(existing).free,
    )


def _messages(config: RunConfig, plans: Sequence[ModelPlan]) -> int:
    """Bytes of the messages that are kept, and of what they lost."""
    transport, name = config.transport, config.method.name
    if name == "coplms":
        proxies = [plan.parts[0].size for plan in plans if plan.role == "dpm"]
        uploads = _num_chosen(config) * _packed_bytes(proxies[0], transport)
        return (len(proxies) + 1) * _sender_bytes(proxies[0], transport) + uploads
    if name in ("fedlora", "fedcollm") and transport.is_lossy:
        own = [plan.parts[0].size for plan in plans if plan.member != SERVER]
        return 2 * sum(_sender_bytes(size, transport) for size in own)
    return 0


def _sender_bytes(size: Size, transport: TransportConfig) -> int:
    """What one direction of a part keeps: its newest message, and what it has lost."""
    lost = 4 * size.num_parameters if transport.is_lossy else 0
    return _packed_bytes(size, transport) + lost


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
