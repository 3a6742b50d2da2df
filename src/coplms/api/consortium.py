"""A run in a few lines of Python."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from coplms.api.assemble import MINI, Assembler
from coplms.api.output import save_models
from coplms.api.run import Run
from coplms.config.load import dump_config
from coplms.config.run import RunConfig
from coplms.consortium.journal import Journal, Observer, Result
from coplms.consortium.record import RunRecord
from coplms.data.members import ConsortiumData, MemberData, load_data
from coplms.data.text import read_text
from coplms.errors import ConfigError, RunError
from coplms.models.load import resolve_device
from coplms.models.zoo import build_zoo
from coplms.transport.ledger import Ledger

ZooProgress = Callable[[str, int, int, float], None]


def default_cache() -> Path:
    """Where mini models and class maps are kept: COPLMS_CACHE, or a folder in the user's cache."""
    given = os.environ.get("COPLMS_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "coplms"


class Silent:
    """Watches a run and says nothing."""

    def phase_started(self, name: str) -> None:
        """Nothing."""

    def phase_logged(self, name: str, row: dict[str, float]) -> None:
        """Nothing."""

    def phase_finished(self, row: Result, *, again: bool) -> None:
        """Nothing."""


@dataclass(frozen=True)
class _Recorder:
    """Writes what it sees to the run's folder and passes it on."""

    record: RunRecord
    observer: Observer

    def phase_started(self, name: str) -> None:
        self.observer.phase_started(name)

    def phase_logged(self, name: str, row: dict[str, float]) -> None:
        self.record.append("metrics", {"phase": name, **row})
        self.observer.phase_logged(name, row)

    def phase_finished(self, row: Result, *, again: bool) -> None:
        result = dict(row["result"])
        for evaluation in result.pop("evaluations", ()):
            self.record.append("evaluation", evaluation)
        if "answers" in result:
            result["answers"] = len(result["answers"])
        keys = ("phase", "round", "member", "kind", "seconds")
        self.record.append("phases", {**{key: row[key] for key in keys}, "metrics": result})
        self.observer.phase_finished(row, again=again)


class Consortium:
    """One server and its devices, to be tuned together on this machine.

    >>> from coplms import Consortium
    >>> Consortium.from_yaml("configs/quickstart.yaml").train("runs/mine")  # doctest: +SKIP
    """

    def __init__(self, config: RunConfig, cache: Path | None = None) -> None:
        """Nothing is read or loaded before `train`."""
        self.config = config
        self.cache = cache or default_cache()

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: tuple[str, ...] = ()) -> "Consortium":
        """The consortium that a YAML file describes; `overrides` are `key.path=value`."""
        from coplms.config.load import load_config

        return cls(load_config(Path(path), overrides))

    def build_models(self, on_progress: ZooProgress | None = None) -> dict[str, Path]:
        """Folders of the mini models that the configuration names, trained where not cached."""
        if self.config.zoo is None:
            return {}
        texts = list(read_text(self.config.zoo.text or ("demo",)))
        device = resolve_device(self.config.device)
        return build_zoo(self.config.zoo, texts, self.cache / "zoo", on_progress, device)

    def train(
        self,
        output: str | Path,
        observer: Observer | None = None,
        on_zoo_progress: ZooProgress | None = None,
    ) -> Path:
        """Tune everything, or go on where an earlier start of the same run ended.

        Args:
            output: The run's folder; made if absent.
            observer: Watches the phases.
            on_zoo_progress: Watches mini models being built: name, step, steps, loss.

        Returns:
            The run's folder.

        Raises:
            RunError: If the folder holds a run with another configuration, or no run at all.
        """
        folder = Path(output)
        if self.config.threads is not None:
            torch.set_num_threads(self.config.threads)
        record = _open(folder, self.config)
        data = load_data(self.config)
        zoo = self.build_models(on_zoo_progress)
        _describe(record, self.config, data)
        recorder = _Recorder(record, observer or Silent())
        for name in ("phases", "evaluation"):
            record.write_text(f"{name}.jsonl", "")
        journal = Journal(folder / "checkpoints", self.config.seed, recorder)
        record.forget_unfinished(journal.done)
        assembler = Assembler(self.config, zoo)
        run = Run(
            folder,
            self.cache / "classes",
            assembler,
            data,
            self._distill_text(),
            journal,
            Ledger(folder / "ledger.jsonl"),
        )
        server, devices = run.execute()
        save_models(folder, server, devices, assembler)
        return folder

    def _distill_text(self) -> tuple[str, ...]:
        given = self.config.method.distill.text
        if given or self.config.zoo is None or not self.config.llm.model.startswith(MINI):
            return given
        return self.config.zoo.text or ("demo",)


def _open(folder: Path, config: RunConfig) -> RunRecord:
    written = dump_config(config)
    path = folder / "config.yaml"
    if path.exists():
        if path.read_text(encoding="utf-8") != written:
            raise RunError(
                f"{folder} holds a run with another configuration (see {path}). "
                "Give another --output, or the configuration that this run was started with"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty and holds no run. Give another --output")
    record = RunRecord(folder)
    if not path.exists():
        record.write_text("config.yaml", written)
    return record


def _describe(record: RunRecord, config: RunConfig, data: ConsortiumData) -> None:
    def sizes(member: MemberData) -> dict[str, object]:
        domains: dict[str, int] = {}
        for example in member.train:
            domains[example.domain] = domains.get(example.domain, 0) + 1
        return {
            "train": len(member.train),
            "dev": len(member.dev),
            "test": len(member.test),
            "domains": dict(sorted(domains.items())),
        }

    record.write_json(
        "data.json",
        {
            "server": sizes(data.server),
            "devices": {name: sizes(member) for name, member in data.devices.items()},
            "transfer": len(data.transfer),
        },
    )
    packages = ("coplms", "torch", "transformers", "peft", "tokenizers", "safetensors", "numpy")
    record.write_json(
        "environment.json",
        {
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "device": str(resolve_device(config.device)),
            "seed": config.seed,
            "packages": {name: importlib.metadata.version(name) for name in packages},
        },
    )


__all__ = ["ConfigError", "Consortium", "default_cache"]
