"""Loss curves of mini models as they were built: a picture, and Markdown tables.

    coplms models build --preset bench --data-root DIR > folders.txt
    python benchmarks/pretraining.py --folders folders.txt --picture docs/pretraining.svg

A model's folder keeps its losses on text and on copying every 20 steps (`losses.jsonl`). Tokenizers
differ, so nats per token of two models compare only where they share one, as LLM and DPM do.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from coplms.models.zoo import LOSSES

WINDOW = 100
"""Steps over which a point of the curves is a mean."""

Curve = Sequence[tuple[int, float]]
"""Step -> mean loss of the steps up to it, in nats per token."""


def main() -> None:
    arguments = _parse()
    lines = arguments.folders.read_text(encoding="utf-8").splitlines()
    found = [match for line in lines if (match := re.fullmatch(r"mini/(\S+)\s+(\S.*)", line))]
    if not found:
        raise SystemExit(f"{arguments.folders} holds no line such as 'mini/llm  FOLDER'")
    panels = {}
    for key, title in (("loss", "Text"), ("copying", "Copying")):
        curves = {match[1]: curve(Path(match[2]) / LOSSES, key) for match in found}
        if curves := {name: points for name, points in curves.items() if points}:
            panels[title] = curves
            print(f"{title}:\n{table(curves)}\n")
    draw(panels, arguments.picture)


def curve(path: Path, key: str) -> Curve:
    """Means over windows of steps; of steps that were repeated after a kill the last counts."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    losses = {row["step"]: row[key] for row in rows if key in row}
    windows: dict[int, list[float]] = {}
    for step, loss in losses.items():
        windows.setdefault(-(-step // WINDOW) * WINDOW, []).append(loss)
    return [(end, sum(part) / len(part)) for end, part in sorted(windows.items())]


def draw(panels: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    matplotlib.rcParams.update({"svg.hashsalt": "coplms", "svg.fonttype": "none"})
    figure = Figure(figsize=(4.4 * len(panels), 3.2), layout="constrained")
    names = dict.fromkeys(chain.from_iterable(panels.values()))
    colours = {name: f"C{place}" for place, name in enumerate(names)}
    for axes, (title, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for name, points in curves.items():
            axes.plot(*zip(*points, strict=True), marker=".", label=name, color=colours[name])
        axes.set_title(title)
        axes.set_xlabel("Step")
        axes.set_ylabel("Loss, nats per token")
        axes.grid(alpha=0.2)
        axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def table(curves: Mapping[str, Curve]) -> str:
    """Rows: models; columns: the ends of some windows, and of each model's last."""
    ends = sorted({end for points in curves.values() for end, _ in points})
    last = {points[-1][0] for points in curves.values()}
    shown = sorted({*ends[:: max(1, len(ends) // 6)], *last})
    lines = [
        f"| Model | {' | '.join(f'to {end}' for end in shown)} |",
        "|---|" + "--:|" * len(shown),
    ]
    for name, points in curves.items():
        losses = dict(points)
        cells = [f"{losses[end]:.2f}" if end in losses else "" for end in shown]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folders", type=Path, required=True, help="what `models build` printed")
    parser.add_argument("--picture", type=Path, required=True, help="an SVG file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
