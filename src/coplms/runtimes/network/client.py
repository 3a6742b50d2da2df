"""A device's side: enrolling, and telling apart what can keep it from its server."""

import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coplms.config.network import split_address
from coplms.errors import ConsortiumError
from coplms.runtimes.network.bundle import JoinBundle
from coplms.runtimes.network.certificates import device_context, explain
from coplms.runtimes.network.enrolment import ENROL
from coplms.runtimes.network.extra import flower_extra
from coplms.runtimes.network.keys import DeviceKey
from coplms.runtimes.network.signing import Clock, sign_request

if TYPE_CHECKING:
    import httpx

_CONNECT_SECONDS = 10.0
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed."""

_ASK = "Ask the server's operator for a new join bundle (`coplms server --join-bundle NAME`)."
_REASONS = {
    "unknown": f"the server does not know this device's key. {_ASK}",
    "expired": f"the device's key is too old. {_ASK}",
    "revoked": "the server's operator has shut the device out. If that was a mistake, ask for a "
    "new join bundle.",
    "token": f"the join bundle was changed, or is another server's. {_ASK}",
    "void": f"the join bundle is void: its time is over. {_ASK}",
    "replaced": f"a newer join bundle was made for the device. Use that one, or: {_ASK}",
    "used": "the join bundle was used by another machine or another key. If that was not you, tell "
    f"the server's operator at once. {_ASK}",
    "taken": "another device has this key. Give every device a state folder of its own.",
    "signature": "the server could not verify the device's signature. Update coplms on both sides.",
    "not offered": "the server does not offer this file. Join the server's current run.",
}


class ServerAbsentError(ConsortiumError):
    """The server cannot be reached now; later it may."""


class ServerIdentityError(ConsortiumError):
    """Whoever answered is not known to be the server: nothing was sent to it."""


class AccessRefusedError(ConsortiumError):
    """The server turned the device away; trying again as before is useless.

    Attributes:
        reason: The server's word for it.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Membership:
    """What a server answers to a device that it has let in."""

    consortium: str
    device: str


def enrol(
    bundle: JoinBundle, key: DeviceKey, seconds: float = 120, clock: Clock = time.time
) -> Membership:
    """Enrol a device at its bundle's server. With the same key it may be done again.

    Args:
        bundle: From the server's operator.
        key: The device's own; only its public half is sent.
        seconds: How long the server may take to answer.
        clock: The device's.

    Raises:
        ServerAbsentError: If the server is not up or not ready; try again later.
        ServerIdentityError: If its certificate is not one by the bundle's CA for the address.
        AccessRefusedError: If it does not let the device in.
    """
    invitation = bundle.invitation
    body = invitation.model_dump_json().encode("utf-8")
    headers = {
        **sign_request(key, "POST", ENROL, body, clock),
        "content-type": "application/json",
    }
    with (
        open_client(bundle.ca, seconds) as client,
        explained(invitation.address),
    ):
        response = client.post(url(invitation.address, ENROL), content=body, headers=headers)
    check_status(response.status_code, response.content, invitation.address)
    try:
        answer = json.loads(response.content)
        return Membership(str(answer["consortium"]), str(answer["device"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ConsortiumError(
            f"{invitation.address}: the answer is not that of a coplms server. Check the address."
        ) from error


def open_client(ca_pem: str, seconds: float) -> "httpx.Client":
    """A client that knows servers by this root only; redirects are not followed.

    Args:
        ca_pem: The root.
        seconds: Longest pause within an answer.
    """
    with flower_extra():
        import httpx
    return httpx.Client(
        verify=device_context(ca_pem),
        timeout=httpx.Timeout(seconds, connect=_CONNECT_SECONDS),
        follow_redirects=False,
    )


def url(address: str, path: str) -> str:
    """The URL of a path at a server."""
    split_address(address)
    return f"https://{address}{path}"


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Turns errors of the connection into ours.

    Raises:
        ServerAbsentError: If it failed on its way.
        ServerIdentityError: If the server's certificate was refused.
    """
    import httpx

    try:
        yield
    except httpx.TransportError as error:
        cause = _verification_error(error)
        if cause is None:
            raise ServerAbsentError(
                f"{address}: the server cannot be reached ({error or type(error).__name__}). It "
                "may not be up yet; otherwise check the address, the network and its firewall."
            ) from error
        host = split_address(address)[0]
        raise ServerIdentityError(
            f"{address}: the certificate of whoever answers there {explain(cause, host)}. Nothing "
            "was sent. Check this machine's clock; then ask the server's operator whether the "
            "server was set up anew, for a new join bundle."
        ) from error


def check_status(status: int, body: bytes, address: str) -> None:
    """Returns if a response is one of success.

    Raises:
        ServerAbsentError: If the same request may succeed later.
        AccessRefusedError: If not.
    """
    if status < 300:
        return
    answer = _read_refusal(body)
    reason = str(answer.get("reason", f"status {status}"))
    if status in _PASSING:
        raise ServerAbsentError(f"{address}: the server is not ready: {reason[:80]!r}.")
    if reason == "clock":
        seconds = answer.get("seconds_ahead")
        explanation = (
            f"this machine's clock is {seconds} seconds ahead of the server's (behind, if "
            "negative). Set both by NTP."
        )
    else:
        explanation = _REASONS.get(reason, f"{reason[:80]!r}. Check the address.")
    raise AccessRefusedError(f"{address}: refused: {explanation}", reason)


def _read_refusal(body: bytes) -> dict[str, object]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _verification_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The refused certificate behind an error of httpx, if that is what it was."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
