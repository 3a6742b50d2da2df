"""A bench's cells: which runs there are, and by which command each is made."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coplms.config.bench import RATE, BenchConfig, BenchData, BenchMethod, BenchPartition
from coplms.errors import ConfigError

CHOICES = "learning-rates"
"""Folder of the runs by which learning rates are chosen."""


@dataclass(frozen=True)
class Cell:
    """One run of a bench.

    Attributes:
        data: Name of the data set.
        partition: Of the partition.
        method: Of the row.
        seed: The run's.
        rate: The learning rate that is tried, in a run that chooses one; else None.
        config: The data set's configuration.
        settings: What is changed in it.
    """

    data: str
    partition: str
    method: str
    seed: int
    rate: float | None
    config: Path
    settings: Mapping[str, Any] = field(hash=False)

    @property
    def name(self) -> str:
        """Unique in the bench; a folder's path."""
        last = f"seed-{self.seed}" if self.rate is None else f"rate-{self.rate:g}"
        place = Path(self.data) / self.partition / self.method / last
        return str(place if self.rate is None else CHOICES / place)

    def folder(self, output: Path) -> Path:
        """The run's folder."""
        return output / "cells" / self.name

    def log(self, output: Path) -> Path:
        """What its process prints."""
        folder = self.folder(output)
        return folder.with_name(f"{folder.name}.log")

    def arguments(self, output: Path) -> list[str]:
        """What `coplms` is called with."""
        settings = [f"{key}={json.dumps(value)}" for key, value in self.settings.items()]
        changes = [part for each in settings for part in ("--set", each)]
        where = ["--output", str(self.folder(output)), "--seed", str(self.seed)]
        return ["train", str(self.config), *where, *changes]

    def command(self, output: Path) -> list[str]:
        """The process that makes it."""
        return [sys.executable, "-m", "coplms.cli.main", *self.arguments(output)]


Rates = Mapping[tuple[str, str], float]
"""(Data set, row) -> the learning rate that was chosen."""


@dataclass(frozen=True)
class Part:
    """What of a bench is to run; what is empty leaves nothing out.

    Attributes:
        seeds: These, in place of the bench's.
        methods: Rows.
        data: Data sets.
        partitions: Of private text.
    """

    seeds: Sequence[int] = ()
    methods: Sequence[str] = ()
    data: Sequence[str] = ()
    partitions: Sequence[str] = ()

    def has(self, cell: "Cell") -> bool:
        """Whether the cell is of this part."""
        return all(
            not wanted or found in wanted
            for wanted, found in (
                (self.seeds, cell.seed),
                (self.methods, cell.method),
                (self.data, cell.data),
                (self.partitions, cell.partition),
            )
        )


@dataclass(frozen=True)
class Grid:
    """All cells of a bench.

    Attributes:
        bench: The bench.
        folder: Of its file, to which paths are relative.
        part: Which of its cells are to run.

    Raises:
        ConfigError: If the part names what the bench has not.
    """

    bench: BenchConfig
    folder: Path
    part: Part = Part()

    def __post_init__(self) -> None:
        for option, kind, names, known in (
            ("--method", "row", self.part.methods, self.bench.methods),
            ("--data", "data set", self.part.data, self.bench.data),
            ("--partition", "partition", self.part.partitions, self.bench.partitions),
        ):
            listed = [each.name for each in known]
            for name in names:
                if name not in listed:
                    raise ConfigError(
                        f"{option} {name}: the bench '{self.bench.name}' has no such {kind}. "
                        f"Known: {', '.join(listed)}"
                    )

    @property
    def chooses(self) -> bool:
        """Whether there are learning rates to choose from."""
        return len(self.bench.learning_rates) > 1

    @property
    def whole(self) -> "Grid":
        """The same bench, with all of its cells to run."""
        return replace(self, part=Part())

    def choosing(self) -> Iterator[Cell]:
        """Runs that are asked dev text, to choose learning rates that the part needs.

        They have the bench's first seed and the data set's first partition.
        """
        if not self.chooses:
            return
        wanted = [(cell.data, cell.method) for cell in self.wanted({})]
        alike = {each.name: each.like or each.name for each in self.bench.methods}
        needed = {(self.bench.rates_from or data, alike[method]) for data, method in wanted}
        for data in self.bench.data:
            partition = self._partitions(data)[0]
            for method in self.bench.methods:
                if (data.name, method.name) in needed:
                    for rate in self.bench.learning_rates:
                        settings = {
                            "evaluation.split": "dev",
                            "evaluation.before": False,
                            "evaluation.each_round": False,
                        }
                        seed = self.bench.seeds[0]
                        yield self._cell(data, partition, method, seed, settings, rate)

    def wanted(self, rates: Rates) -> Iterator[Cell]:
        """The runs of the table that the part has."""
        return filter(self.part.has, self.main(rates))

    def main(self, rates: Rates) -> Iterator[Cell]:
        """The runs of the table, seed by seed: after each of them there is a table of all."""
        for seed in dict.fromkeys([*self.bench.seeds, *self.part.seeds]):
            for data in self.bench.data:
                for partition in self._partitions(data):
                    for method in self.bench.methods:
                        chosen_on = self.bench.rates_from or data.name
                        rate = rates.get((chosen_on, method.like or method.name))
                        chosen = {} if rate is None else {RATE: rate}
                        yield self._cell(data, partition, method, seed, chosen, None)

    def _partitions(self, data: BenchData) -> list[BenchPartition]:
        known = {each.name: each for each in self.bench.partitions}
        return [known[name] for name in data.partitions or [self.bench.partitions[0].name]]

    def _cell(
        self,
        data: BenchData,
        partition: BenchPartition,
        method: BenchMethod,
        seed: int,
        last: Mapping[str, Any],
        rate: float | None,
    ) -> Cell:
        tried = {} if rate is None else {RATE: rate}
        settings = {
            "alone": False,
            "evaluation.each_round": True,
            **self.bench.set,
            **data.set,
            **partition.set,
            "method.name": method.method_name,
            **method.set,
            **tried,
            **last,
        }
        path = self.folder / data.config
        return Cell(data.name, partition.name, method.name, seed, rate, path, settings)
