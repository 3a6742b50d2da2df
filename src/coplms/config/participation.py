"""Who takes part in a round."""

import random
from collections.abc import Sequence


def draw_devices(
    devices: Sequence[str], participation: float, seed: int, round_number: int
) -> list[str]:
    """The devices of a round, in the order in which they are given; at least one.

    Args:
        devices: All that are expected.
        participation: Part of them that is drawn.
        seed: The run's; the same seed draws the same devices, whoever is there.
        round_number: From 1.

    >>> draw_devices(["a", "b", "c", "d"], 0.5, seed=0, round_number=1)
    ['a', 'c']
    """
    count = max(1, round(participation * len(devices)))
    drawn = set(random.Random(f"{seed}/round-{round_number}").sample(list(devices), count))
    return [device for device in devices if device in drawn]
