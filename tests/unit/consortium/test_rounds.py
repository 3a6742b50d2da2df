from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from coplms.consortium.inbox import Inbox, Uploads
from coplms.consortium.journal import Journal, Label, Result
from coplms.consortium.members import Device, Server
from coplms.consortium.messages import Download, Upload
from coplms.consortium.rounds import run_rounds


class Silent:
    def phase_started(self, name: str) -> None: ...

    def phase_logged(self, name: str, row: dict[str, float]) -> None: ...

    def phase_finished(self, row: Result, *, again: bool) -> None: ...


class Recorder:
    """A method and a courier in one that write down what is asked of them."""

    def __init__(self, stop_in_round: int | None = None) -> None:
        self.events: list[str] = []
        self.stop_in_round = stop_in_round

    def download(self, server: Server, round_number: int) -> Download:
        self.events.append(f"download {round_number}")
        return Download(round_number, {})

    def device_round(self, device: Device, download: Download, journal: Journal) -> Upload:
        raise AssertionError("the courier asks the devices")

    def server_round(self, server: Server, uploads: Uploads, journal: Journal) -> None:
        number = uploads.round_number
        self.events.append(f"server {number}")
        if number == self.stop_in_round:
            raise KeyboardInterrupt

    def device_finish(self, device: Device, download: Download, journal: Journal) -> None:
        raise AssertionError("the courier asks the devices")

    def server_finish(self, server: Server, round_number: int, journal: Journal) -> None:
        self.events.append(f"server finish {round_number}")

    def exchange(self, download: Download) -> Uploads:
        self.events.append(f"exchange {download.round_number}")
        inbox = SimpleNamespace(round_number=download.round_number)
        return Uploads(cast("Inbox", inbox), {"bank": 1})

    def close_round(self, round_number: int) -> None:
        self.events.append(f"close {round_number}")

    def finish(self, download: Download) -> None:
        self.events.append(f"finish {download.round_number}")


SERVER = cast("Server", None)
"""The loop hands the server on and never looks at it."""

ROUND = ["download {0}", "exchange {0}", "server {0}", "after {0}", "close {0}"]
END = ["download 3", "finish 3", "server finish 3"]


def run(recorder: Recorder, folder: Path) -> list[str]:
    def after(round_number: int, _: Server) -> None:
        recorder.events.append(f"after {round_number}")

    run_rounds(recorder, SERVER, recorder, 2, Journal(folder, 0, Silent()), after)
    return recorder.events


def expected(*rounds: int) -> list[str]:
    return [step.format(number) for number in rounds for step in ROUND]


def test_every_round_goes_down_out_and_up(tmp_path: Path) -> None:
    assert run(Recorder(), tmp_path) == expected(1, 2) + END
    done = Journal(tmp_path, 0, Silent()).done
    assert done == [Label(number, "server", "end").name for number in (1, 2)]


def test_rounds_that_are_done_are_skipped_and_their_answers_forgotten(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Recorder(stop_in_round=2), tmp_path)
    assert run(Recorder(), tmp_path) == ["close 1", *expected(2), *END]
    assert run(Recorder(), tmp_path) == ["close 1", "close 2", *END]
