"""Exact match as the official script of Super-NaturalInstructions computes it.

That is `src/compute_metrics.py` of yizhongw/Tk-Instruct, which keeps articles, unlike SQuAD.
"""

import string
from collections.abc import Sequence

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """100.0 if the prediction equals a reference but for case, punctuation and spaces, else 0.0.

    Args:
        prediction: The answer of a model.
        references: Acceptable answers, at least one.

    Raises:
        ValueError: If there is no reference.

    >>> exact_match("  Yes, it  is!", ["no", "yes it is"])
    100.0
    """
    if not references:
        raise ValueError("exact match needs at least one reference")
    found = _normalise(prediction)
    return 100.0 if any(found == _normalise(reference) for reference in references) else 0.0


def _normalise(text: str) -> str:
    """Lower case, without ASCII punctuation, words one space apart."""
    return " ".join(text.lower().translate(_WITHOUT_PUNCTUATION).split())
