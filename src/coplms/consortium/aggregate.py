"""Uploads -> one shared part."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from coplms.consortium.messages import Upload
from coplms.errors import ConsortiumError


def weighted_mean(uploads: Iterable[Upload]) -> dict[str, Tensor]:
    """The mean of the uploads' tensors, weighted by their numbers of examples, in float64.

    FedAvg (McMahan et al. 2017, arXiv:1602.05629, algorithm 1). For LoRA the factors are
    averaged one by one, which is inexact: mean(B) mean(A) is not mean(BA). One upload is held at
    a time.

    Args:
        uploads: At least one, of the same tensors; in a fixed order where the last bit matters.

    Raises:
        ConsortiumError: If there is none, or devices sent different tensors.
    """
    first: Upload | None = None  # without its values, which take no memory on "meta"
    totals: dict[str, Tensor] = {}
    num_examples = 0
    for upload in uploads:
        if first is None:
            first = replace(upload, shared={k: v.to("meta") for k, v in upload.shared.items()})
            zeros = torch.zeros_like
            totals = {k: zeros(v, dtype=torch.float64) for k, v in upload.shared.items()}
        _check_alike(first, upload)
        for name, total in totals.items():
            total += upload.num_examples * upload.shared[name].double()
        num_examples += upload.num_examples
        del upload  # before the next one is read
    if first is None:
        raise ConsortiumError("no device answered this round, so there is nothing to aggregate")
    dtypes = {name: value.dtype for name, value in first.shared.items()}
    return {name: (total / num_examples).to(dtypes[name]) for name, total in totals.items()}


def _check_alike(left: Upload, right: Upload) -> None:
    difference = _difference(left, right)
    if difference:
        raise ConsortiumError(
            f"round {left.round_number}: devices '{left.device}' and '{right.device}' sent "
            f"different tensors: {difference}. Build every DPM from the same `dpm:` section"
        )


def _difference(left: Upload, right: Upload) -> str | None:
    names = sorted(left.shared.keys() ^ right.shared.keys())
    if names:
        return f"only one has {names[0]}"
    for name, tensor in left.shared.items():
        shapes = (tuple(tensor.shape), tuple(right.shared[name].shape))
        if shapes[0] != shapes[1]:
            return f"{name} has the shapes {shapes[0]} and {shapes[1]}"
    return None
