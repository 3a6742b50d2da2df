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


def weighted_product(uploads: Iterable[Upload]) -> dict[str, Tensor]:
    """As `weighted_mean`, but the mean of LoRA's products B A, cut to the rank again.

    The best approximation of that rank to the weighted mean of the updates (Eckart and Young; as in
    FlexLoRA, arXiv:2402.11505): of sum_i w_i B_i A_i = [w_1 B_1 ...] [A_1; ...] the singular
    values are found from QR factors of both sides, so that no full matrix is made. What is not a
    factor is averaged as it is. All uploads are held at once.

    Raises:
        ConsortiumError: As `weighted_mean`.
    """
    held = list(uploads)
    mean = weighted_mean(held)
    weights = [each.num_examples / sum(one.num_examples for one in held) for each in held]
    for name in mean:
        if _A in name:
            other = name.replace(_A, _B)
            down = torch.cat([each.shared[name].double() for each in held])
            up = torch.cat(
                [w * each.shared[other].double() for w, each in zip(weights, held, strict=True)], 1
            )
            mean[other], mean[name] = _cut_to_rank(up, down, mean[name])
    return mean


_A, _B = ".lora_A.", ".lora_B."


def _cut_to_rank(up: Tensor, down: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Factors B and A of the rank of `like` (an A) whose product is nearest to up @ down."""
    rank = len(like)
    left, left_rest = torch.linalg.qr(up)
    right, right_rest = torch.linalg.qr(down.T)
    u, values, v = torch.linalg.svd(left_rest @ right_rest.T, full_matrices=False)
    root = values[:rank].sqrt()
    b, a = left @ u[:, :rank] * root, root[:, None] * (v[:rank] @ right.T)
    missing = rank - len(root)  # where a side is narrower than the rank
    b = torch.nn.functional.pad(b, (0, missing))
    a = torch.nn.functional.pad(a, (0, 0, 0, missing))
    return b.to(like.dtype).contiguous(), a.to(like.dtype).contiguous()


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
