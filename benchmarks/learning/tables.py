"""Finished runs -> Markdown.

*Equal steps*: every curve is read at `early` and at `steps`. *Chosen on dev*: where, up to `steps`,
it is best on dev. *Equal CPU seconds*: every curve is read where its method has used as many CPU
seconds as ours takes for `steps`, from the medians that `--part time` measured, between two
evaluations by a straight line. A curve that ends before is read at its end, marked with >.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from learning.plan import PARTS, VARIANTS
from learning.runs import Record
from learning.scales import Scale, Setting

NAMES = {"ce": "cross-entropy", "uld": "ULD", "gold": "GOLD", "alm": "ALM", "ours": "ours"}
PLAIN = NAMES["ce"]
Seconds = dict[str, float]
"""Method -> CPU seconds per step."""
BySeed = dict[int, Record]
"""One row of a table."""


def report(records: Sequence[Record], scale: Scale) -> str:
    """All tables that the finished runs allow."""
    blocks = [_tuning(records, models, scale) for models in PARTS["tune"][0]]
    for part in ("teach", "variants", "weak"):
        for models in PARTS[part][0]:
            for side in ("left", "right") if part == "weak" else ("right",):
                blocks.append(_table(Question(part, models, side), records, scale))
    return "\n\n".join(block for block in blocks if block)


@dataclass(frozen=True)
class Question:
    """What one table answers: the part, the models, and whose nats are shown."""

    part: str
    models: tuple[str, str]
    side: str

    @property
    def title(self) -> str:
        learner = self.models[1] if self.side == "right" else self.models[0]
        if self.part == "weak":
            return f"{self.models[0]} and {self.models[1]} learn from each other: {learner}"
        return f"{self.models[0]} teaches {learner}"

    def has(self, record: Record) -> bool:
        """Whether the record is in the table; `variants` takes cross-entropy from `teach`."""
        borrowed = self.part == "variants" and record.get("method") == "ce"
        part = "teach" if borrowed else self.part
        return bool(record["part"] == part and tuple(record["models"]) == self.models)

    def name(self, record: Record) -> str:
        """What the row is called."""
        if record["method"].startswith("ce"):
            return PLAIN
        setting = Setting(**record["setting"])
        if self.part != "teach":
            known = {variant: name for name, variant in VARIANTS.items()}
            return known.get(setting, str(setting.changes()))
        tau = f", tau {setting.temperature:g}" if setting.temperature else ""
        return f"{NAMES[record['method']]}, weight {setting.weight:g}{tau}"


def _tuning(records: Sequence[Record], models: tuple[str, str], scale: Scale) -> str:
    done = [each for each in records if each["part"] == "tune" and tuple(each["models"]) == models]
    if not done:
        return ""
    lines = [
        f"Weights, {' -> '.join(models)}: nats per byte on dev after {scale.steps} steps, one seed",
        "",
        "| method | " + " | ".join(f"weight {weight:g}" for weight in scale.weights) + " |",
        "|---|" + "---|" * len(scale.weights),
    ]
    rows: dict[str, dict[float, float]] = {}
    for record in done:
        tau = record["setting"]["temperature"]
        name = NAMES[record["method"]] + (f", tau {tau:g}" if tau else "")
        value = at_step(record, "right", scale.steps, "dev")
        rows.setdefault(name, {})[record["setting"]["weight"]] = value
    for name, values in rows.items():
        cells = [f"{values[weight]:.4f}" if weight in values else "-" for weight in scale.weights]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _table(question: Question, records: Sequence[Record], scale: Scale) -> str:
    rows: dict[str, BySeed] = {}
    for record in records:
        if question.has(record):
            rows.setdefault(question.name(record), {})[record["seed"]] = record
    if PLAIN not in rows or len(rows) == 1:
        return ""
    seconds = _seconds(records, question.models)
    budget = scale.steps * seconds.get("ours-both" if question.part == "weak" else "ours", 0.0)
    header = [f"{scale.early} steps", "difference", f"{scale.steps} steps", "difference", "worse"]
    header += ["chosen on dev", "difference", "CPU s per step", f"{budget:.1f} CPU s"]
    header += ["difference", "seeds"]
    lines = [
        f"{question.title}, test nats per byte",
        "",
        f"| | {' | '.join(header)} |",
        "|---" * (len(header) + 1) + "|",
    ]
    plain = rows[PLAIN]
    for name, row in rows.items():
        cells = _step_cells(question.side, row, plain, scale)
        cells += _late_cells(question.side, row, plain, seconds, budget)
        lines.append(f"| {' | '.join([name, *cells])} | {len(row)} |")
    return "\n".join(lines)


def _step_cells(side: str, row: BySeed, plain: BySeed, scale: Scale) -> list[str]:
    """At equal steps, early and late, and at the step that is best on dev."""
    cells = []
    for step in (scale.early, scale.steps):
        read = [_at_step_of(each, side, step) for each in (row, plain)]
        cells += [_cell(read[0]), difference(*read)]
    cells.append(worse(*read))
    best = [
        {seed: at_best(r, side, scale.steps) for seed, r in each.items()} for each in (row, plain)
    ]
    return [*cells, _cell(best[0]), difference(*best)]


def _late_cells(
    side: str, row: BySeed, plain: BySeed, seconds: Seconds, budget: float
) -> list[str]:
    """CPU seconds per step, and what is read at equal CPU seconds."""
    per_step, plain_per_step = _per_step(row, seconds), _per_step(plain, seconds)
    if not per_step or not plain_per_step:
        return ["-", "-", "-"]
    values = {seed: at_seconds(each, side, budget, per_step) for seed, each in row.items()}
    base = {seed: at_seconds(each, side, budget, plain_per_step) for seed, each in plain.items()}
    ends = min(each["curve"][-1]["step"] for each in row.values()) * per_step
    mark = ">" if ends < budget * (1 - 1e-9) else ""
    return [f"{per_step:.3f}", mark + _cell(values), difference(values, base)]


def _per_step(row: BySeed, seconds: Seconds) -> float | None:
    return seconds.get(next(iter(row.values()))["method"])


def _at_step_of(row: BySeed, side: str, step: int) -> dict[int, float]:
    return {seed: at_step(record, side, step) for seed, record in row.items()}


def _seconds(records: Sequence[Record], models: tuple[str, str]) -> Seconds:
    """The newest measurement."""
    timed = [each for each in records if each["part"] == "time" and tuple(each["models"]) == models]
    return dict(timed[-1]["seconds_per_step"]) if timed else {}


# Reading curves ----------------------------------------------------------------------------


def at_step(record: Record, side: str, step: int, split: str = "test") -> float:
    [point] = [each for each in record["curve"] if each["step"] == step]
    return float(point[side][split])


def at_best(record: Record, side: str, steps: int) -> float:
    """Test nats per byte at the evaluation, up to `steps`, that was best on dev."""
    points = [point for point in record["curve"] if point["step"] <= steps]
    return float(min(points, key=lambda point: point[side]["dev"])[side]["test"])


def at_seconds(record: Record, side: str, seconds: float, per_step: float) -> float:
    """Test nats per byte at so many CPU seconds, on the line between two evaluations."""
    position = seconds / per_step
    before = record["curve"][0]
    for point in record["curve"]:
        if point["step"] >= position:
            part = (position - before["step"]) / max(1, point["step"] - before["step"])
            low, high = before[side]["test"], point[side]["test"]
            return float(low + part * (high - low))
        before = point
    return float(before[side]["test"])


def _cell(values: dict[int, float]) -> str:
    """Mean, and in brackets the spread: largest minus smallest."""
    spread = max(values.values()) - min(values.values())
    return f"{statistics.mean(values.values()):.4f} ({spread:.4f})"


def _paired(values: dict[int, float], base: dict[int, float]) -> list[float]:
    return [values[seed] - base[seed] for seed in sorted(values.keys() & base.keys())]


def difference(values: dict[int, float], base: dict[int, float]) -> str:
    """Mean of the seeds' differences to cross-entropy, and its standard error."""
    found = _paired(values, base)
    if not any(found):
        return "-"
    error = f" ± {statistics.stdev(found) / sqrt(len(found)):.4f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):+.4f}{error}"


def worse(values: dict[int, float], base: dict[int, float]) -> str:
    """In how many seeds it ended worse than cross-entropy."""
    found = _paired(values, base)
    return f"{sum(each > 0 for each in found)} of {len(found)}" if any(found) else "-"
