"""Sequences that can only be foreseen by copying from what came before."""

import torch
from jaxtyping import Int
from torch import Tensor

COPY_TOKENS = 64
"""Tokens of a sequence."""
COPYING_ALONE = 0.25
"""Part of the training, from its beginning, in which there is no text."""
BESIDE_TEXT = 0.25
"""Part of the sequences that stays beside text, so that copying is not forgotten."""
_SHORTEST, _LONGEST_AT_FIRST, _LONGEST = 3, 12, 32


def copies(
    count: int, known: Int[Tensor, " tokens"], progress: float, generator: torch.Generator
) -> Int[Tensor, "count tokens_plus_one"]:
    """Random tokens that repeat: after the first period every token can be copied.

    A network that learns to foresee them has found how to copy ("induction heads", Olsson et al.
    2022, arXiv:2209.11895), which pre-training at real size teaches and a few million tokens of
    text do not. Periods of 3 to 12 tokens come first, as they are learnt first; beside text there
    are periods of up to 32.

    Args:
        count: Sequences while there is no text.
        known: The tokens to draw from.
        progress: Part of the training that is over, 0 to 1.
        generator: Decides periods and tokens.
    """
    alone = progress < COPYING_ALONE
    count = count if alone else max(1, round(BESIDE_TEXT * count))
    longest = _LONGEST_AT_FIRST if alone else _LONGEST
    periods = torch.randint(_SHORTEST, longest + 1, (count, 1), generator=generator)
    drawn = known[torch.randint(len(known), (count, longest), generator=generator)]
    return drawn.gather(1, torch.arange(COPY_TOKENS + 1).expand(count, -1) % periods)
