"""The optional packages that a consortium over a network needs."""

from collections.abc import Iterator
from contextlib import contextmanager

from coplms.errors import MissingExtraError


@contextmanager
def flower_extra() -> Iterator[None]:
    """To be put around imports of cryptography, httpx and uvicorn.

    Raises:
        MissingExtraError: If one of them is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            f"a consortium over a network needs the package '{error.name}': "
            "pip install 'coplms[flower]'"
        ) from error
