"""`coplms.api.available`: what a machine has left."""

from pathlib import Path

import pytest
import torch

from coplms.api.available import _container, _machine, available_memory

CPU = torch.device("cpu")


def test_what_linux_calls_available_is_taken(tmp_path: Path) -> None:
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:  2000 kB\n")
    assert _machine(table) == 2_048_000


def test_without_such_a_table_the_whole_memory_is_taken(tmp_path: Path) -> None:
    assert _machine(tmp_path / "absent") >= available_memory(CPU)


@pytest.mark.parametrize(("most", "left"), [("1000", 900), ("50", 0), ("max", 2**63)])
def test_a_containers_limit_counts(tmp_path: Path, most: str, left: int) -> None:
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text("100\n")
    assert _container(tmp_path) == left


def test_no_container_is_no_limit(tmp_path: Path) -> None:
    assert _container(tmp_path) == 2**63
