"""Memory that a machine has left."""

import os
from pathlib import Path

import torch


def available_memory(device: torch.device) -> int:
    """Bytes that a new process could take: of the GPU, or of the machine or container."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return min(_machine(Path("/proc/meminfo")), _container(Path("/sys/fs/cgroup")))


def _machine(table: Path) -> int:
    if table.is_file():
        for line in table.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _container(group: Path) -> int:
    """What a control group (version 2) leaves free; without a limit, more than any machine has."""
    try:
        most = (group / "memory.max").read_text(encoding="ascii").strip()
        taken = int((group / "memory.current").read_text(encoding="ascii"))
    except OSError:
        return 2**63
    return 2**63 if most == "max" else max(0, int(most) - taken)
