"""GOLD's loss as TRL has it, on our models' logits and texts.

GOLD (General Online Logit Distillation, `trl.experimental.gold`) lets a student learn from a
teacher with another tokenizer. Both must be byte-level. Its loss reads logits of whole sequences,
pairs tokens by their byte ends, as SAML does, and leaves out EOS. Token groups are merged by the
chain rule here (`bayesian`): the default (`observed`) takes each prediction from a row too late.
"""

import importlib.util
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coplms.models.language_model import LanguageModel
from coplms.training.encoding import EncodedExample
from coplms.training.learner import Learner

IGNORED = -100
"""Label of what does not count."""

VARIANTS = {"sorted": False, "hybrid": True}
"""Compare all probabilities in falling order, or by token where both vocabularies have it."""

MAKE_ENVIRONMENT = """\
GOLD is compared with as TRL has it, and TRL is not installed here. Make an environment for it, from
the folder that holds pyproject.toml:

    python3 -m venv ../gold
    ../gold/bin/pip install "$(grep '^torch==' constraints.txt)"
    ../gold/bin/pip install -c constraints.txt -r benchmarks/gold/requirements.txt -e .
    ../gold/bin/python benchmarks/gold_step.py"""


def require_trl() -> str:
    """TRL's version; ends the program with what to do where TRL is absent."""
    if importlib.util.find_spec("trl") is None:
        raise SystemExit(MAKE_ENVIRONMENT)
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import trl

    return str(trl.__version__)


@dataclass(frozen=True, eq=False)
class Sequences:
    """Texts as GOLD reads them: prompt, answer and EOS, padded on the right.

    Attributes:
        ids: `[batch, sequence]`.
        mask: 1 where a token is, `[batch, sequence]`.
        labels: The answer's tokens, `IGNORED` elsewhere, `[batch, sequence]`.
        offsets: First byte and end of each token in the answer, `[batch, sequence, 2]`.
    """

    ids: Tensor
    mask: Tensor
    labels: Tensor
    offsets: Tensor


def sequences(learner: Learner, examples: Sequence[EncodedExample]) -> Sequences:
    """The examples of one model; EOS has no width, as GOLD's own encoding has it."""
    width = max(len(example) for example in examples)
    ids = torch.full((len(examples), width), learner.pad)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    offsets = torch.zeros(*ids.shape, 2, dtype=torch.long)
    for row, example in enumerate(examples):
        start, stop = len(example.prompt), len(example)
        ids[row, :stop] = torch.tensor((*example.prompt, *example.answer))
        mask[row, :stop] = 1
        labels[row, start:stop] = torch.tensor(example.answer)
        ends = torch.from_numpy(example.ends).clamp(max=int(example.ends[-1]) - 1)
        offsets[row, start:stop, 1] = ends
        offsets[row, start + 1 : stop, 0] = ends[:-1]
    return Sequences(ids, mask, labels, offsets)


def all_logits(model: LanguageModel, batch: Sequences) -> Tensor:
    """Logits of every token, `[batch, sequence, vocabulary]`."""
    output = model.network(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    logits: Tensor = output.logits
    return logits


class GoldLoss:
    """The distillation loss of a student; plus its cross-entropy, if that is weighted."""

    def __init__(
        self,
        student: LanguageModel,
        teacher: LanguageModel,
        *,
        is_hybrid: bool,
        cross_entropy: float = 0.0,
    ) -> None:
        from trl.experimental.gold import GOLDConfig
        from trl.experimental.gold.gold_trainer import ULDLoss

        config = GOLDConfig(
            output_dir=str(Path(tempfile.gettempdir()) / "gold"),  # nothing is written
            use_uld_loss=True,
            use_extended_uld=True,
            uld_token_merge_strategy="bayesian",
            uld_use_hybrid_loss=is_hybrid,
            uld_crossentropy_weight=cross_entropy,
            bf16=False,
            use_cpu=True,
            report_to=[],
        )
        self._loss: Any = ULDLoss(
            config, student_tokenizer=student.tokenizer, teacher_tokenizer=teacher.tokenizer
        )

    def __call__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        student: Sequences,
        teacher: Sequences,
    ) -> Tensor:
        loss: Tensor = self._loss(
            student_logits=student_logits,
            teacher_logits=teacher_logits,
            student_labels=student.labels,
            teacher_labels=teacher.labels,
            student_input_ids=student.ids,
            teacher_input_ids=teacher.ids,
            student_byte_offsets=student.offsets,
            teacher_byte_offsets=teacher.offsets,
        )
        return loss

    def forget(self) -> None:
        """Lets go of the graph that the loss keeps for its logs."""
        self._loss.last_matched_loss = self._loss.last_unmatched_loss = None
