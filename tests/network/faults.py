"""What was seen of a fault, for the table in docs/faults.md."""

import json
import os
from pathlib import Path


def seen(
    fault: str, *, said: str, then: str, weights: str = "", seconds: float | None = None
) -> None:
    """Add a line to the file that $COPLMS_FAULTS names, if it is set.

    Args:
        fault: What happened.
        said: What the server, or whoever noticed it, printed.
        then: How it went on.
        weights: How the final weights compare to a run's without the fault.
        seconds: From the fault until it was said.
    """
    path = os.environ.get("COPLMS_FAULTS")
    if path:
        row = {"fault": fault, "said": said, "then": then, "weights": weights, "seconds": seconds}
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
