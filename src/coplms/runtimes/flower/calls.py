"""Calls of Flower's HTTP interfaces."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from coplms.runtimes.flower.engine import ProtobufClient, ProtobufClientInterceptor, httpx

ClientT = TypeVar("ClientT", bound=ProtobufClient)

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

TRIES = 3
SECONDS_BETWEEN = 0.5


class EngineLost(Exception):  # noqa: N818 - a state of the engine, which is mended in place
    """Flower's server is gone, or no longer knows us.

    Attributes:
        status: What the server answered, if it did.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def call(
    method: Callable[[RequestT], ResponseT], request: RequestT, tries: int = TRIES
) -> ResponseT:
    """What a server answers; a call that got no answer is repeated.

    Raises:
        EngineLost: If the server refuses, or cannot be reached.
    """
    while True:
        tries -= 1
        try:
            return method(request)
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            raise EngineLost(
                f"{error.request.url}: {status} {error.response.text}", status
            ) from None
        except httpx.TransportError as error:
            if tries <= 0:
                raise EngineLost(f"{getattr(method, '__name__', method)}: {error!r}") from None
        except RuntimeError as error:  # another thread has dropped the connection
            raise EngineLost(str(error)) from None
        time.sleep(SECONDS_BETWEEN)


def connect(
    kind: type[ClientT],
    address: str,
    ca: bytes | None,
    interceptors: Sequence[ProtobufClientInterceptor] = (),
) -> ClientT:
    """A client of one of Flower's interfaces, which connects with its first call.

    It has none of Flower's retries, which wait for ever and end this process when refused.

    Args:
        kind: Which interface.
        address: Of the server: 'host:port'.
        ca: PEM certificates to check the server's with; None for no TLS.
        interceptors: What is added to each call.
    """
    return kind.from_server_address(
        server_address=address, insecure=ca is None, root_certificates=ca, interceptors=interceptors
    )
