"""Where mini models and class maps are kept between runs."""

import os
from pathlib import Path


def default_cache() -> Path:
    """The folder that COPLMS_CACHE names, or one in the user's cache."""
    given = os.environ.get("COPLMS_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "coplms"
