"""Causal attention over batches whose padding comes last.

No token sees a later one, so padding at the end changes no prediction that counts, and needs no
mask. Transformers would build one wherever a batch has padding, which keeps PyTorch from its
fastest kernels, and would first ask the device whether there is any, which makes the host wait.
Architectures without `scaled_dot_product_attention`, such as BLOOM, are left as they are: their
masks are built without such a question.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask

_SDPA = "sdpa"


@contextmanager
def padding_comes_last() -> Iterator[None]:
    """Let networks take every attention mask that they are given for one without padding.

    A network must be given one, even of ones only: without it, transformers looks for several
    texts in one sequence and asks the device about them.
    """
    before = ALL_MASK_ATTENTION_FUNCTIONS[_SDPA]
    ALL_MASK_ATTENTION_FUNCTIONS[_SDPA] = _mask_without_padding
    try:
        yield
    finally:
        ALL_MASK_ATTENTION_FUNCTIONS[_SDPA] = before


def _mask_without_padding(**arguments: object) -> Tensor | None:
    """None where the plain causal order suffices; a mask for sliding windows and the like."""
    mask: Tensor | None = sdpa_mask(**{**arguments, "attention_mask": None})  # type: ignore[arg-type]
    return mask
