"""Addresses of this machine."""

import os
import socket

HOST = "127.0.0.1"


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(address: str, seconds: float = 2.0) -> bool:
    """Whether somebody accepts connections at 'host:port'."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=seconds):
            return True
    except OSError:
        return False


def bypass_proxy() -> None:
    """Connections within this machine never go to a proxy, also not those of child processes."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        if HOST not in hosts:
            os.environ[name] = ",".join([*hosts, HOST, "localhost"])
