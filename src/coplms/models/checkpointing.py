"""Gradient checkpointing: a network whose blocks are computed once more in the backward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from coplms.models.slicing import find_layers


@contextmanager
def checkpointed(network: PreTrainedModel) -> Iterator[None]:
    """Keep nothing of the network's blocks but their inputs for the backward pass.

    Gradients are those without it: dropout is repeated as it was. Blocks are wrapped here and not
    by transformers, which would make the embeddings' outputs take gradients even where all that
    lies below them is frozen. The forward pass must not fill a cache of keys and values.

    Raises:
        ModelError: If the network has no list of blocks.
    """
    _, blocks = find_layers(network)
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
