"""What a simulated device costs: seconds per device and round, memory and disk, as devices grow.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --devices 10 100 --seeds 0 1 2 --output scaling.json

Every row is a run of its own, in a new process: generated text of which each device holds eight
examples or more, mini models that were built before, LoRA, a few optimiser steps. Each number of
devices is run twice: `--per-round` of them drawn in each of `--rounds` rounds, and all of them in
one round. A device's round is counted from the server's message to its answer on the server's disk;
what of it is not training is the seat in the shared networks, the journal and the messages. Times
in the table are of the processor, which other work on the machine does not change much; the output
has seconds by the clock too.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

EXAMPLES = 8
"""Private examples per device."""

SEATS = ("mini/slm-llama", "mini/slm-neox")
"""SLMs of the devices; each has half of them."""

TRAINING = frozenset({"dst", "proxy", "saml", "transfer"})
"""Kinds of phases that train."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.child:
        print(json.dumps(run_here(options.child, options.threads)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for number in range(options.warm_up):
            run_apart(options, Path(folder) / f"warm-{number}", len(SEATS), len(SEATS), 0)
        result: dict[str, Any] = {"machine": machine(options), "command": sys.argv, "runs": []}
        for count, chosen, seed in settings(options):
            name = Path(folder) / f"{count}-{chosen}-{seed}"
            result["runs"].append(run_apart(options, name, count, chosen, seed))
            if options.output:  # after every run: many devices take long
                options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(as_table(result))


def settings(options: argparse.Namespace) -> Iterator[tuple[int, int, int]]:
    """Devices, how many of them take part in a round, and the seed of every run."""
    for count in options.devices:
        for chosen in dict.fromkeys((min(options.per_round, count), count)):
            for seed in options.seeds:
                yield count, chosen, seed


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--per-round", type=int, default=10, help="devices drawn in a round")
    parser.add_argument("--rounds", type=int, default=3, help="where not all take part")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=2, help="of each phase of a device")
    parser.add_argument("--hidden", type=int, default=96, help="width of the mini models")
    parser.add_argument("--rank", type=int, default=8, help="of LoRA")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warm-up", type=int, default=1, help="runs that do not count")
    parser.add_argument("--folder", type=Path, help="where the runs are written; then removed")
    parser.add_argument("--output", type=Path, help="JSON with every figure")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


# A run in a process of its own ---------------------------------------------------------------


def run_apart(
    options: argparse.Namespace, folder: Path, num_devices: int, chosen: int, seed: int
) -> dict[str, Any]:
    folder.mkdir()
    rounds = 1 if chosen == num_devices else options.rounds
    config = configuration(options, folder, num_devices, chosen / num_devices, rounds, seed)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, __file__, "--child", str(folder)]
    command += ["--threads", str(options.threads)]
    environment = {**os.environ, "COPLMS_CACHE": str(folder.parent / "cache")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "devices": num_devices,
        "per_round": chosen,
        "rounds": rounds,
        "seed": seed,
        **found,
    }


def configuration(
    options: argparse.Namespace,
    folder: Path,
    num_devices: int,
    participation: float,
    rounds: int,
    seed: int,
) -> dict[str, Any]:
    """A run's configuration; its text is written into the folder."""
    private = 2 * EXAMPLES * num_devices  # the least lucky device gets eight or more
    sizes = {"train": private + 80, "dev": 12, "test": 12}
    for split, size in sizes.items():
        lines = (json.dumps(line) for line in examples(f"{seed}/{split}", size))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    count = -(-num_devices // len(SEATS))
    kinds = [(f"device-{place}", seat) for place, seat in enumerate(SEATS)]
    steps, width = options.steps, {"hidden_size": options.hidden, "heads": 4, "steps": 0}
    llm = {"name": "llm", "architecture": "llama", "tokenizer": "byte_bpe", "vocab_size": 1024}
    slm = {"name": "slm-llama", "architecture": "llama", "tokenizer": "unigram", "vocab_size": 800}
    neox = {"name": "slm-neox", "architecture": "gpt_neox", "tokenizer": "byte_bpe"}
    return {
        "seed": seed,
        "llm": {"model": "mini/llm"},
        "dpm": {"layers": 2},
        "devices": [{"name": name, "slm": {"model": seat}, "count": count} for name, seat in kinds],
        "data": {
            "pool": {
                **{split: {"path": str(folder / f"{split}.jsonl")} for split in sizes},
                "partition": {"kind": "iid"},
                "public_labelled": 40,
                "public_unlabelled": 20,
                "private": private,
            },
            "max_length": 64,
        },
        "tuning": {"kind": "lora", "rank": options.rank},
        "method": {
            "rounds": rounds,
            "participation": participation,
            "distill": {"steps": 1},
            "dst": {"steps": steps},
            "saml": {"steps": steps, "server_steps": steps, "proxy_steps": steps},
            "transfer": {"steps": steps, "server_steps": steps},
        },
        "evaluation": {"max_new_tokens": 8, "max_devices": 1},
        "alone": False,
        "threads": options.threads,
        "zoo": {
            "models": [
                {**llm, "layers": 4, **width},
                {**slm, "layers": 2, **width},
                {**neox, "vocab_size": 600, "layers": 2, **width},
            ],
            "block_tokens": 64,
        },
    }


def examples(seed: str, count: int) -> Iterator[dict[str, str]]:
    """Requests in which a word names the answer; no two are alike."""
    generator = random.Random(seed)
    topics = {"bank": "transfer", "travel": "book", "home": "switch", "post": "send"}
    for number in range(count):
        domain, answer = generator.choice(list(topics.items()))
        text = f"{answer} {generator.choice('abcdefgh')} for {seed.split('/')[-1]} {number} please"
        yield {"instruction": "Name it.", "input": text, "output": answer, "domain": domain}


# The child -------------------------------------------------------------------------------------


Span = tuple[float, float]
"""Seconds by the clock, and of the processor."""


class Moment:
    """A point in time, by the clock and by the processor's work."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def __sub__(self, earlier: "Moment") -> Span:
        return self.wall - earlier.wall, self.cpu - earlier.cpu


def total(spans: Iterable[Span]) -> Span:
    wall, cpu = zip(*spans, strict=True)
    return sum(wall), sum(cpu)


class Clock:
    """Watches a run: when each phase began and ended, and how long its work took."""

    def __init__(self) -> None:
        self.started: dict[str, Moment] = {}
        self.finished: dict[str, Moment] = {}

    def phase_started(self, name: str) -> None:
        self.started[name] = Moment()

    def phase_logged(self, name: str, row: dict[str, float]) -> None:
        pass

    def phase_finished(self, row: dict[str, Any], *, again: bool) -> None:
        self.finished[row["phase"]] = Moment()

    def span(self, number: int) -> Span:
        """From the server's message of a round to the last answer."""
        send, replies = (f"round-{number}/server/{kind}" for kind in ("send", "replies"))
        return self.finished[replies] - self.started[send]

    def training(self, number: int) -> Span:
        """In which devices train, and write checkpoints of it."""
        names = [
            name
            for name in self.finished
            if name.startswith(f"round-{number}/")
            and "/server/" not in name
            and name.rpartition("/")[2] in TRAINING
        ]
        return total(self.finished[name] - self.started[name] for name in names)


def run_here(folder: Path, threads: int) -> dict[str, Any]:
    began = time.perf_counter()
    import torch

    from coplms import Consortium
    from coplms.config.load import load_config

    torch.set_num_threads(threads)
    imported = time.perf_counter()
    config = load_config(folder / "config.json", ())
    read = time.perf_counter()
    consortium, run = Consortium(config), folder / "run"
    consortium.build_models()
    clock = Clock()
    start = Moment()
    consortium.train(run, clock)
    end = Moment()
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    num, last = len(config.devices), config.method.rounds + 1
    taken = sum(name.endswith("/saml") and "/server/" not in name for name in clock.finished)
    greeted = clock.started["round-1/server/send"]
    ready = clock.finished["round-0/server/evaluate-before-dpm"]
    rounds = range(1, last)
    return {
        "import_seconds": imported - began,
        "config_seconds": read - imported,
        **times("start", ready - start, 1),
        **times("contact", greeted - ready, num),
        **times("round", total(map(clock.span, rounds)), taken),
        **times("training", total(map(clock.training, rounds)), taken),
        **times("finish", clock.span(last), num),
        **times("transfer", clock.training(last), num),
        **times("total", end - start, 1),
        **times("again", span_of(lambda: Consortium(config).train(run)), 1),
        "peak_bytes": peak,
        **of_disk(run, num),
        **of_ledger(run, num, taken, last),
        **of_report(run),
    }


def times(name: str, span: Span, count: int) -> dict[str, float]:
    return {f"{name}_seconds": span[0] / count, f"{name}_cpu_seconds": span[1] / count}


def span_of(work: Callable[[], object]) -> Span:
    began = Moment()
    work()
    return Moment() - began


def of_disk(run: Path, num_devices: int) -> dict[str, float]:
    """Bytes and files of the devices' folders, per device; blocks count as the disk gives them."""
    folders = (run / "devices", run / "adapters", run / "models")
    files = [path for each in folders for path in each.rglob("*") if path.is_file()]
    status = [path.stat() for path in files if "server" not in path.parts]
    return {
        "device_bytes": sum(each.st_size for each in status) / num_devices,
        "device_disk_bytes": sum(512 * each.st_blocks for each in status) / num_devices,
        "device_files": len(status) / num_devices,
    }


def of_ledger(run: Path, num_devices: int, taken: int, last: int) -> dict[str, float]:
    """Bytes sent and received: once per device, per device and round, at the end per device."""
    lines = (run / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    parts = {"once": (range(1), num_devices), "round": (range(1, last), taken)}
    parts["finish"] = (range(last, last + 1), num_devices)
    return {
        f"{name}_bytes": sum(row["bytes"] for row in rows if row["round"] in rounds) / count
        for name, (rounds, count) in parts.items()
    }


def of_report(run: Path) -> dict[str, float]:
    """How long the report takes to write, and its size."""
    from coplms.report.html import write_report

    return {
        **times("report", span_of(lambda: write_report(run)), 1),
        "report_bytes": (run / "report.html").stat().st_size,
    }


# The table -------------------------------------------------------------------------------------


def machine(options: argparse.Namespace) -> dict[str, object]:
    from measuring import describe_machine

    return {**describe_machine(), "threads": options.threads}


COLUMNS = {
    "Start, s": ("start_cpu_seconds", 1, 1),
    "First contact, ms": ("contact_cpu_seconds", 1000, 0),
    "Round, ms": ("round_cpu_seconds", 1000, 0),
    "of it training": ("training_cpu_seconds", 1000, 0),
    "Finish, ms": ("finish_cpu_seconds", 1000, 0),
    "of it transfer": ("transfer_cpu_seconds", 1000, 0),
    "Peak memory, MB": ("peak_bytes", 1e-6, 0),
    "Disk, kB": ("device_bytes", 1e-3, 0),
    "Files": ("device_files", 1, 0),
    "Round, kB": ("round_bytes", 1e-3, 0),
    "Start again, s": ("again_cpu_seconds", 1, 1),
    "Report, s": ("report_cpu_seconds", 1, 1),
    "Report, kB": ("report_bytes", 1e-3, 0),
}
"""Heading -> figure, factor, digits. All but start, memory and report are per device."""


def as_table(result: dict[str, Any]) -> str:
    """Medians over the seeds, with the least and the largest where there are several."""
    about = result["machine"]
    lines = [
        f"{about['cpu']}, {about['threads']} of {about['cores']} cores, load "
        f"{about['load_average']}, torch {about['torch']}; seeds "
        f"{sorted({run['seed'] for run in result['runs']})}",
        f"{' '.join(result['command'])}",
        "",
        "| Devices | per round | rounds | " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * (3 + len(COLUMNS)),
    ]
    keys = dict.fromkeys((run["devices"], run["per_round"]) for run in result["runs"])
    for key in keys:
        runs = [run for run in result["runs"] if (run["devices"], run["per_round"]) == key]
        cells = [spread([run[name] * by for run in runs], to) for name, by, to in COLUMNS.values()]
        lines.append(f"| {key[0]:,} | {key[1]:,} | {runs[0]['rounds']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Sequence[float], digits: int) -> str:
    """`12 (11-14)`: median, least and largest."""
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


if __name__ == "__main__":
    main()
