"""Seeded choices among examples that respect domains."""

import math
import random
from collections import defaultdict
from collections.abc import Sequence

from coplms.data.example import Example


def positions_by_domain(examples: Sequence[Example]) -> dict[str, list[int]]:
    """Domain -> positions of its examples, domains sorted."""
    positions: dict[str, list[int]] = defaultdict(list)
    for position, example in enumerate(examples):
        positions[example.domain].append(position)
    return dict(sorted(positions.items()))


def stratified_shuffle(examples: Sequence[Example], seed: int) -> list[Example]:
    """Examples in a seeded order in which every beginning mixes the domains like the whole.

    The first k of the N examples hold k * N_d / N examples of domain d, give or take one or two.
    """
    places: list[tuple[float, int]] = []
    for domain, positions in positions_by_domain(examples).items():
        generator = random.Random(f"{seed}/{domain}")
        generator.shuffle(positions)
        offset = generator.random()
        places += [
            ((index + offset) / len(positions), position)
            for index, position in enumerate(positions)
        ]
    return [examples[position] for _, position in sorted(places)]


def sample(examples: Sequence[Example], most: int | None, seed: int) -> tuple[Example, ...]:
    """At most so many examples, domains in proportion; None keeps all in their order."""
    if most is None or len(examples) <= most:
        return tuple(examples)
    return tuple(stratified_shuffle(examples, seed)[:most])


def limit_per_domain(examples: Sequence[Example], most: int, seed: int) -> list[Example]:
    """At most so many examples of each domain, in their order."""
    kept: list[int] = []
    for domain, positions in positions_by_domain(examples).items():
        generator = random.Random(f"{seed}/{domain}")
        kept += generator.sample(positions, min(most, len(positions)))
    return [examples[position] for position in sorted(kept)]


def apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that sum to `total`, in proportion to shares that sum to 1.

    Rounds by the largest remainder; equal remainders favour the earlier share.

    >>> apportion(10, [0.55, 0.25, 0.2])
    [6, 2, 2]
    """
    exact = [total * share for share in shares]
    counts = [math.floor(value) for value in exact]
    order = sorted(range(len(shares)), key=lambda index: counts[index] - exact[index])
    for index in order[: total - sum(counts)]:
        counts[index] += 1
    return counts
