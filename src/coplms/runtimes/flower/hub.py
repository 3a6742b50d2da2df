"""All that a server runs to be reached: SuperLink, gate, certificates, and who is let in."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Self

from coplms.config.network import NetworkConfig, split_address
from coplms.errors import ConfigError
from coplms.runtimes.flower.link import FlowerLink
from coplms.runtimes.flower.superlink import LoopbackTls, SuperLink
from coplms.runtimes.network.bundle import JoinBundle
from coplms.runtimes.network.certificates import (
    Certificates,
    given_certificates,
    own_certificates,
)
from coplms.runtimes.network.fleet import Upstream
from coplms.runtimes.network.gate import Gate
from coplms.runtimes.network.registry import Registry

_LOG_BYTES = 10 * 2**20
_LOG_FILES = 5
_POLL_SECONDS = 0.5
_LOGS = {"gate": "gate.log", "consortium": "server.log"}
"""Whom the gate turned away; which answers of devices were refused, and why."""


class Hub:
    """The server's end of the network; everything of it lies in one folder."""

    def __init__(
        self, state: Path, network: NetworkConfig, consortium: str, devices: Collection[str]
    ) -> None:
        """Take the settings; nothing is started.

        Args:
            state: Holds certificates, the list of devices, logs; outlives runs.
            network: Where and how to listen.
            consortium: Its name, which devices are told.
            devices: Names of those that the configuration knows; no other is let in.
        """
        self.state = state
        self.network = network
        self.consortium = consortium
        self.devices = frozenset(devices)
        self.registry = Registry(state / "registry.json", network.key_days)
        self.certificates = _certificates(state, network)

    @property
    def address(self) -> str:
        """Where devices reach the server."""
        _, port = split_address(self.network.listen)
        return self.network.address or f"localhost:{port}"

    def invite(self, device: str) -> JoinBundle:
        """A join bundle for a device; earlier ones that were not used become void.

        Raises:
            ConfigError: If the configuration has no such device.
        """
        self._check_known(device)
        return self.registry.issue(
            device,
            consortium=self.consortium,
            address=self.address,
            ca=self.certificates.ca_pem,
            days=self.network.bundle_days,
        )

    def __enter__(self) -> Self:
        """Start everything; devices can connect when this returns.

        Raises:
            RunError: If an address is taken, or the SuperLink does not start.
            MissingExtraError: If the extra `flower` is not installed.
        """
        inner = own_certificates(self.state / "loopback", ())
        tls = LoopbackTls(inner.ca, inner.certificate, inner.key)
        self.superlink = SuperLink(self.state / "superlink", tls)
        self.superlink.start()
        self._logs = [
            _open_log(f"coplms.{name}", self.state / "logs" / file) for name, file in _LOGS.items()
        ]
        try:
            self._register_known()
            self.gate = Gate(
                listen=self.network.listen,
                certificates=self.certificates,
                registry=self.registry,
                consortium=self.consortium,
                upstream=Upstream(self.superlink.address, inner.ca),
                on_enrol=self._enrolled,
            )
            self.gate.start()
        except BaseException:
            self.superlink.close()
            self._end_logs()
            raise
        self.link = FlowerLink(
            self.superlink,
            return_seconds=self.network.return_seconds,
            offer=self.gate.offer,
            fetched=self.gate.fetched,
            wire_bytes=self.gate.wire_bytes,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.close()
        self.superlink.close()
        self._end_logs()

    def wait_for(
        self, devices: Sequence[str], seconds: float, watch: Callable[[frozenset[str]], None]
    ) -> frozenset[str]:
        """The devices that are connected when all of them are, or the time is up.

        Args:
            devices: Names.
            seconds: How long to wait.
            watch: Gets who is connected whenever that changes, and at the start.
        """
        end = time.monotonic() + seconds
        seen: frozenset[str] | None = None
        while True:
            present = self.link.present() & frozenset(devices)
            if present != seen:
                seen = present
                watch(present)
            if len(present) == len(devices) or time.monotonic() > end:
                return present
            time.sleep(_POLL_SECONDS)

    def _end_logs(self) -> None:
        for logger, handler in self._logs:
            logger.removeHandler(handler)
            logger.propagate = True
            handler.close()

    def _register_known(self) -> None:
        """Devices that enrolled in an earlier life of the server."""
        for name, entry in self.registry.devices().items():
            if entry.public_key is None or name not in self.devices:
                continue
            if self.registry.admits(entry.public_key) == name:
                self._enrolled(name, entry.public_key.encode("ascii"))

    def _enrolled(self, device: str, public_key: bytes) -> None:
        self._check_known(device)
        self.registry.set_node_id(device, self.superlink.register(public_key, device))

    def _check_known(self, device: str) -> None:
        if device not in self.devices:
            raise ConfigError(
                f"'{device}' is no device of '{self.consortium}'. Known: "
                f"{', '.join(sorted(self.devices))}. Add it to `devices:` of the configuration."
            )


def _certificates(state: Path, network: NetworkConfig) -> Certificates:
    host = split_address(network.address)[0] if network.address else "localhost"
    if network.certificate and network.key and network.ca:
        files = (Path(network.certificate), Path(network.key), Path(network.ca))
        return given_certificates(*files, host)
    return own_certificates(state / "certificates", (host,))


def _open_log(name: str, path: Path) -> tuple[logging.Logger, logging.Handler]:
    """A logger whose lines go to a file that cannot grow without end, and nowhere else."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger, handler
