"""A small batch to be read by tiny networks of 50 tokens."""

import numpy as np
import torch

from coplms.training.batches import Batch, collate
from coplms.training.encoding import EncodedExample


def make_batch() -> Batch:
    examples = [([7, 8, 9, 10], [11, 1]), ([12], [13, 14, 15, 1]), ([16, 17], [1])]
    encoded = [
        EncodedExample(tuple(p), tuple(a), np.arange(len(a), dtype=np.int64)) for p, a in examples
    ]
    return collate(encoded, pad=2, device=torch.device("cpu"))
