"""Uploads -> one shared part."""

from collections.abc import Sequence

import torch
from torch import Tensor

from coplms.consortium.messages import Upload
from coplms.errors import ConsortiumError


def weighted_mean(uploads: Sequence[Upload]) -> dict[str, Tensor]:
    """The mean of the uploads' tensors, weighted by their numbers of examples, in float64.

    FedAvg (McMahan et al. 2017, arXiv:1602.05629, algorithm 1). For LoRA the factors are
    averaged one by one, which is inexact: mean(B) mean(A) is not mean(BA).

    Args:
        uploads: At least one, of the same tensors; their order does not matter.

    Raises:
        ConsortiumError: If there is none, or devices sent different tensors.
    """
    if not uploads:
        raise ConsortiumError("no device answered this round, so there is nothing to aggregate")
    ordered = sorted(uploads, key=lambda upload: upload.device)
    first = ordered[0]
    for other in ordered[1:]:
        difference = _difference(first, other)
        if difference:
            raise ConsortiumError(
                f"round {first.round_number}: devices '{first.device}' and '{other.device}' sent "
                f"different tensors: {difference}. Build every DPM from the same `dpm:` section"
            )
    total = sum(upload.num_examples for upload in ordered)
    return {
        name: _mean([(upload.shared[name], upload.num_examples / total) for upload in ordered])
        for name in first.shared
    }


def _difference(left: Upload, right: Upload) -> str | None:
    names = sorted(left.shared.keys() ^ right.shared.keys())
    if names:
        return f"only one has {names[0]}"
    for name, tensor in left.shared.items():
        shapes = (tuple(tensor.shape), tuple(right.shared[name].shape))
        if shapes[0] != shapes[1]:
            return f"{name} has the shapes {shapes[0]} and {shapes[1]}"
    return None


def _mean(weighted: Sequence[tuple[Tensor, float]]) -> Tensor:
    total = torch.zeros_like(weighted[0][0], dtype=torch.float64)
    for tensor, weight in weighted:
        total += weight * tensor.double()
    return total.to(weighted[0][0].dtype)
