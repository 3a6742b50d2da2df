"""Starts runs and kills them: one line of JSON on stdin for each, one line of JSON back.

    {"config": FILE, "folder": RUN, "cache": FOLDER, "events": 7}        killed at its 7th event
    {"config": FILE, "folder": RUN, "cache": FOLDER, "cpu_seconds": 0.5} killed after so much work
    {"config": FILE, "folder": RUN, "cache": FOLDER}                     left alone

Events are phases that start, log or finish. Each run is a process of its own, forked from this one
so that libraries are imported once.
"""

import json
import os
import signal
import sys
from pathlib import Path

from coplms.api.consortium import Consortium


class Killer:
    """Ends its process at an event, as abruptly as the system can."""

    def __init__(self, events: int | None) -> None:
        self.left = events

    def _event(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def phase_started(self, name: str) -> None:
        self._event()

    def phase_logged(self, name: str, row: dict[str, float]) -> None:
        self._event()

    def phase_finished(self, row: dict[str, object], *, again: bool) -> None:
        if not again:
            self._event()


def run(order: dict[str, object]) -> None:
    if "cpu_seconds" in order:
        signal.setitimer(signal.ITIMER_PROF, float(str(order["cpu_seconds"])))
    events = order.get("events")
    consortium = Consortium.from_yaml(str(order["config"]))
    consortium.cache = Path(str(order["cache"]))
    consortium.train(str(order["folder"]), Killer(events if isinstance(events, int) else None))


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    main()
