"""One configuration over several seeds, side by side: mean and spread as a Markdown table.

    python benchmarks/repeat_seeds.py configs/clinc150.yaml --seeds 0 1 2 --output runs/clinc150 \
        --data-root DIR [--jobs 2] [--set key=value ...]

Each seed is an ordinary run (`coplms train --seed N`), so a killed call goes on where it was.
"""

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from coplms.consortium.record import RunHistory, read_history
from coplms.report.tables import ComparisonRow, comparison_rows


def main() -> None:
    arguments = _parse()
    folders = [arguments.output / f"seed-{seed}" for seed in arguments.seeds]
    # The mini models are built once, before the runs that share them.
    data = ["--data-root", str(arguments.data_root)] if arguments.data_root else []
    _coplms("models", "build", str(arguments.config), *data)
    settings = [part for one in arguments.set for part in ("--set", one)]

    def train(seed: int, folder: Path) -> None:
        where = ["--output", str(folder), "--seed", str(seed)]
        _coplms("train", str(arguments.config), *where, *data, *settings)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(train, arguments.seeds, folders))
    histories = [read_history(folder) for folder in folders]
    for scope, title in (("all", "All domains"), ("own", "Every device's own domains")):
        print(f"{title}\n\n{table(histories, scope)}\n")
        print(f"Mean difference to alone: {json.dumps(differences(histories, scope))}\n")


def table(histories: list[RunHistory], scope: str) -> str:
    """Exact match / Rouge-L on a scope's test data: mean and spread (max - min) of the seeds."""
    by_seed = [{(r.member, r.model): r for r in _rows(history, scope)} for history in histories]
    lines = [
        "| member | model | before | alone | co-tuned | difference to alone | least difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for member, model in by_seed[0]:
        rows = [seed[member, model] for seed in by_seed]
        cells = [_cell(rows, stage) for stage in ("before", "alone", "after")]
        lines.append(f"| {member} | {model} | {' | '.join(cells)} | {_gain(rows)} |")
    return "\n".join(lines)


def differences(histories: list[RunHistory], scope: str) -> dict[str, float]:
    """Mean over models and seeds of co-tuned minus alone, in points."""
    found: dict[str, list[float]] = {"exact_match": [], "rouge_l": []}
    for history in histories:
        for row in _rows(history, scope):
            for metric, values in found.items():
                difference = getattr(row, metric).difference
                if difference is not None:
                    values.append(difference)
    return {name: round(statistics.mean(values), 2) for name, values in found.items() if values}


def _rows(history: RunHistory, scope: str) -> list[ComparisonRow]:
    return [row for row in comparison_rows(history) if row.scope == scope]


def _cell(rows: list[ComparisonRow], stage: str) -> str:
    parts = []
    for metric in ("exact_match", "rouge_l"):
        values = [getattr(getattr(row, metric), stage) for row in rows]
        if any(value is None for value in values):
            return "-"
        parts.append(f"{statistics.mean(values):.1f} ({max(values) - min(values):.1f})")
    return " / ".join(parts)


def _gain(rows: list[ComparisonRow]) -> str:
    means, least = [], []
    for metric in ("exact_match", "rouge_l"):
        values = [getattr(row, metric).difference for row in rows]
        if any(value is None for value in values):
            return "- | -"
        means.append(f"{statistics.mean(values):+.1f}")
        least.append(f"{min(values):+.1f}")
    return f"{' / '.join(means)} | {' / '.join(least)}"


def _coplms(*arguments: str) -> None:
    command = [sys.executable, "-m", "coplms.cli.main", *arguments]
    print("+ coplms", *arguments, file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=sys.stderr)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
