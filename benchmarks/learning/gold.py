"""GOLD as TRL has it: its own loss class, on our models' logits.

Answer tokens meet where their bytes end together, groups of tokens are merged by the chain rule
(`bayesian`), tokens of equal spelling are compared by the Jensen-Shannon divergence, all others by
sorted probabilities (`hybrid`). It reads whole sequences of logits, prompts included, and takes
byte-level tokenizers only.
"""

import importlib.util
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from coplms.training.encoding import EncodedExample
from coplms.training.learner import Learner
from coplms.training.pair import Pairing
from coplms.training.pair_encoding import PairedExample
from learning.scales import Done, Setting

IGNORED = -100


def is_installed() -> bool:
    return importlib.util.find_spec("trl") is not None


def gold(pairing: Pairing, pairs: Sequence[PairedExample], setting: Setting, _: Done) -> Tensor:
    """Cross-entropy and GOLD's distillation loss."""
    teacher = _inputs(pairing.left, [pair.left for pair in pairs])
    learner = _inputs(pairing.right, [pair.right for pair in pairs])
    with torch.no_grad():
        peer = _logits(pairing.left, teacher)
    loss: Tensor = _loss_class(pairing, setting.weight)(
        student_logits=_logits(pairing.right, learner),
        teacher_logits=peer,
        student_labels=learner["labels"],
        teacher_labels=teacher["labels"],
        student_input_ids=learner["ids"],
        teacher_input_ids=teacher["ids"],
        student_byte_offsets=learner["offsets"],
        teacher_byte_offsets=teacher["offsets"],
    )
    return loss


@lru_cache(maxsize=8)
def _loss_class(pairing: Pairing, weight: float) -> Any:
    from trl.experimental.gold import GOLDConfig
    from trl.experimental.gold.gold_trainer import ULDLoss

    with tempfile.TemporaryDirectory() as folder:
        config = GOLDConfig(
            output_dir=folder,
            use_uld_loss=True,
            use_extended_uld=True,
            uld_token_merge_strategy="bayesian",
            uld_use_hybrid_loss=True,
            uld_crossentropy_weight=1.0,
            uld_distillation_weight=weight,
            bf16=False,
            report_to=[],
        )
    student, teacher = pairing.right.model.tokenizer, pairing.left.model.tokenizer
    return ULDLoss(config, student_tokenizer=student, teacher_tokenizer=teacher)


def _inputs(learner: Learner, examples: Sequence[EncodedExample]) -> dict[str, Tensor]:
    """Whole sequences, EOS included; offsets count bytes of the answer."""
    width = max(len(example) for example in examples)
    ids = torch.full((len(examples), width), learner.pad)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    offsets = torch.zeros(len(examples), width, 2, dtype=torch.long)
    for row, example in enumerate(examples):
        start, end = len(example.prompt), len(example)
        ids[row, :end] = torch.tensor((*example.prompt, *example.answer))
        mask[row, :end] = 1
        labels[row, start:end] = torch.tensor(example.answer)
        ends = torch.from_numpy(example.ends)
        offsets[row, start:end, 1] = ends
        offsets[row, start + 1 : end, 0] = ends[:-1]
    return {"ids": ids, "mask": mask, "labels": labels, "offsets": offsets}


def _logits(learner: Learner, inputs: dict[str, Tensor]) -> Tensor:
    logits: Tensor = learner.model.network(
        input_ids=inputs["ids"], attention_mask=inputs["mask"], use_cache=False
    ).logits
    return logits
