"""What a device tells about itself: counts, losses, scores; never text."""

import math
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer

from coplms.consortium.journal import Journal
from coplms.errors import ConsortiumError

Name = Annotated[str, Field(min_length=1, max_length=200)]
Percent = Annotated[float, Field(ge=0, le=100)]
MAX_EXAMPLES = 2**40
"""More than anyone holds; as a weight in a mean it is still an exact float64."""
MAX_REPORT_BYTES = 2**20
"""Longest report that is read."""


class Row(BaseModel):
    """A part of a report: numbers must be finite, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Sizes(Row):
    """How many examples a device holds."""

    train: int = Field(ge=1, le=MAX_EXAMPLES)
    dev: int = Field(ge=0, le=MAX_EXAMPLES)
    test: int = Field(ge=0, le=MAX_EXAMPLES)


class PhaseRow(Row):
    """A finished phase, as `phases.jsonl` has it."""

    phase: Name
    round: int = Field(ge=0)
    member: Name
    kind: Name
    seconds: float = Field(ge=0)
    metrics: dict[Name, float | None] = Field(max_length=50)

    @field_serializer("seconds", when_used="json")
    def _in_fixed_width(self, seconds: float) -> str:
        """So that equal work makes messages of equal length."""
        return f"{seconds:012.3f}"


class DomainRow(Row):
    """A model's scores on a domain of the public test set."""

    rougeL: Percent  # noqa: N815  (the official name)
    exact_match: Percent
    num_examples: int = Field(ge=1)


class ScoreRow(Row):
    """A model's scores, as `evaluation.jsonl` has them."""

    when: str = Field(pattern=r"^(before|alone|after|round-[1-9][0-9]{0,8})$")
    member: Name
    model: Literal["slm", "dpm"]
    scope: Literal["all", "own"]
    num_examples: int = Field(ge=1)
    rougeL: Percent  # noqa: N815
    exact_match: Percent
    by_domain: dict[Name, DomainRow]


class DeviceReport(Row):
    """What a device answers beside weights.

    Attributes:
        sizes: Examples that it holds.
        phases: Finished since its last report, in their order.
        scores: Likewise.
    """

    sizes: Sizes
    phases: tuple[PhaseRow, ...] = ()
    scores: tuple[ScoreRow, ...] = ()

    @property
    def seconds(self) -> float:
        """Time that the phases took."""
        return sum(row.seconds for row in self.phases)

    @property
    def loss(self) -> float | None:
        """The last loss that it tells of."""
        for row in reversed(self.phases):
            for name, value in row.metrics.items():
                if "loss" in name and value is not None:
                    return value
        return None


def read_report(text: str, device: str) -> DeviceReport:
    """The report that a device sent.

    Raises:
        ConsortiumError: If it has another form, speaks of another member, or is too long.
    """
    form = f"'{device}' sent a report of another form"
    advice = "Use the same version of coplms on server and devices."
    if len(text) > MAX_REPORT_BYTES:
        raise ConsortiumError(f"{form}: {len(text)} characters. {advice}")
    try:
        report = DeviceReport.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConsortiumError(f"{form}: {place!a:.100} {first['msg']:.100}. {advice}") from error
    members = {row.member for row in report.phases} | {row.member for row in report.scores}
    strangers = sorted(members - {device})
    if strangers:
        raise ConsortiumError(f"{form}: it speaks of {strangers[0]!a:.100}. {advice}")
    return report


def report_of(
    journal: Journal, sizes: Sizes, rounds: Collection[int], public_domains: frozenset[str]
) -> DeviceReport:
    """What a device's journal tells of these rounds, in its order; None stands for infinities.

    Args:
        journal: The device's.
        sizes: Examples that it holds.
        rounds: Numbers of rounds; 0 is before the rounds.
        public_domains: Domains that the server knows; a score by domain tells no other.
    """
    phases, scores = [], []
    for row in journal.rows:
        if row["round"] not in rounds:
            continue
        result = dict(row["result"])
        for found in result.pop("evaluations", ()):
            domains = {k: v for k, v in found["by_domain"].items() if k in public_domains}
            scores.append(ScoreRow.model_validate({**found, "by_domain": domains}))
        keys = ("phase", "round", "member", "kind", "seconds")
        metrics = {name: value if _is_finite(value) else None for name, value in result.items()}
        phases.append(PhaseRow(**{key: row[key] for key in keys}, metrics=metrics))
    return DeviceReport(sizes=sizes, phases=tuple(phases), scores=tuple(scores))


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
