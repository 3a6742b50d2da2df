"""Held-out nats per byte of a learner, by what teaches it beside cross-entropy.

    python benchmarks/learning.py --data "$COPLMS_DATA" --output runs/learning.jsonl --jobs 2
    python benchmarks/learning.py --data "$COPLMS_DATA" --output runs/learning.jsonl --part time

Cross-entropy alone, ULD, GOLD (where TRL is installed), ALM and ours teach the same students with
tokenizers other than the teacher's, and two weak models teach each other. `rate` and `tune` choose
learning rate and weights on dev with a seed of their own; the figures are test's. Every run adds
one line to the output, and runs that are there are not run again; `time` is measured anew by every
call that names it. At the end all tables are printed that the output allows.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

from learning.members import build
from learning.plan import PARTS, STUDENTS, WEAK, methods_for
from learning.runs import Place, Record, Run, time_methods, work
from learning.scales import SCALES
from learning.tables import report


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    place = Place(options.data, options.cache, SCALES[options.scale])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for part in options.part:
        if part == "time":
            measure_time(options, place)
        else:
            run_all(planned(part, options, place), options, place)
    print(report(read_records(options.output), place.scale))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data")
    parser.add_argument("--output", type=Path, required=True, help="JSON lines, one per run")
    parser.add_argument("--cache", type=Path, default=Path("runs/learning-models"))
    parser.add_argument("--part", nargs="*", choices=[*PARTS, "time"], default=[*PARTS, "time"])
    parser.add_argument("--models", nargs="*", help="such as teacher/bpe; default: all")
    parser.add_argument("--method", nargs="*", help="such as ours; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--scale", choices=list(SCALES), default="full")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, one thread each")
    return parser.parse_args(arguments)


def read_records(path: Path) -> list[Record]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def planned(part: str, options: argparse.Namespace, place: Place) -> list[Run]:
    """The part's runs that are chosen and not done."""
    pairs, plan, is_seeded = PARTS[part]
    records = read_records(options.output)
    done = {key_of(record) for record in records}
    runs = chain.from_iterable(
        plan(models, records, place.scale) for models in pairs if is_chosen(models, options)
    )
    if is_seeded:
        once = list(runs)
        runs = (replace(run, seed=seed) for seed in options.seeds for run in once)
    chosen = [run for run in runs if not options.method or run.method in options.method]
    return [run for run in chosen if run.key() not in done]


def is_chosen(models: tuple[str, str], options: argparse.Namespace) -> bool:
    return not options.models or "/".join(models) in options.models


def key_of(record: Record) -> str:
    return json.dumps({k: v for k, v in record.items() if k != "curve"}, sort_keys=True)


def run_all(runs: list[Run], options: argparse.Namespace, place: Place) -> None:
    for name in sorted({name for run in runs for name in run.models}):
        build(name, place.data, place.scale, place.cache)  # once, before the runs that share it
    for number, record in enumerate(results(runs, options.jobs, place), start=1):
        append(options.output, record)
        last = record["curve"][-1]
        nats = [last[side]["test"] for side in ("left", "right") if side in last]
        name = f"{record['part']} {'/'.join(record['models'])} {record['method']}"
        print(
            f"{number}/{len(runs)} {name} {record['setting']} seed {record['seed']}: {nats}, "
            f"{last['cpu_seconds']:.1f} CPU s",
            file=sys.stderr,
            flush=True,
        )


def results(runs: list[Run], jobs: int, place: Place) -> Iterator[Record]:
    if jobs == 1:
        yield from (work(run, place) for run in runs)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, runs, [place] * len(runs))


def measure_time(options: argparse.Namespace, place: Place) -> None:
    for models in filter(lambda models: is_chosen(models, options), (*STUDENTS, *WEAK)):
        methods = ("ce-both", "ours-both") if models in WEAK else ("ce", *methods_for(models))
        runs = [Run("time", models, method, 0, 1e-3) for method in methods]
        append(options.output, time_methods(runs, place))


def append(path: Path, record: Record) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
