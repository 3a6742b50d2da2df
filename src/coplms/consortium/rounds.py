"""The rounds of co-tuning; how messages travel is the courier's business."""

from collections.abc import Callable
from typing import Protocol

from coplms.consortium.inbox import Uploads
from coplms.consortium.journal import Journal, Label
from coplms.consortium.members import Device, Server
from coplms.consortium.messages import SERVER, Download, Upload


class Method(Protocol):
    """What members do in a round; `coplms.methods` has one file for each."""

    def download(self, server: Server, round_number: int) -> Download:
        """What the server sends at the start of a round."""

    def device_round(self, device: Device, download: Download, journal: Journal) -> Upload:
        """A device's work in a round."""

    def server_round(self, server: Server, uploads: Uploads, journal: Journal) -> None:
        """The server's work once the devices have answered."""

    def device_finish(self, device: Device, download: Download, journal: Journal) -> None:
        """A device's work after the last round."""

    def server_finish(self, server: Server, round_number: int, journal: Journal) -> None:
        """The server's work after the last round."""


class Exchange(Protocol):
    """The server's way to its devices."""

    def exchange(self, download: Download) -> Uploads:
        """Send the download to the round's devices; what they answer."""

    def close_round(self, round_number: int) -> None:
        """A round's answers are not needed any more."""

    def finish(self, download: Download) -> None:
        """Send the last download; the devices finish on their own."""


def run_rounds(
    method: Method,
    server: Server,
    courier: Exchange,
    rounds: int,
    journal: Journal,
    after_round: Callable[[int, Server], None],
) -> None:
    """Run every round that is not done yet, then the end."""
    for round_number in range(1, rounds + 1):
        end = Label(round_number, SERVER, "end")
        if not journal.is_done(end):
            uploads = courier.exchange(method.download(server, round_number))
            method.server_round(server, uploads, journal)
            after_round(round_number, server)
            journal.phase(end, lambda _: {})
        courier.close_round(round_number)
    courier.finish(method.download(server, rounds + 1))
    method.server_finish(server, rounds + 1, journal)
