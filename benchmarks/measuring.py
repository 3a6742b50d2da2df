"""Time, memory and machine: what every benchmark measures in one way."""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from coplms.api.provenance import processor_name

Work = Callable[[], object]
Times = list[tuple[float, float]]
"""Seconds and CPU seconds of every repeat."""


def alternate(works: Sequence[Work], repeats: int, warm_up: int) -> list[Times]:
    """How long every repeat of each work took; the works take turns."""
    times: list[Times] = [[] for _ in works]
    for repeat in range(warm_up + repeats):
        for index, work in enumerate(works):
            started, cpu_started = time.perf_counter(), time.process_time()
            work()
            took = (time.perf_counter() - started, time.process_time() - cpu_started)
            if repeat >= warm_up:
                times[index].append(took)
    return times


def median(times: Times, *, cpu: bool = False) -> float:
    return statistics.median(each[cpu] for each in times)


def timing(times: Times, num_tokens: int) -> dict[str, float]:
    return {
        "median_seconds": median(times),
        "median_cpu_seconds": median(times, cpu=True),
        "least_seconds": min(times)[0],
        "tokens_per_second": num_tokens / median(times),
    }


def peak_bytes(work: Work) -> int:
    """The most bytes of tensors that `work` holds at a time, beyond those that were there before.

    Counted from every allocation that PyTorch's profiler sees. Unlike a process's resident memory
    it does not depend on what ran before, on the C library or on the machine's load.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = [
        (event["args"]["Ev Idx"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]"
    ]
    held = peak = 0
    for _, change in sorted(changes):
        held += change
        peak = max(peak, held)
    return peak


def describe_machine() -> dict[str, object]:
    return {
        "cpu": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
