"""Scores of a run as rows: what every model could do before, alone, and after co-tuning."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from coplms.consortium.record import Json, RunHistory

Stage = Literal["before", "alone", "after"]

STAGES: dict[Stage, str] = {"before": "Before", "alone": "Alone", "after": "Co-tuned"}
"""What a model had been through when it was scored, and what tables call it."""

MAX_DEVICES = 24
"""Devices that are shown one by one; sums, means and summaries are of all of them."""

_MODEL_ORDER = ("llm", "slm", "dpm")
_SCOPE_ORDER = ("all", "own")


@dataclass(frozen=True)
class Stages:
    """One metric of one model, 0 to 100, at each stage; None where it was not scored."""

    before: float | None
    alone: float | None
    after: float | None

    @property
    def difference(self) -> float | None:
        """What co-tuning bought over tuning alone, in points."""
        if self.alone is None or self.after is None:
            return None
        return self.after - self.alone

    @property
    def best(self) -> frozenset[Stage]:
        """The stages with the highest value as shown; none unless two can be compared."""
        shown = {stage: round(value, 1) for stage, value in self.items() if value is not None}
        if len(shown) < 2:
            return frozenset()
        return frozenset(stage for stage, value in shown.items() if value == max(shown.values()))

    def items(self) -> list[tuple[Stage, float | None]]:
        return [("before", self.before), ("alone", self.alone), ("after", self.after)]


@dataclass(frozen=True)
class ComparisonRow:
    """One model's scores on one set of questions.

    Attributes:
        member: `server` or a device's name.
        model: `llm`, `slm` or `dpm`.
        scope: `all` domains, or the member's `own`.
        num_examples: Test examples that it was asked.
        exact_match: Exact match, 0 to 100.
        rouge_l: Rouge-L, 0 to 100.
    """

    member: str
    model: str
    scope: str
    num_examples: int | None
    exact_match: Stages
    rouge_l: Stages

    @property
    def label(self) -> str:
        """`hospital SLM`: how tables and pictures call the model."""
        return model_label(self.member, self.model)


@dataclass(frozen=True)
class DomainRow:
    """One model's scores on one domain; `is_own` where the member trains on that domain."""

    member: str
    model: str
    domain: str
    num_examples: int | None
    is_own: bool
    exact_match: Stages
    rouge_l: Stages


def model_label(member: str, model: str) -> str:
    """`hospital SLM`: a member's model in tables and pictures."""
    return f"{member} {model.upper()}"


def number(value: object) -> float | None:
    """`value` where it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def section(parent: Mapping[str, object], key: str) -> Json:
    """The mapping under `key`, empty where there is none."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def member_names(history: RunHistory) -> list[str]:
    """`server`, then the devices in the order of config.yaml, then any other that left a trace."""
    devices = history.config.get("devices")
    names = ["server"]
    names += [str(device.get("name")) for device in devices or () if isinstance(device, dict)]
    rows = [*history.evaluations, *history.phases]
    names += [str(row["member"]) for row in rows if "member" in row]
    names += [str(row["device"]) for row in history.ledger if "device" in row]
    return list(dict.fromkeys(names))


def shown_members(history: RunHistory) -> list[str]:
    """The server and the first devices: those that tables and pictures show one by one."""
    return member_names(history)[: MAX_DEVICES + 1]


def hidden_sentence(history: RunHistory) -> str:
    """What stands where devices are left out; empty where none is."""
    num_devices = len(member_names(history)) - 1
    if num_devices <= MAX_DEVICES:
        return ""
    return f"Of {num_devices:,} devices the first {MAX_DEVICES} are shown."


def comparison_rows(history: RunHistory) -> list[ComparisonRow]:
    """Every model on all domains, then on its own ones: before, alone and after co-tuning."""
    scores = _newest_scores(history.evaluations)
    rows = []
    for member, model, scope in _models_and_scopes(history, scores):
        stages = {stage: scores.get((stage, member, model, scope), {}) for stage in STAGES}
        row = ComparisonRow(
            member=member,
            model=model,
            scope=scope,
            num_examples=_num_examples(stages.values()),
            exact_match=_stages(stages, "exact_match"),
            rouge_l=_stages(stages, "rougeL"),
        )
        if any(stages.values()):
            rows.append(row)
    return rows


def domain_rows(history: RunHistory) -> list[DomainRow]:
    """Every model on every domain, from its widest scope, domains in alphabetical order."""
    scores = _newest_scores(history.evaluations)
    widest: dict[tuple[str, str], str] = {}
    for member, model, scope in _models_and_scopes(history, scores):
        widest.setdefault((member, model), scope)
    rows = []
    for (member, model), scope in widest.items():
        by_domain = {
            stage: section(scores.get((stage, member, model, scope), {}), "by_domain")
            for stage in STAGES
        }
        for domain in sorted({domain for found in by_domain.values() for domain in found}):
            stages = {stage: section(found, domain) for stage, found in by_domain.items()}
            rows.append(
                DomainRow(
                    member=member,
                    model=model,
                    domain=domain,
                    num_examples=_num_examples(stages.values()),
                    is_own=domain in own_domains(history, member),
                    exact_match=_stages(stages, "exact_match"),
                    rouge_l=_stages(stages, "rougeL"),
                )
            )
    return rows


def own_domains(history: RunHistory, member: str) -> list[str]:
    """The domains that a device trains on, most examples first where they were counted."""
    domains = section(section(history.data, "devices"), member).get("domains")
    if isinstance(domains, dict):
        return sorted(domains, key=lambda name: (-(number(domains[name]) or 0.0), name))
    return [str(domain) for domain in domains] if isinstance(domains, list) else []


def judged_rows(rows: Iterable[ComparisonRow]) -> list[ComparisonRow]:
    """Those that say what co-tuning bought: LLM and SLMs on all domains.

    The DPM is left out: it is the bridge, and nobody tunes it alone.
    """
    return [row for row in rows if row.scope == "all" and row.model != "dpm"]


def mean_difference(
    rows: Iterable[ComparisonRow], metric: Callable[[ComparisonRow], Stages]
) -> float | None:
    """Mean over the judged models of co-tuned minus alone, in points; None where none has both."""
    values = [metric(row).difference for row in judged_rows(rows)]
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def summary(rows: Sequence[ComparisonRow]) -> str:
    """What co-tuning bought, in one to three sentences of plain text."""
    judged = judged_rows(rows)
    if not judged:
        return "No model has been scored yet."
    if all(row.exact_match.after is None for row in judged):
        return "No model has been scored after co-tuning yet."
    if any(row.exact_match.difference is not None for row in judged):
        return _summary_against_alone(judged) + _own_domains_sentence(rows)
    return _summary_against_before(judged)


def _summary_against_alone(judged: Sequence[ComparisonRow]) -> str:
    gains = {row.label: row.exact_match.difference for row in judged}
    known = {label: gain for label, gain in gains.items() if gain is not None}
    num_better = sum(round(gain, 1) > 0 for gain in known.values())
    rouge_l = mean_difference(judged, lambda row: row.rouge_l)
    most, least = (pick(known, key=lambda label: known[label]) for pick in (max, min))
    models = "model answers" if len(known) == 1 else "models answer"
    spread = (
        f" (most: {most} {signed(known[most])}; least: {least} {signed(known[least])})"
        if len(known) > 1
        else ""
    )
    return (
        f"On all domains, {num_better} of {len(known)} {models} better after co-tuning than after "
        f"tuning alone: exact match {signed(fmean(known.values()))} points on average{spread}"
        + ("." if rouge_l is None else f", Rouge-L {signed(rouge_l)} points.")
    )


def _own_domains_sentence(rows: Sequence[ComparisonRow]) -> str:
    gains = [row.exact_match.difference for row in rows if row.scope == "own"]
    known = [gain for gain in gains if gain is not None]
    if not known:
        return ""
    return f" On the members' own domains, exact match {signed(fmean(known))} points on average."


def _summary_against_before(judged: Sequence[ComparisonRow]) -> str:
    pairs = [
        (row.exact_match.before, row.exact_match.after)
        for row in judged
        if row.exact_match.before is not None and row.exact_match.after is not None
    ]
    tail = "No model was tuned alone, so what co-tuning added to plain tuning is not known."
    if not pairs:
        return f"The models were scored after co-tuning only. {tail}"
    before, after = fmean(pair[0] for pair in pairs), fmean(pair[1] for pair in pairs)
    models = "1 model" if len(pairs) == 1 else f"{len(pairs)} models"
    return (
        f"On all domains, exact match is {after:.1f} after co-tuning and was {before:.1f} before, "
        f"the mean of {models}. {tail}"
    )


def signed(points: float) -> str:
    """`+1.2`, `0.0`, or a real minus sign and `1.2`.

    >>> signed(1.24), signed(0.04)
    ('+1.2', '0.0')
    """
    rounded = round(points, 1) or 0.0
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}")


def _newest_scores(evaluations: Iterable[Json]) -> dict[tuple[str, str, str, str], Json]:
    """(when, member, model, scope) -> its newest row: a resumed run may score a model again."""
    return {
        (str(row.get("when")), str(row["member"]), str(row["model"]), str(row.get("scope"))): row
        for row in evaluations
        if "member" in row and "model" in row
    }


def _models_and_scopes(
    history: RunHistory, scores: Iterable[tuple[str, str, str, str]]
) -> list[tuple[str, str, str]]:
    places = {member: place for place, member in enumerate(member_names(history))}

    def place(key: tuple[str, str, str]) -> tuple[int, int, int]:
        member, model, scope = key
        return _place(_SCOPE_ORDER, scope), places[member], _place(_MODEL_ORDER, model)

    return sorted({(member, model, scope) for _, member, model, scope in scores}, key=place)


def _place(order: tuple[str, ...], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _num_examples(rows: Iterable[Json]) -> int | None:
    counts = [number(row.get("num_examples")) for row in rows]
    known = [count for count in counts if count is not None]
    return int(max(known)) if known else None


def _stages(rows: Mapping[Stage, Json], metric: str) -> Stages:
    return Stages(**{stage: number(row.get(metric)) for stage, row in rows.items()})
