"""Phases that are done once: a run that was killed goes on where the last phase ended."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from coplms.consortium.record import sync
from coplms.errors import RunError
from coplms.training.phases import Phase

Result = dict[str, Any]
"""What a phase found out, as JSON."""


class Saved(Protocol):
    """Something whose state a checkpoint holds."""

    @property
    def name(self) -> str:
        """Unique in a run; used in file names."""

    def state(self) -> dict[str, torch.Tensor]:
        """All that a later phase depends on."""

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `state` returned."""


class Observer(Protocol):
    """Watches a run: progress bars, plain lines, a record on disk."""

    def phase_started(self, name: str) -> None: ...

    def phase_logged(self, name: str, row: dict[str, float]) -> None: ...

    def phase_finished(self, row: Result, *, again: bool) -> None:
        """`row` is the phase's line of phases.jsonl; `again`: it was done by an earlier start."""


@dataclass(frozen=True)
class Label:
    """A phase's name, and what reports group it by."""

    round_number: int
    member: str
    kind: str

    @property
    def name(self) -> str:
        """Such as `round-1/hospital-a/dst`; round 0 comes before the rounds."""
        return f"round-{self.round_number}/{self.member}/{self.kind}"


class Journal:
    """Runs each phase once and keeps the newest state of every part.

    A finished phase is one folder, `checkpoints/NNNN`, that appears by a rename: it holds the
    phase's result and the state of the parts it changed. Older states of the same parts are
    removed afterwards. Nothing else decides what is done.
    """

    def __init__(self, folder: Path, seed: int, observer: Observer) -> None:
        """Read what earlier starts finished, and tell the observer.

        Args:
            folder: Made if absent; holds checkpoints and nothing else.
            seed: The run's.
            observer: Watches the phases.

        Raises:
            RunError: If the folder cannot be used, or a checkpoint in it is damaged.
        """
        self.folder = folder
        self.seed = seed
        self.observer = observer
        self._done: dict[str, Result] = {}
        self._newest: dict[str, Path] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for unfinished in folder.glob("tmp-*"):
                shutil.rmtree(unfinished)
            entries = sorted(folder.glob("[0-9]*"), key=lambda entry: int(entry.name))
        except OSError as error:
            raise RunError(
                f"{folder}: cannot hold checkpoints ({error}). Give another folder for the run"
            ) from error
        for entry in entries:
            row = _read_phase(entry)
            self._remember(row, entry)
            observer.phase_finished(row, again=True)

    @property
    def done(self) -> list[str]:
        """Names of the finished phases, in their order."""
        return list(self._done)

    @property
    def rows(self) -> list[Result]:
        """What the finished phases left, in their order."""
        return list(self._done.values())

    def is_done(self, label: Label) -> bool:
        """Whether an earlier start finished this phase."""
        return label.name in self._done

    def restore(self, part: Saved) -> None:
        """Give the part its newest state, if any phase has changed it."""
        entry = self._newest.get(part.name)
        if entry is not None:
            part.load_state(load_file(entry / _file_of(part.name)))

    def phase(
        self, label: Label, work: Callable[[Phase], Result], parts: Sequence[Saved] = ()
    ) -> Result:
        """The result of `work`, which runs only if no earlier start finished it.

        Args:
            label: Unique in the run; the phase's seed is made from its name.
            work: What to do; may change `parts` and nothing else that later phases depend on.
            parts: Whose state is written.

        Raises:
            RunError: If the checkpoint cannot be written, such as on a full disk.
        """
        name = label.name
        if name in self._done:
            result: Result = self._done[name]["result"]
            return result
        seed = int.from_bytes(hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:6], "big")
        torch.manual_seed(seed)
        self.observer.phase_started(name)
        started = time.perf_counter()
        result = work(Phase(seed, lambda row: self.observer.phase_logged(name, row)))
        row = {
            "phase": name,
            "round": label.round_number,
            "member": label.member,
            "kind": label.kind,
            "seconds": round(time.perf_counter() - started, 3),
            "result": result,
            "parts": [part.name for part in parts],
        }
        self._commit(row, parts)
        self.observer.phase_finished(row, again=False)
        return result

    def _commit(self, row: Result, parts: Sequence[Saved]) -> None:
        number = len(self._done)
        temporary, final = self.folder / f"tmp-{number:05d}", self.folder / f"{number:05d}"
        try:
            temporary.mkdir()
            for part in parts:
                save_file(part.state(), temporary / _file_of(part.name))
            (temporary / "phase.json").write_text(json.dumps(row), encoding="utf-8")
            for path in (*temporary.iterdir(), temporary):
                sync(path)
            temporary.rename(final)
            sync(self.folder)
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"{self.folder}: the checkpoint of phase '{row['phase']}' could not be written "
                f"({error}). Free some disk space and start again: finished phases are kept"
            ) from error
        self._remember(row, final)

    def _remember(self, row: Result, entry: Path) -> None:
        """Take a finished phase's states for the newest, and remove those that they replace."""
        self._done[row["phase"]] = row
        for part in row["parts"]:
            older = self._newest.get(part)
            self._newest[part] = entry
            if older is not None:
                (older / _file_of(part)).unlink(missing_ok=True)


def _read_phase(entry: Path) -> Result:
    try:
        row: Result = json.loads((entry / "phase.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{entry}: is no finished phase ({error}). Give another folder for the run, or remove "
            "this one and all that follow it"
        ) from error
    return row


def _file_of(part: str) -> str:
    return part.replace("/", "--") + ".safetensors"
