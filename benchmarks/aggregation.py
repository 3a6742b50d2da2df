"""What an upload costs the server, and that its memory does not grow with their number.

    python benchmarks/aggregation.py
    python benchmarks/aggregation.py --rows mini:10 mini:100 --forms lossless int8

No model is trained: invented devices answer a round of the server's courier with LoRA weights of
`packing.py`'s models. Every row is a process of its own. *Taken* is what an upload costs as it
comes in: checked, tried, written to disk and entered in the ledger, less what making it costs here;
*averaged* is reading it again and adding it up; both in CPU time, and together by the clock too,
which waits for the disk and for other work on the machine. Memory is the most that the process held
in the round, beyond what it held before: models of the server would come on top.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import describe_machine
from packing import FORMS, MODELS, make_values

from coplms.api.recorder import Silent
from coplms.config.run import RunConfig
from coplms.config.terms import terms_of
from coplms.consortium.aggregate import weighted_mean
from coplms.consortium.courier import Courier
from coplms.consortium.journal import Journal
from coplms.consortium.messages import Download, write_report, write_upload
from coplms.consortium.post import Post, Rules
from coplms.consortium.report import DeviceReport, Sizes
from coplms.transport.codec import peek
from coplms.transport.feedback import Sender
from coplms.transport.ledger import Ledger
from coplms.transport.link import Reply
from coplms.transport.packing import Layout, layout_of

RUN = "0" * 32
REPORT = DeviceReport(sizes=Sizes(train=100, dev=0, test=0))
ROWS = ["mini:10", "mini:100", "mini:1000", "1.1b:10", "1.1b:40"]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.child:
        model, count, form = options.child
        print(json.dumps(measure(model, int(count), form, options)))
        return
    rows = [
        apart(form, row, repeat, options)
        for form in options.forms
        for row in options.rows
        for repeat in range(options.repeats)
    ]
    machine = {**describe_machine(), "threads": options.threads}
    result = {"machine": machine, "command": sys.argv, "seed": options.seed, "rows": rows}
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(as_table(result))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", default=ROWS, help="MODEL:UPLOADS")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["lossless", "int8"])
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where uploads are written; then removed")
    parser.add_argument("--output", type=Path, help="JSON with every figure")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def apart(form: str, row: str, repeat: int, options: argparse.Namespace) -> dict[str, Any]:
    """A row, measured in a new process."""
    model, count = row.split(":")
    command = [sys.executable, __file__, "--child", model, count, form]
    command += ["--rank", str(options.rank), "--seed", str(options.seed)]
    command += ["--threads", str(options.threads)]
    command += ["--folder", str(options.folder)] if options.folder else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {"model": model, "uploads": int(count), "form": form, "repeat": repeat, **found}


class Devices:
    """A link to devices that are not there: each answers with the same weights."""

    def __init__(self, names: Sequence[str], layout: Layout, packed: torch.Tensor) -> None:
        self.names = frozenset(names)
        self.layout = layout
        self.packed = packed
        self.seconds = self.cpu_seconds = 0.0

    def present(self) -> frozenset[str]:
        return self.names

    def offer(self, blobs: Mapping[str, Path]) -> None:
        pass

    def exchange(
        self, message: bytes, devices: Sequence[str], seconds: float, max_bytes: int
    ) -> Iterator[Reply]:
        envelope = peek(message)
        for device in devices:
            began, cpu_began = time.perf_counter(), time.process_time()
            if envelope.kind == "welcome":
                answer = write_report("ready", RUN, 0, device, REPORT)
            else:
                number = envelope.round_number
                answer = write_upload(RUN, number, device, self.packed, REPORT, self.layout)
            reply = Reply(device, answer)
            del answer
            self.seconds += time.perf_counter() - began
            self.cpu_seconds += time.process_time() - cpu_began
            yield reply
            del reply

    def fetched(self, device: str) -> Mapping[str, int]:
        return {}

    def wire_bytes(self, device: str) -> tuple[int, int] | None:
        return None


def measure(model: str, count: int, form: Any, options: argparse.Namespace) -> dict[str, float]:
    torch.set_num_threads(options.threads)
    initial, values = make_values(MODELS[model].lora_shapes(options.rank), options.seed)
    layout = layout_of(initial, form)
    names = tuple(f"device-{number:06}" for number in range(count))
    link = Devices(names, layout, Sender("up", layout).pack(values, initial))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        terms = terms_of(configuration(), RUN, {}, {})
        rules = Rules(0, 1.0, 1.0, 1.0, 1.0, 1.0)
        ledger = Ledger(folder / "ledger.jsonl")
        post = Post(link, names, frozenset(), terms, rules, ledger, folder, lambda _: None)
        courier = Courier(post, layout, initial, Journal(folder / "checkpoints", 0, Silent()))
        courier.greet()
        before, link.seconds, link.cpu_seconds = resident_bytes(), 0.0, 0.0
        began, cpu_began = time.perf_counter(), time.process_time()
        uploads = courier.exchange(Download(1, values))
        cpu_taken = time.process_time()
        weighted_mean(uploads)
        averaged, cpu_averaged = time.perf_counter(), time.process_time()
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "packed_bytes": layout.packed_bytes,
        "tensor_bytes": layout.tensor_bytes,
        "taken_cpu_seconds": (cpu_taken - cpu_began - link.cpu_seconds) / count,
        "averaged_cpu_seconds": (cpu_averaged - cpu_taken) / count,
        "seconds": (averaged - began - link.seconds) / count,
        "peak_bytes": peak - before,
    }


def configuration() -> RunConfig:
    """Any: nothing of it is used but its form."""
    device = {"name": "any", "slm": {"model": "any"}}
    data = {"pool": {"train": {"path": "any"}}}
    return RunConfig.model_validate({"llm": {"model": "any"}, "devices": [device], "data": data})


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def as_table(result: dict[str, Any]) -> str:
    machine = result["machine"]
    lines = [
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores, load "
        f"{machine['load_average']}, torch {machine['torch']}; seed {result['seed']}",
        " ".join(result["command"]),
        "",
        "| Model | Form | MB sent | Uploads | Taken, CPU ms | Averaged, CPU ms "
        "| CPU s per 100 MB of tensors | by the clock, ms | Memory, MB | of tensors |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = dict.fromkeys((row["model"], row["form"], row["uploads"]) for row in result["rows"])
    for key in keys:
        rows = [row for row in result["rows"] if (row["model"], row["form"], row["uploads"]) == key]
        tensors = rows[0]["tensor_bytes"]
        both = [row["taken_cpu_seconds"] + row["averaged_cpu_seconds"] for row in rows]
        peaks = [row["peak_bytes"] for row in rows]
        cells = (
            f"{rows[0]['packed_bytes'] / 1e6:.1f}",
            f"{key[2]:,}",
            spread([1000 * row["taken_cpu_seconds"] for row in rows], 1),
            spread([1000 * row["averaged_cpu_seconds"] for row in rows], 1),
            spread([seconds / (tensors / 100e6) for seconds in both], 2),
            spread([1000 * row["seconds"] for row in rows], 1),
            spread([peak / 1e6 for peak in peaks], 0),
            spread([peak / tensors for peak in peaks], 1),
        )
        lines.append(f"| {key[0]} | {key[1]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Sequence[float], digits: int) -> str:
    """`12 (11-14)`: median, least and largest."""
    ordered = sorted(values)
    middle = f"{ordered[len(ordered) // 2]:,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({ordered[0]:,.{digits}f}-{ordered[-1]:,.{digits}f})"


if __name__ == "__main__":
    main()
