"""A device's process: joined to its server, models at hand, answering until it is stopped."""

import logging
import threading
from contextlib import ExitStack
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Protocol

from coplms.api.cache import default_cache
from coplms.api.edge import Edge
from coplms.api.lock import hold
from coplms.api.own_model import check_slm, describe_slm
from coplms.config.edge import EdgeConfig
from coplms.config.terms import Blob
from coplms.consortium.journal import Observer
from coplms.data.members import load_device_data
from coplms.errors import CoplmsError
from coplms.report.costs import size_text
from coplms.runtimes.flower.device import FlowerDevice
from coplms.runtimes.network.bundle import JoinBundle, read_bundle
from coplms.runtimes.network.cache import BlobCache
from coplms.runtimes.network.client import ServerAbsentError, enrol
from coplms.runtimes.network.fetch import Source, fetch_blob
from coplms.runtimes.network.keys import DeviceKey, device_key
from coplms.runtimes.network.private_files import make_private_folder, write_private

_LOG = logging.getLogger("coplms.device")
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_LOG_BYTES = 10 * 2**20
_LOG_FILES = 5


class Lines(Observer, Protocol):
    """Watches phases, and is told what else happens."""

    def say(self, text: str) -> None:
        """Take a line for the person who started the device."""


class Resident:
    """A device that stays.

    Attributes:
        stop: Set it to end `connect` and `serve` soon.
    """

    def __init__(self, bundle: Path, config: EdgeConfig, state: Path, lines: Lines) -> None:
        """Read what the device brings; nothing is connected.

        Args:
            bundle: The join bundle; it may be used again with the key that it was first used with.
            config: The device's own model and text.
            state: Its folder, made private.
            lines: Is told what happens.

        Raises:
            ConfigError: If the bundle is none, or void before it was used.
            DataError: If the device's text is missing or broken.
            ModelError: If there is no folder of the device's model.
            MissingExtraError: If the extra `flower` is not installed.
        """
        make_private_folder(state)
        enrolled = (state / _ENROLLED).exists()
        self.bundle: JoinBundle = read_bundle(bundle, allow_expired=enrolled)
        self.name = self.bundle.invitation.device
        self.config = config
        self.state = state
        self.stop = threading.Event()
        self._lines = lines
        self._key: DeviceKey = device_key(state / "key")
        check_slm(config)
        num_examples = len(load_device_data(config.data, 0).train)
        lines.say(f"device '{self.name}': {num_examples} examples, state in {state}")

    def check(self) -> None:
        """Load the model, and enrol at the server at the first try.

        Raises:
            ModelError: If the model cannot be loaded.
            ServerAbsentError: If the server cannot be reached.
            AccessRefusedError: If the server does not let the device in.
            ServerIdentityError: If it is another server than the bundle's.
        """
        self._lines.say(describe_slm(self.config))
        self._enrol()
        self._lines.say("all is well; start the same command without --check")

    def connect(self) -> None:
        """Enrol at the server, however long it takes until that is up.

        Raises:
            AccessRefusedError: If the server does not let the device in.
            ServerIdentityError: If it is another server than the bundle's.
        """
        pause = _FIRST_PAUSE
        while not self.stop.is_set():
            try:
                self._enrol()
            except ServerAbsentError as error:
                if pause == _FIRST_PAUSE:
                    self._lines.say(f"waiting for the server: {error}")
                self.stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return

    def serve(self) -> None:
        """Answer the server's messages until `stop` is set."""
        if self.stop.is_set():
            return
        ca = self.state / "ca.pem"
        write_private(ca, self.bundle.ca.encode("ascii"))
        with ExitStack() as stack:
            stack.enter_context(hold(self.state))
            handler = _log_handler(self.state / "logs" / "device.log")
            stack.callback(handler.close)
            stack.callback(_LOG.removeHandler, handler)
            _LOG.addHandler(handler)
            edge = Edge(
                self.name,
                self.config,
                self.state,
                default_cache(),
                self._fetch,
                self._lines,
                self._failed,
            )
            address = self.bundle.invitation.address
            link = FlowerDevice(
                self.state / "flower",
                address,
                ca,
                self._key.path,
                self.name,
                edge.answer,
                edge.max_bytes,
            )
            link.serve(self.stop)

    def _enrol(self) -> None:
        membership = enrol(self.bundle, self._key)
        write_private(self.state / _ENROLLED, b"")
        address = self.bundle.invitation.address
        self._lines.say(f"joined '{membership.consortium}' at {address}")

    def _fetch(self, blob: Blob) -> Path:
        source = Source(self.bundle.invitation.address, self.bundle.ca, self._key)
        cache = BlobCache(self.state / "files")

        def fetch(target: Path) -> None:
            fetch_blob(source, blob.sha256, blob.size, target)
            self._lines.say(f"fetched a file of {size_text(blob.size)} ({blob.sha256[:8]})")

        return cache.get(blob.sha256, blob.size, fetch)

    def _failed(self, error: Exception) -> None:
        """A message that could not be answered as the server wished: the whole story stays here."""
        if isinstance(error, CoplmsError):
            self._lines.say(f"{type(error).__name__}: {error}")
            _LOG.error("%s: %s", type(error).__name__, error)
        else:
            self._lines.say(f"failed with {type(error).__name__}; see logs/device.log")
            _LOG.error("a message could not be answered", exc_info=error)


_ENROLLED = "enrolled"


def _log_handler(path: Path) -> logging.Handler:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler
