"""What a device prints while it works: one line for each thing that is done, with the time."""

import time
from typing import Any

from coplms.cli.console import print_line

_SECONDS_BETWEEN_LINES = 30.0


class DeviceLines:
    """Watches a device's phases, and says what else happens."""

    def __init__(self) -> None:
        self._printed_at = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with the time."""
        print_line(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")
        self._printed_at = time.monotonic()

    def phase_started(self, name: str) -> None:
        """Nothing: its end is told."""

    def phase_logged(self, name: str, row: dict[str, float]) -> None:
        """A line every half a minute."""
        if time.monotonic() - self._printed_at >= _SECONDS_BETWEEN_LINES:
            loss = "" if row.get("loss") is None else f", loss {row['loss']:.3f}"
            self.say(f"{name}: step {row['step']:.0f} of {row['steps']:.0f}{loss}")

    def phase_finished(self, row: dict[str, Any], *, again: bool) -> None:
        """A line, unless it was done by an earlier start."""
        if not again:
            loss = row["result"].get("loss")
            facts = f"{row['seconds']:.1f} s" + ("" if loss is None else f", loss {loss:.3f}")
            self.say(f"{row['phase']}: done ({facts})")
            if row["kind"] == "save":
                self.say("the device's tuned models are saved in the run's folder")
