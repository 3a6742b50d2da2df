"""The tensors that a step needs of its examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coplms.alignment.places import Chunks
from coplms.training.encoding import EncodedExample
from coplms.training.pair_encoding import PairedExample


@dataclass(frozen=True, eq=False)
class Batch:
    """Right-padded sequences of one model.

    Attributes:
        input_ids: `[batch, sequence]`.
        attention_mask: 1 where a token is, `[batch, sequence]`.
        rows: Flat index into `[batch * sequence]` of the row that predicts each answer token.
        targets: The answer tokens, `[rows]`.
        samples: The sequence that each answer token belongs to, `[rows]`.
        ends: Byte places of the answer tokens, `[rows]`.
        tokens: Tokens that are read, padding not counted.
        answer_tokens: Tokens that are predicted.
        places: Tokens and padding.
    """

    input_ids: Tensor
    attention_mask: Tensor
    rows: Tensor
    targets: Tensor
    samples: NDArray[np.int64]
    ends: NDArray[np.int64]
    tokens: int = 0
    answer_tokens: int = 0
    places: int = 0


@dataclass(frozen=True, eq=False)
class PairedBatch:
    """The same texts for two models.

    Attributes:
        left: For the left model, on its device.
        right: For the right model, on its device.
        chunks: Where the answers meet; indices count each batch's answer tokens.
    """

    left: Batch
    right: Batch
    chunks: Chunks


def on_device(array: NDArray[np.int64], device: torch.device) -> Tensor:
    """The numbers on a device; the host does not wait for a GPU to take them."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def collate(examples: Sequence[EncodedExample], pad: int, device: torch.device) -> Batch:
    """The batch's tensors; the last answer token is predicted, never read."""
    width = max(len(example) for example in examples) - 1
    input_ids = np.full((len(examples), width), pad, dtype=np.int64)
    mask = np.zeros((len(examples), width), dtype=np.int64)
    rows, targets, samples = [], [], []
    for index, example in enumerate(examples):
        tokens = (*example.prompt, *example.answer[:-1])
        input_ids[index, : len(tokens)] = tokens
        mask[index, : len(tokens)] = 1
        first = index * width + len(example.prompt) - 1
        rows.append(np.arange(first, first + len(example.answer), dtype=np.int64))
        targets.append(np.asarray(example.answer, dtype=np.int64))
        samples.append(np.full(len(example.answer), index, dtype=np.int64))
    return Batch(
        input_ids=on_device(input_ids, device),
        attention_mask=on_device(mask, device),
        rows=on_device(np.concatenate(rows), device),
        targets=on_device(np.concatenate(targets), device),
        samples=np.concatenate(samples),
        ends=np.concatenate([example.ends for example in examples]),
        tokens=sum(len(example) - 1 for example in examples),
        answer_tokens=sum(len(example.answer) for example in examples),
        places=input_ids.size,
    )


def collate_pair(
    pairs: Sequence[PairedExample],
    pads: tuple[int, int],
    devices: tuple[torch.device, torch.device],
) -> PairedBatch:
    """The tensors of both models' batches, and the chunks in which their answers meet.

    Args:
        pairs: At least one.
        pads: The left and the right model's padding token.
        devices: Where the left and the right batch go.
    """
    left = [pair.left for pair in pairs]
    right = [pair.right for pair in pairs]
    return PairedBatch(
        left=collate(left, pads[0], devices[0]),
        right=collate(right, pads[1], devices[1]),
        chunks=_joined([pair.chunks for pair in pairs], _first_rows(left), _first_rows(right)),
    )


def _first_rows(examples: Sequence[EncodedExample]) -> NDArray[np.int64]:
    """Index of each example's first answer token among all of them."""
    counts = np.array([len(example.answer) for example in examples], dtype=np.int64)
    return np.cumsum(counts) - counts


def _joined(
    parts: Sequence[Chunks], left_first: NDArray[np.int64], right_first: NDArray[np.int64]
) -> Chunks:
    """The chunks of all examples, where each example's tokens begin at the given indices."""
    sample = np.repeat(np.arange(len(parts)), [len(part.sample) for part in parts])
    return Chunks(
        sample=sample,
        left_first=np.concatenate([part.left_first for part in parts]) + left_first[sample],
        left_count=np.concatenate([part.left_count for part in parts]),
        right_first=np.concatenate([part.right_first for part in parts]) + right_first[sample],
        right_count=np.concatenate([part.right_count for part in parts]),
    )
