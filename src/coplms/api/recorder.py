"""What a run's phases leave in its folder, and what a watching observer is told of them."""

from dataclasses import dataclass, field
from typing import Any

from coplms.consortium.journal import Observer, Result
from coplms.consortium.record import RunRecord


class Silent:
    """Watches a run and says nothing."""

    def phase_started(self, name: str) -> None:
        """Nothing."""

    def phase_logged(self, name: str, row: dict[str, float]) -> None:
        """Nothing."""

    def phase_finished(self, row: Result, *, again: bool) -> None:
        """Nothing."""


@dataclass(eq=False)
class Recorder:
    """Writes the server's phases to the run's folder, and passes them on.

    What devices report comes with the server's phases that collected it, so that the folder tells
    the same of a device in this process as of one far away.
    """

    record: RunRecord
    observer: Observer
    _told: set[str] = field(default_factory=set)

    def phase_started(self, name: str) -> None:
        self.observer.phase_started(name)

    def phase_logged(self, name: str, row: dict[str, float]) -> None:
        self.record.append("metrics", {"phase": name, **row})
        self.observer.phase_logged(name, row)

    def phase_finished(self, row: Result, *, again: bool) -> None:
        result = dict(row["result"])
        for report in result.pop("reports", ()):
            self._record_report(report, again=again)
        evaluations = result.pop("evaluations", ())
        self._record(row, result, evaluations)
        self.tell(row, again=again)

    def tell(self, row: Result, *, again: bool) -> None:
        """Pass a finished phase on, once."""
        if row["phase"] not in self._told:
            self._told.add(row["phase"])
            self.observer.phase_finished(row, again=again)

    def _record_report(self, report: dict[str, Any], *, again: bool) -> None:
        for evaluation in report["scores"]:
            self.record.append("evaluation", evaluation)
        for row in report["phases"]:
            result = {**row["metrics"]}
            self._record(row, result, ())
            self.tell({**row, "result": result}, again=again)

    def _record(self, row: Result, metrics: Result, evaluations: tuple[Result, ...]) -> None:
        for evaluation in evaluations:
            self.record.append("evaluation", evaluation)
        keys = ("phase", "round", "member", "kind", "seconds")
        self.record.append("phases", {**{key: row[key] for key in keys}, "metrics": metrics})


@dataclass(frozen=True)
class DeviceRecorder:
    """Watches a simulated device: its losses as they come; its phases are recorded by report."""

    recorder: Recorder

    def phase_started(self, name: str) -> None:
        self.recorder.phase_started(name)

    def phase_logged(self, name: str, row: dict[str, float]) -> None:
        self.recorder.phase_logged(name, row)

    def phase_finished(self, row: Result, *, again: bool) -> None:
        self.recorder.tell(row, again=again)
