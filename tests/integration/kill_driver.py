"""Starts runs and kills them: one line of JSON on stdin for each, one line of JSON back.

    {"config": FILE, "folder": RUN, "cache": FOLDER}                 left alone
    {..., "events": 7}                                               killed at its 7th event
    {..., "events": 7, "cpu_seconds": 0.02}                          killed so much work after it
    {..., "steps": 7}                                                killed at an exchange's step

Events are phases that start, log or finish; steps are before and after each line in the ledger,
each upload that the server keeps, and each collection that it closes. Each run is a process of its
own, forked from this one so that libraries are imported once.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from coplms.api.consortium import Consortium
from coplms.consortium.inbox import Inbox
from coplms.transport.ledger import Ledger


class Killer:
    """Ends its process at an event, as abruptly as the system can."""

    def __init__(self, events: int, cpu_seconds: float) -> None:
        self.left = events
        self.cpu_seconds = cpu_seconds

    def event(self) -> None:
        self.left -= 1
        if self.left == 0 and self.cpu_seconds:
            signal.setitimer(signal.ITIMER_PROF, self.cpu_seconds)  # its signal ends the process
        elif self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def phase_started(self, name: str) -> None:
        self.event()

    def phase_logged(self, name: str, row: dict[str, float]) -> None:
        self.event()

    def phase_finished(self, row: dict[str, object], *, again: bool) -> None:
        if not again:
            self.event()


def count_steps(cls: type, method: str, step: Callable[[], None]) -> None:
    """Let each call of a method be two steps."""
    really = getattr(cls, method)

    def counted(*arguments: object) -> object:
        step()
        result = really(*arguments)
        step()
        return result

    setattr(cls, method, counted)


def run(
    config: str,
    folder: str,
    cache: str,
    events: int = 0,
    cpu_seconds: float = 0.0,
    steps: int = 0,
) -> None:
    if steps:
        killer = Killer(steps, 0.0)
        for cls, method in ((Ledger, "append"), (Inbox, "put"), (Inbox, "close")):
            count_steps(cls, method, killer.event)
    consortium = Consortium.from_yaml(config)
    consortium.cache = Path(cache)
    consortium.train(folder, Killer(events, cpu_seconds))


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(**json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    main()
