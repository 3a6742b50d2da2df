"""Which runs answer which question, given the runs that are done."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from learning.gold import is_installed
from learning.runs import Record, Run
from learning.scales import Scale, Setting

TUNING_SEED = 100
"""Of the runs that choose rates and weights; no figure comes from it."""

STUDENTS = (("teacher", "bpe"), ("teacher", "unigram"))
"""Peer and learner: a frozen, larger model teaches."""

WEAK = (("bpe", "unigram"), ("bpe", "fallback"))
"""Two small models that learn from each other."""

METHODS = ("uld", "gold", "alm", "ours")

VARIANTS: dict[str, Setting] = {
    "base": Setting(),
    "gate sample, never leaking": Setting(fresh_passes=1e9),
    "gate sample, leaking from the second pass": Setting(fresh_passes=1.0),
    "gate none": Setting(gate="none"),
    "gate chunk": Setting(gate="chunk"),
    "ramp 0.5, the default": Setting(ramp=0.5),
    "gate none, ramp 0.5": Setting(gate="none", ramp=0.5),
    "lambda 0.3": Setting(weight=0.3),
    "lambda 3": Setting(weight=3.0),
    "tau 2": Setting(temperature=2.0),
    "chunk event": Setting(chunk_event=True),
    "reverse KL": Setting(divergence="reverse_kl"),
    "Jensen-Shannon": Setting(divergence="jsd"),
}
"""One thing at a time beside the base: gate by sample, leaking after two passes, lambda 1."""

TEACHING = tuple(name for name in VARIANTS if not name.startswith("lambda"))
"""Variants that are also asked of a frozen teacher; its weight is tuned."""

TEMPERATURES: dict[str, tuple[float | None, ...]] = {"alm": (1.0, 100.0)}
"""Beside its weight, what else a method chooses on dev."""


def methods_for(models: tuple[str, str]) -> tuple[str, ...]:
    """GOLD reads byte-level tokenizers only, and only where TRL is installed."""
    refused = models[1] != "bpe" or not is_installed()
    return tuple(method for method in METHODS if not (method == "gold" and refused))


def rate(models: tuple[str, str], _: Sequence[Record], scale: Scale) -> list[Run]:
    """Cross-entropy alone at every learning rate."""
    method = "ce" if models[0] == "teacher" else "ce-both"
    return [Run("rate", models, method, TUNING_SEED, value) for value in scale.rates]


def tune(models: tuple[str, str], records: Sequence[Record], scale: Scale) -> list[Run]:
    """Every method at every weight."""
    learning_rate = chosen_rate(records, models, scale)
    return [
        Run("tune", models, method, TUNING_SEED, learning_rate, Setting(weight, temperature=tau))
        for method in methods_for(models)
        for tau in TEMPERATURES.get(method, (None,))
        for weight in scale.weights
    ]


def teach(models: tuple[str, str], records: Sequence[Record], scale: Scale) -> list[Run]:
    """Cross-entropy, and every method with its chosen weight; once per seed."""
    base = Run("teach", models, "ce", 0, chosen_rate(records, models, scale))
    return [base] + [
        replace(base, method=method, setting=chosen_setting(records, models, method, scale))
        for method in methods_for(models)
    ]


def teach_variants(models: tuple[str, str], records: Sequence[Record], scale: Scale) -> list[Run]:
    """What `teach` leaves open of ours; once per seed. Its cross-entropy is that of `teach`."""
    base = Run("variants", models, "ours", 0, chosen_rate(records, models, scale))
    return [replace(base, setting=VARIANTS[name]) for name in TEACHING]


def weak(models: tuple[str, str], records: Sequence[Record], scale: Scale) -> list[Run]:
    """Two cross-entropies, and the variants of ours; once per seed."""
    base = Run("weak", models, "ce-both", 0, chosen_rate(records, models, scale))
    settings = VARIANTS.values() if models == WEAK[0] else [Setting()]
    return [base] + [replace(base, method="ours-both", setting=each) for each in settings]


Plan = Callable[[tuple[str, str], Sequence[Record], Scale], list[Run]]

PARTS: dict[str, tuple[tuple[tuple[str, str], ...], Plan, bool]] = {
    "rate": ((*STUDENTS, *WEAK), rate, False),
    "tune": (STUDENTS, tune, False),
    "teach": (STUDENTS, teach, True),
    "variants": (STUDENTS[:1], teach_variants, True),
    "weak": (WEAK, weak, True),
}
"""Part -> the models it is asked of, its plan, and whether every seed runs it."""


# What finished runs choose -----------------------------------------------------------------


def chosen_rate(records: Sequence[Record], models: tuple[str, str], scale: Scale) -> float:
    done = [record for record in records if _is(record, "rate", models)]
    if len(done) < len(scale.rates):
        raise SystemExit(f"{'/'.join(models)} has no learning rate yet: run --part rate first")
    return float(min(done, key=lambda record: on_dev(record, scale.steps))["learning_rate"])


def chosen_setting(
    records: Sequence[Record], models: tuple[str, str], method: str, scale: Scale
) -> Setting:
    done = [each for each in records if _is(each, "tune", models) and each["method"] == method]
    needed = len(scale.weights) * len(TEMPERATURES.get(method, (None,)))
    if len(done) < needed:
        raise SystemExit(f"{method} has no weight yet: run --part tune first")
    return Setting(**min(done, key=lambda record: on_dev(record, scale.steps))["setting"])


def on_dev(record: Record, step: int) -> float:
    """Nats per byte on dev at a step, summed over the models that learn."""
    [found] = [point for point in record["curve"] if point["step"] == step]
    return sum(found[side]["dev"] for side in ("left", "right") if side in found)


def _is(record: Record, part: str, models: tuple[str, str]) -> bool:
    return record["part"] == part and tuple(record["models"]) == models
