"""A run's folder before its first phase: opened, or refused, and described."""

import importlib.metadata
import platform
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from coplms.api.assemble import run_devices
from coplms.api.lock import LOCK
from coplms.api.provenance import code_digest, processor_name
from coplms.config.load import dump_config
from coplms.config.run import RunConfig
from coplms.consortium.record import RunRecord, read_yaml
from coplms.consortium.report import DeviceReport
from coplms.data.members import ConsortiumData, MemberData
from coplms.errors import RunError
from coplms.models.load import device_name

_PACKAGES = ("coplms", "torch", "transformers", "peft", "tokenizers", "safetensors", "numpy")
_MAX_DIFFERENCES = 3
_CHANGEABLE = re.compile(r"network\.|compute\.teraflops|.*\bsizes\b")
"""Where the server is, how long it waits, and what only dry runs go by, may change while a run is
stopped."""


def check_folder(folder: Path, config: RunConfig) -> None:
    """Refuses a folder that this run must not write into; changes nothing.

    A run of which no phase is finished yet may be started anew with another configuration.

    Raises:
        RunError: If the folder holds a run with another configuration, or no run at all.
    """
    path = folder / "config.yaml"
    if not path.exists():
        if folder.is_file() or (folder.is_dir() and _has_content(folder)):
            raise RunError(f"{folder} is not empty and holds no run. Give another --output.")
        return
    if not _has_phases(folder):
        return
    if found := differences(read_yaml(path.read_text(encoding="utf-8")), config):
        raise RunError(
            f"{folder} holds a run with another configuration ({found}). "
            "Give another --output, or the configuration that this run was started with."
        )


def open_folder(folder: Path, config: RunConfig) -> RunRecord:
    """The record of a run that begins or goes on in `folder`, with its config.yaml written.

    To be called while the folder is held (`coplms.api.lock`).

    Raises:
        RunError: As `check_folder`.
    """
    check_folder(folder, config)
    record = RunRecord(folder)
    if not _has_phases(folder):
        for name in ("ledger.jsonl", "metrics.jsonl", "report.html", "run-id"):
            (folder / name).unlink(missing_ok=True)
        for name in ("devices", "inbox", "public"):
            shutil.rmtree(folder / name, ignore_errors=True)
        record.write_text("config.yaml", dump_config(config))
    return record


def describe(
    record: RunRecord,
    config: RunConfig,
    data: ConsortiumData,
    reports: Mapping[str, DeviceReport] | None = None,
) -> None:
    """Write who holds how much, and where the run takes place; of far devices what they report."""
    told = {name: report.sizes.model_dump() for name, report in (reports or {}).items()}
    record.write_json(
        "data.json",
        {
            "server": _sizes(data.server),
            "devices": {name: _sizes(member) for name, member in data.devices.items()} | told,
            "transfer": len(data.transfer),
        },
    )
    record.write_json(
        "environment.json",
        {
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "processor": processor_name(),
            "threads": torch.get_num_threads(),
            "device": ", ".join(device_name(device) for device in run_devices(config)),
            "seed": config.seed,
            "code": code_digest(),
            "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    )


def _has_content(folder: Path) -> bool:
    """Whether anything lies there that a process which died early has not left."""
    return any(path.name != LOCK for path in folder.iterdir())


def _has_phases(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("[0-9]*"))


def differences(there: object, config: RunConfig) -> str:
    """`method.rounds is 2 there, 3 here`, and so on; empty where no difference matters.

    Args:
        there: The configuration of a run, as it was written down; a setting that is newer than the
            run has its default.
        config: That of the run that is to be.
    """
    with suppress(ValidationError):  # where a setting is gone since
        there = RunConfig.model_validate(there).model_dump(mode="json")
    left, right = dict(_leaves(there)), dict(_leaves(config.model_dump(mode="json")))
    keys = [
        key
        for key in {**left, **right}
        if left.get(key) != right.get(key) and not _CHANGEABLE.match(key)
    ]
    shown = [
        f"{key} is {left.get(key, 'absent')} there, {right.get(key, 'absent')} here"
        for key in keys[:_MAX_DIFFERENCES]
    ]
    more = len(keys) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{index}]")
    else:
        yield key, value


def _sizes(member: MemberData) -> dict[str, object]:
    domains = Counter(example.domain for example in member.train)
    return {
        "train": len(member.train),
        "dev": len(member.dev),
        "test": len(member.test),
        "domains": dict(sorted(domains.items())),
    }
