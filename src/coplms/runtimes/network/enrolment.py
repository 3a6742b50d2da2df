"""The server's side of enrolling: a bundle and a key become a device that is let in."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Executor

from pydantic import ValidationError

from coplms.runtimes.network.audit import LOGGER, Audit, Who
from coplms.runtimes.network.bundle import Invitation
from coplms.runtimes.network.entries import EnrolmentRefusedError
from coplms.runtimes.network.exchange import RefusedError, Request, Response
from coplms.runtimes.network.keys import PublicKey, parse_public_key
from coplms.runtimes.network.limits import Buckets, Limits
from coplms.runtimes.network.registry import Registry
from coplms.runtimes.network.signing import (
    PUBLIC_KEY,
    BadSignatureError,
    SignatureCheck,
    StaleError,
)

ENROL = "/v1/coplms/enrol"
"""Takes an `Invitation` as JSON, signed by the device's key (`signing.sign_request`)."""

OnEnrol = Callable[[str, bytes], None]
"""Called with a device's name and its key's OpenSSH line whenever it enrols: again after a restart,
too. Calls come one at a time, on a thread of their own."""

_BODY_SECONDS = 10.0


class Enrolment:
    """Answers enrolments."""

    def __init__(
        self,
        consortium: str,
        registry: Registry,
        on_enrol: OnEnrol,
        executor: Executor,
        check: SignatureCheck,
        audit: Audit,
        limits: Limits,
    ) -> None:
        self.consortium = consortium
        self.registry = registry
        self.on_enrol = on_enrol
        self.executor = executor
        self.check = check
        self.audit = audit
        self.limits = limits
        self._tries = Buckets(limits.enrolments, limits.enrolments_per_second)
        self._running: dict[tuple[str, str], asyncio.Future[None]] = {}

    async def answer(self, request: Request) -> Response:
        """200 with the consortium's name once the device is let in.

        Raises:
            RefusedError: If it is not.
        """
        if request.method != "POST":
            raise RefusedError(405, "enrolling is a POST")
        if not self._tries.take(request.remote):
            raise RefusedError(429, "too many tries")
        body = await request.body(self.limits.enrol_bytes, _BODY_SECONDS)
        key = read_key(request)
        check_signature(self.check, key, request, body)
        try:
            invitation = Invitation.model_validate_json(body)
        except ValidationError as error:
            raise RefusedError(400, "no invitation", fingerprint=key.fingerprint) from error
        await self._enrol(invitation, key, request)
        answer = {"consortium": self.consortium, "device": invitation.device}
        return Response(
            200,
            json.dumps(answer).encode("utf-8"),
            {"content-type": "application/json"},
            device=invitation.device,
        )

    async def _enrol(self, invitation: Invitation, key: PublicKey, request: Request) -> None:
        try:
            entry = await asyncio.to_thread(self.registry.enrol, invitation, key.openssh)
        except EnrolmentRefusedError as error:
            raise RefusedError(
                403,
                error.refusal.reason,
                device=error.refusal.device,
                fingerprint=key.fingerprint,
            ) from error
        try:
            await asyncio.shield(self._call(entry.name, key.openssh))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # whatever it is, the device may try again
            LOGGER.error("device '%s' could not be registered", entry.name, exc_info=error)
            raise RefusedError(503, "try again", device=entry.name) from error
        self.audit.enrolled(Who(request.remote, entry.name, key.fingerprint))

    def _call(self, name: str, openssh: str) -> asyncio.Future[None]:
        """The callback's end; a device that asks again meanwhile waits for the same one."""
        running = self._running.get((name, openssh))
        if running is None:
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(
                self.executor, self.on_enrol, name, openssh.encode("ascii")
            )
            running.add_done_callback(lambda _: self._running.pop((name, openssh), None))
            self._running[name, openssh] = running
        return running


def read_key(request: Request) -> PublicKey:
    """The public key that a signed request names.

    Raises:
        RefusedError: If it names none.
    """
    try:
        return parse_public_key(request.headers.get(PUBLIC_KEY, ""))
    except ValueError as error:
        raise RefusedError(401, "no public key", detail=str(error)) from error


def check_signature(
    check: SignatureCheck,
    key: PublicKey,
    request: Request,
    body: bytes = b"",
    device: str | None = None,
) -> None:
    """Returns if a request is signed by the key, now and for the first time.

    Raises:
        RefusedError: If not.
    """
    try:
        check.accept(key, request.method, request.path, request.headers, body)
    except StaleError as error:
        raise RefusedError(
            401,
            "clock",
            device=device,
            fingerprint=key.fingerprint,
            extra={"seconds_ahead": round(error.seconds)},
        ) from error
    except BadSignatureError as error:
        raise RefusedError(
            401, "signature", device=device, fingerprint=key.fingerprint, detail=str(error)
        ) from error
