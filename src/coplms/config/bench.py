"""A bench: the grid of runs that `coplms compare` makes one table of."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Self, cast, get_args

from pydantic import Field, field_validator, model_validator

from coplms.config.base import Section
from coplms.config.method import MethodName

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""Names of columns and rows; they end up in folders."""

RATE = "optimizer.learning_rate"
"""What `learning_rates` chooses."""

Settings = dict[str, Any]
"""Key of a run's configuration, with dots -> value, as `--set` takes them."""


class BenchMethod(Section):
    """A row of the table."""

    name: str = Field(pattern=NAME)
    method: MethodName | None = None
    """What `method.name` is set to; absent: `name`."""
    set: Settings = Field(default_factory=dict)
    """What else differs from the data set's configuration."""
    like: str | None = None
    """Take the learning rates that were chosen for this row."""

    @property
    def method_name(self) -> MethodName:
        """What `method.name` is set to."""
        return self.method or cast("MethodName", self.name)

    @model_validator(mode="after")
    def _is_a_method(self) -> Self:
        known = get_args(MethodName)
        if self.method is None and self.name not in known:
            raise ValueError(
                f"'{self.name}' is no method; give the row's `method`. Known: {', '.join(known)}"
            )
        return self


class BenchData(Section):
    """A data set, and the consortium that is tuned on it."""

    name: str = Field(pattern=NAME)
    config: str
    """A run's configuration, relative to the bench's file."""
    set: Settings = Field(default_factory=dict)
    partitions: tuple[str, ...] | None = None
    """Names of the partitions that are run with it; absent: the first."""


class BenchPartition(Section):
    """How private text is divided."""

    name: str = Field(pattern=NAME)
    set: Settings = Field(default_factory=dict)


class BenchConfig(Section):
    """Methods x data sets x partitions x seeds: the content of `bench.yaml`."""

    name: str = "bench"
    data: tuple[BenchData, ...] = Field(min_length=1)
    methods: tuple[BenchMethod, ...] = Field(min_length=1)
    """The first is compared with each other one."""
    partitions: tuple[BenchPartition, ...] = (BenchPartition(name="as-given"),)
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    set: Settings = Field(default_factory=dict)
    """For all runs."""
    learning_rates: tuple[float, ...] = ()
    """The grid from which the rate of every method is chosen on dev data, with the first seed, for
    each data set; absent: the configurations' own."""
    rates_from: str | None = None
    """Data set on which learning rates are chosen for all data sets; absent: on each its own."""
    upper_bounds: tuple[str, ...] = ("centralised",)
    """Rows that do not keep text private, and so are no rivals."""

    @property
    def no_rivals(self) -> tuple[str, ...]:
        """Rows over which the first takes no lead: upper bounds, and variants of its own method."""
        first, *others = self.methods
        variants = (each.name for each in others if each.method_name == first.method_name)
        return (*self.upper_bounds, *variants)

    @field_validator("methods", mode="before")
    @classmethod
    def _names_are_methods(cls, methods: object) -> object:
        """Take `fedmkt` for `{name: fedmkt}`."""
        if not isinstance(methods, list | tuple):
            return methods
        return [{"name": each} if isinstance(each, str) else each for each in methods]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for kind in ("data", "methods", "partitions"):
            names = Counter(each.name for each in getattr(self, kind))
            for name, count in names.items():
                if count > 1:
                    raise ValueError(f"{kind}: the name '{name}' occurs twice; give each its own")
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        partitions = {each.name for each in self.partitions}
        for data in self.data:
            for name in data.partitions or ():
                if name not in partitions:
                    raise ValueError(
                        f"data: '{data.name}' has the partition '{name}', which `partitions` "
                        f"does not. Known: {', '.join(sorted(partitions))}"
                    )
        known = {each.name for each in self.data}
        if self.rates_from is not None and self.rates_from not in known:
            raise ValueError(
                f"rates_from: there is no data set '{self.rates_from}'. "
                f"Known: {', '.join(sorted(known))}"
            )
        tuned = {each.name for each in self.methods if each.like is None}
        for method in self.methods:
            if method.like is not None and method.like not in tuned:
                raise ValueError(
                    f"methods: '{method.name}' is like '{method.like}', for which no learning "
                    f"rate is chosen. Known: {', '.join(sorted(tuned))}"
                )
        return self

    @model_validator(mode="after")
    def _rates_stand_once(self) -> Self:
        """A rate from `learning_rates` would silently take the place of these."""
        if not self.learning_rates:
            return self
        named = [
            (f"{kind} '{each.name}'", each.set)
            for kind in ("data", "methods", "partitions")
            for each in getattr(self, kind)
        ]
        for place, settings in [("set", self.set), *named]:
            if _sets_rate(settings):
                raise ValueError(
                    f"{place}: sets {RATE}, which `learning_rates` sets too. Leave out one of "
                    f"them; without `learning_rates`, the bench's `set: {{{RATE}: ...}}` holds for "
                    f"every row that has none of its own"
                )
        return self


def _sets_rate(settings: Settings) -> bool:
    """Whether these name a learning rate, by its dotted key or within their `optimizer`."""
    optimizer = settings.get("optimizer")
    return RATE in settings or (isinstance(optimizer, Mapping) and "learning_rate" in optimizer)
