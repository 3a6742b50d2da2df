"""Whether paired differences are more than chance."""

from collections.abc import Sequence
from itertools import product

import numpy as np

_EXACT = 16
"""So many pairs have 65,536 patterns of signs, which are all tried; more are sampled."""

_SAMPLES = 100_000


def sign_flip_test(differences: Sequence[float]) -> float:
    """Two-sided p of the mean of paired differences, by flipping signs.

    If neither of a pair is better, each difference is as likely as its opposite (Fisher's
    randomisation test; Good 2005, "Permutation, Parametric and Bootstrap Tests", section 3.7).

    Args:
        differences: One of each pair; independent of one another.

    Returns:
        The part of all patterns of signs whose mean is as far from 0 as the one that was seen; 1
        without pairs.

    >>> sign_flip_test([1.0, 2.0, 3.0])  # of 8 patterns two: +++ and ---
    0.25
    """
    values = np.asarray(differences, dtype=np.float64)
    if not len(values):
        return 1.0
    if len(values) <= _EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=len(values))))
    else:
        generator = np.random.default_rng(0)
        signs = generator.choice((1.0, -1.0), size=(_SAMPLES, len(values)))
    seen = abs(values.sum())
    flipped = np.abs(signs @ values)
    return float((flipped >= seen - 1e-9 * max(1.0, seen)).mean())
