"""A device on a machine of its own: its runs on disk, its models in memory, its answers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from coplms.api.assemble import Assembler
from coplms.api.public import Fetch, read_public
from coplms.api.recorder import Recorder
from coplms.api.workplace import DeviceInRun, Materials
from coplms.api.workshop import Workshop
from coplms.api.zoo import ensure_zoo
from coplms.config.edge import EdgeConfig, training_of
from coplms.config.terms import Terms
from coplms.consortium.desk import Desk
from coplms.consortium.journal import Journal, Observer
from coplms.consortium.messages import longest
from coplms.consortium.record import RunRecord
from coplms.data.example import Example
from coplms.data.members import MemberData, load_device_data, without
from coplms.errors import ConsortiumError, DataError, UnknownRunError
from coplms.transport.link import Answer

_TERMS = "terms.json"
_CURRENT = "current-run"
_LONGEST = "longest-message"


class Edge:
    """Answers the server, run after run; what it has done is in its folder, not in its memory."""

    def __init__(
        self,
        name: str,
        config: EdgeConfig,
        folder: Path,
        cache: Path,
        fetch: Fetch,
        observer: Observer,
        on_error: Callable[[Exception], None],
    ) -> None:
        """Wait for a run.

        Args:
            name: The device's.
            config: Its own model, text and means.
            folder: Its state: `runs/RUN/` for every run that it took part in.
            cache: Where class maps and mini models are kept.
            fetch: Gets files that the server offers.
            observer: Watches its phases.
            on_error: Gets what went wrong; it may log it, and must not raise.
        """
        self.name = name
        self.config = config
        self.folder = folder
        self._cache = cache
        self._fetch = fetch
        self._observer = observer
        self._work: DeviceInRun | None = None
        self._terms: Terms | None = None
        self._desk = Desk(name, self._open, on_error)

    @property
    def answer(self) -> Answer:
        """The device's side of the link."""
        return self._desk.answer

    def max_bytes(self) -> int | None:
        """Longest message that fits the run which the device takes part in; None before any.

        A device that has lost its folder has to read a round's message to say so.
        """
        try:
            run = (self.folder / _CURRENT).read_text(encoding="ascii").strip()
            return int((self.folder / "runs" / run / _LONGEST).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def _open(self, terms: Terms | None) -> DeviceInRun:
        """The device in the run of these terms, or in the one that it was last welcomed to."""
        wanted = terms or self._current_terms()
        if self._work is None or wanted != self._terms:
            self._work = self._begin(wanted)
            self._terms = wanted
        return self._work

    def _current_terms(self) -> Terms:
        if self._terms is not None:
            return self._terms
        try:
            run = (self.folder / _CURRENT).read_text(encoding="ascii").strip()
            text = (self.folder / "runs" / run / _TERMS).read_text(encoding="utf-8")
        except OSError as error:
            raise UnknownRunError(
                f"{self.folder}: '{self.name}' was never told the terms of this run, or they are "
                "gone. The server tells them again at its next message."
            ) from error
        return Terms.model_validate_json(text)

    def _begin(self, terms: Terms) -> DeviceInRun:
        """Everything that the device needs for a run, fetched, loaded and put in its last state."""
        self._work = None  # what another run held is given back before this one loads
        run = self.folder / "runs" / terms.run
        known = run / _TERMS
        if known.exists() and Terms.model_validate_json(known.read_text("utf-8")) != terms:
            raise ConsortiumError(
                f"{run}: the server has changed the terms of a run that '{self.name}' has begun. "
                "Start the run anew at the server."
            )
        config = training_of(terms, self.config)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        public = read_public(terms, self._fetch)
        held_out = (*public.dev, *public.test)
        materials = Materials(
            terms=terms,
            slm=self.config.slm,
            data=_clean(load_device_data(self.config.data, terms.seed), held_out),
            dpm=self._dpm(terms, run),
            public=public,
            results=run,
        )
        assembler = Assembler(config, ensure_zoo(config, self._cache))
        record = RunRecord(run)
        for name in ("phases", "evaluation"):
            record.write_text(f"{name}.jsonl", "")
        journal = Journal(run / "checkpoints", terms.seed, Recorder(record, self._observer))
        record.forget_unfinished(journal.done)
        workshop = Workshop(self._cache / "classes")
        work = DeviceInRun(self.name, materials, assembler, workshop, journal)
        record.write_text(_LONGEST, str(longest(work.layout)))
        record.write_text(_TERMS, terms.model_dump_json())
        RunRecord(self.folder).write_text(_CURRENT, terms.run)
        return work

    def _dpm(self, terms: Terms, run: Path) -> Path:
        """The folder of the run's DPM: links to the files that are fetched once for all runs."""
        folder = run / "dpm"
        folder.mkdir(parents=True, exist_ok=True)
        for name, blob in terms.files.items():
            source, link = self._fetch(blob), folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(source.resolve())
        return folder


def _clean(data: MemberData, held_out: tuple[Example, ...]) -> MemberData:
    """The data without what the server tests on."""
    train = without(data.train, held_out)
    if not train:
        raise DataError(
            f"data.train: all {len(data.train)} examples stand in the server's dev or test set "
            "too. Give the device text that nobody is tested on."
        )
    return replace(data, train=train)
