"""The Hugging Face hub as a dry run finds it: whether it answers, and what is here without it."""

import ssl
import threading
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from huggingface_hub import constants, try_to_load_from_cache

from coplms.config.data import SourceConfig
from coplms.data import hub

SECONDS = 5.0
"""How long an answer is waited for."""

_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
"""One of which a model that can be loaded has."""


@dataclass(eq=False)
class Hub:
    """The hub, which is asked at most once whether it is there.

    The hub's own client tries again for half a minute for each file of a model, and says so each
    time; it is not let loose on a hub that does not answer.

    Attributes:
        endpoint: Its address: HF_ENDPOINT, or the usual one.
        offline: Whether it must not be asked (HF_HUB_OFFLINE).
        seconds: How long an answer is waited for.
    """

    endpoint: str = field(default_factory=lambda: constants.ENDPOINT)
    offline: bool = field(default_factory=lambda: constants.HF_HUB_OFFLINE)
    seconds: float = SECONDS

    @cached_property
    def answers(self) -> bool:
        """Whether the hub says anything in time, be it a refusal."""
        if self.offline:
            return False
        found: list[bool] = []
        # A thread, since looking up a name and trying all its addresses know no common time limit.
        asking = threading.Thread(target=lambda: found.append(self._ask()), daemon=True)
        asking.start()
        asking.join(self.seconds)
        return found == [True]

    @property
    def silence(self) -> str:
        """Why nothing is heard of it, in words."""
        if self.offline:
            return "HF_HUB_OFFLINE is set"
        return f"the hub ({self.endpoint}) does not answer"

    def lacks_model(self, path: str) -> bool:
        """Whether a model is neither on this machine nor to be had."""
        if Path(path).is_dir():
            return False
        here = _is_cached(path, "config.json") and any(
            _is_cached(path, each) for each in _TOKENIZERS
        )
        return not here and not self.answers

    def lacks_data(self, source: SourceConfig) -> bool:
        """Whether a data set is neither on this machine nor to be had.

        Raises:
            MissingExtraError: If `datasets` is not installed.
        """
        if source.format != "hub" or Path(hub.dataset_name(source)).is_dir():
            return False
        return not hub.is_cached(source) and not self.answers

    def _ask(self) -> bool:
        try:
            with urlopen(Request(self.endpoint, method="HEAD"), timeout=self.seconds):
                return True
        except HTTPError as error:
            # Above: what a proxy says in place of a server that it does not reach.
            return error.code < HTTPStatus.INTERNAL_SERVER_ERROR
        except URLError as error:
            # It is there; whether to trust it is left to the hub's own client.
            return isinstance(error.reason, ssl.SSLCertVerificationError)
        except (OSError, HTTPException, ValueError):
            return False


def _is_cached(repository: str, file: str) -> bool:
    return isinstance(try_to_load_from_cache(repository, file), str)
