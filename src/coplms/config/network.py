"""A consortium over a network: where the server is reached, and how long it waits for whom."""

import ipaddress
import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from coplms.config.base import Section

_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_MAX_HOST_CHARS = 253
_MAX_PORT = 65535


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`; an IPv6 address stands in brackets.

    Raises:
        ValueError: If it is no such address.

    >>> split_address("coplms.example.org:8710")
    ('coplms.example.org', 8710)
    >>> split_address("[::1]:8710")
    ('::1', 8710)
    """
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
        raise ValueError(f"'{address}' is not host:port; write for example coplms.example.org:8710")
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), int(port)
        except ValueError as error:
            raise ValueError(f"'{address}': no IPv6 address is in the brackets") from error
    if len(host) > _MAX_HOST_CHARS or not _HOST_NAME.fullmatch(host):
        raise ValueError(
            f"'{address}': '{host}' is no host name or IPv4 address; an IPv6 address stands in "
            "brackets, as in [2001:db8::1]:8710"
        )
    return host, int(port)


def _reachable(address: str) -> str:
    host, port = split_address(address)
    if port == 0:
        raise ValueError(f"'{address}': devices need a port above 0")
    if host in ("0.0.0.0", "::"):
        raise ValueError(
            f"'{address}' is where a server listens, not where it is reached; give the server's "
            "host name or IP address"
        )
    return address


def _listening(address: str) -> str:
    split_address(address)
    return address


class NetworkConfig(Section):
    """How a server and its devices find, know and wait for each other."""

    address: Annotated[str, AfterValidator(_reachable)] | None = None
    """`host:port` at which devices reach the server; it is written into join bundles and must be a
    name of the certificate. Absent: devices on this machine only, at localhost and the port of
    `listen`."""
    listen: Annotated[str, AfterValidator(_listening)] = "0.0.0.0:8710"
    """`host:port` at which the server listens: all interfaces, or the one with this address."""
    certificate: str | None = None
    """PEM file of the server's certificate, followed by those between it and `ca`; with `key` and
    `ca`. Absent: the server makes its own authority and certificate."""
    key: str | None = None
    """PEM file of the certificate's private key, without a password."""
    ca: str | None = None
    """PEM file of the root certificate by which devices know the server; it is written into join
    bundles."""
    bundle_days: float = Field(7, gt=0, le=365)
    """Days until a join bundle that was not used is void."""
    key_days: float | None = Field(None, gt=0)
    """Days from enrolment until a device needs a new join bundle; absent: never."""
    quorum: float = Field(1.0, gt=0, le=1)
    """Part of a round's chosen devices, rounded up, that must answer for the round to count."""
    join_seconds: float = Field(3600, gt=0)
    """How long the server waits at the start until its devices are there."""
    prepare_seconds: float = Field(86400, gt=0)
    """How long devices may take before round 1: fetching the DPM, tuning alone."""
    round_seconds: float = Field(3600, gt=0)
    """How long devices may take for a round."""
    finish_seconds: float = Field(86400, gt=0)
    """How long devices may take after the last round."""
    return_seconds: float = Field(60, ge=0)
    """How long a device that vanished in mid-round is waited for."""

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        given = {name: getattr(self, name) for name in ("certificate", "key", "ca")}
        missing = [name for name, value in given.items() if value is None]
        if 0 < len(missing) < len(given):
            raise ValueError(
                f"`{missing[0]}` is absent: give `certificate`, `key` and `ca` together, or none "
                "of them and the server makes its own"
            )
        return self
