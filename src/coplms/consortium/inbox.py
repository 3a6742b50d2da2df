"""The uploads of a round as they come in, on disk: a server's memory holds one at a time."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from coplms.consortium.messages import Returned, Upload, read_upload
from coplms.errors import RunError
from coplms.transport.feedback import receive
from coplms.transport.packing import Layout

_CLOSED = "closed"


@dataclass(frozen=True)
class Envelopes:
    """What all messages of a run have in common.

    Attributes:
        run: The run's name.
        layout: Of the shared part.
    """

    run: str
    layout: Layout


class Inbox:
    """What devices have sent in a round; a server that is restarted finds it again."""

    def __init__(
        self, folder: Path, round_number: int, form: Envelopes, reference: Mapping[str, Tensor]
    ) -> None:
        """Open the round's inbox.

        Args:
            folder: Holds the inboxes of the run's rounds; made if absent.
            round_number: The round.
            form: How messages are read.
            reference: The shared part that the devices were sent.
        """
        self.round_number = round_number
        self._folder = folder / f"round-{round_number}"
        self._form = form
        self._reference = reference
        self._folder.mkdir(parents=True, exist_ok=True)
        for torn in self._folder.glob("*.tmp"):
            torn.unlink()

    @property
    def devices(self) -> list[str]:
        """Who has answered, in alphabetical order."""
        return sorted(path.stem for path in self._folder.glob("*.message"))

    @property
    def is_closed(self) -> bool:
        """Whether the round's collection has ended."""
        return (self._folder / _CLOSED).exists()

    def put(self, device: str, message: bytes) -> None:
        """Keep a device's message, which has been checked; a second one replaces it.

        Raises:
            RunError: If it cannot be written, such as on a full disk.
        """
        temporary = self._folder / f"{device}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(message)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._folder / f"{device}.message")
        except OSError as error:
            raise RunError(
                f"{self._folder}: the answer of '{device}' could not be kept ({error}). Free some "
                "disk space and start again: the answers that were kept are not asked for again."
            ) from error

    def close(self) -> None:
        """End the collection: a restarted server asks nobody again."""
        (self._folder / _CLOSED).touch()

    def remove(self) -> None:
        """Forget the round, whose uploads are aggregated."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def returned(self, device: str) -> Returned:
        """A device's message, still packed."""
        data = (self._folder / f"{device}.message").read_bytes()
        return read_upload(data, device, self._form.run, self.round_number, self._form.layout)

    def read(self, device: str) -> Upload:
        """A device's upload."""
        found = self.returned(device)
        values = receive(found.packed, self._form.layout, self._reference)
        return Upload(self.round_number, device, values, found.report.sizes.train)


@dataclass(frozen=True)
class Uploads:
    """A round's uploads, for an aggregation that reads them one by one.

    Attributes:
        inbox: Where they lie.
        num_examples: Device -> what its upload weighs, by device in alphabetical order.
    """

    inbox: Inbox
    num_examples: Mapping[str, int]

    @property
    def round_number(self) -> int:
        """The round."""
        return self.inbox.round_number

    def __len__(self) -> int:
        return len(self.num_examples)

    def __iter__(self) -> Iterator[Upload]:
        return (self.inbox.read(device) for device in self.num_examples)
