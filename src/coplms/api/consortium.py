"""A run in a few lines of Python."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from coplms.api.assemble import MINI, Assembler
from coplms.api.cache import default_cache
from coplms.api.folder import check_folder, describe, open_folder
from coplms.api.lock import hold
from coplms.api.members import MemberBuilder
from coplms.api.outline import zoo_folders
from coplms.api.output import save_models
from coplms.api.refuse import check_before_training
from coplms.api.run import Run
from coplms.config.load import load_config
from coplms.config.run import RunConfig
from coplms.consortium.journal import Journal, Observer, Result
from coplms.consortium.record import RunRecord
from coplms.data.members import load_data
from coplms.data.text import read_text
from coplms.models.load import resolve_device
from coplms.models.zoo import build_zoo
from coplms.transport.ledger import Ledger

__all__ = ["Consortium", "ZooProgress", "default_cache"]

ZooProgress = Callable[[str, int, int, float], None]
"""Gets a mini model's name, step, steps and loss."""


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
            RunError: If the folder holds a run with another configuration, or no run at all, or
                another process trains into it.
        """
        folder = Path(output)
        if self.config.threads is not None:
            torch.set_num_threads(self.config.threads)
        check_folder(folder, self.config)
        with hold(folder):
            self._train(folder, observer or Silent(), on_zoo_progress)
        return folder

    def _train(self, folder: Path, observer: Observer, on_zoo_progress: ZooProgress | None) -> None:
        data = load_data(self.config)
        classes = self.cache / "classes"
        zoo = zoo_folders(self.config, self.cache)
        check_before_training(self.config, data, zoo, classes, folder)
        if not all(path.is_dir() for path in zoo.values()):
            zoo = self.build_models(on_zoo_progress)
            check_before_training(self.config, data, zoo, classes, folder)
        record = open_folder(folder, self.config)
        describe(record, self.config, data)
        for name in ("phases", "evaluation"):
            record.write_text(f"{name}.jsonl", "")
        recorder = _Recorder(record, observer)
        journal = Journal(folder / "checkpoints", self.config.seed, recorder)
        record.forget_unfinished(journal.done)
        assembler = Assembler(self.config, zoo)
        ledger = Ledger(folder / "ledger.jsonl")
        text = self._distill_text()
        members = MemberBuilder(folder, classes, assembler, data, text, journal, ledger)
        server, devices = Run(members).execute()
        save_models(folder, server, devices, assembler)

    def _distill_text(self) -> tuple[str, ...]:
        given = self.config.method.distill.text
        if given or self.config.zoo is None or not self.config.llm.model.startswith(MINI):
            return given
        return self.config.zoo.text or ("demo",)
