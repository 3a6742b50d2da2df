"""Learning from a teacher's most probable tokens: what FedMKT sends in place of weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coplms.losses.rows import token_nll
from coplms.training.batches import collate
from coplms.training.encoding import EncodedExample
from coplms.training.head import row_logits
from coplms.training.learner import Learner
from coplms.training.loop import StepLoss


@dataclass(frozen=True, eq=False)
class TopTokens:
    """What a model says where each token of one answer is due.

    Attributes:
        logits: The largest, falling, float32 `[answer tokens, K]`.
        ids: Their tokens, `[answer tokens, K]`.
        nats: What the whole answer costs the model.
    """

    logits: Tensor
    ids: Tensor
    nats: float


@dataclass(frozen=True, eq=False)
class SoftTargets:
    """What a learner is to say where each token of one answer is due.

    Attributes:
        ids: Tokens of the learner's vocabulary, `[answer tokens, K]`; one may occur twice.
        probabilities: Of these, `[answer tokens, K]`; each row sums to 1.
    """

    ids: Tensor
    probabilities: Tensor


@dataclass(frozen=True, eq=False)
class Lesson:
    """An example, and what a teacher says of it where the learner is to listen."""

    example: EncodedExample
    targets: SoftTargets | None

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens for each model that reads it: one."""
        return self.example.lengths


@torch.no_grad()
def top_tokens(
    learner: Learner, examples: Sequence[EncodedExample], k: int, batch_size: int = 64
) -> list[TopTokens]:
    """The model's most probable tokens for every answer token, in the examples' order.

    Args:
        learner: The model.
        examples: In its tokens.
        k: Tokens to keep; a smaller vocabulary is kept whole.
        batch_size: Examples per forward pass.
    """
    order = sorted(range(len(examples)), key=lambda index: len(examples[index]))
    found: dict[int, TopTokens] = {}
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        chosen = [examples[place] for place in places]
        batch = collate(chosen, learner.pad, learner.model.device)
        logits = row_logits(learner.model, batch).float()
        nats = token_nll(logits, batch.targets)
        values, ids = logits.topk(min(k, logits.shape[1]), dim=1)
        sizes = [len(example.answer) for example in chosen]
        parts = (each.cpu().split_with_sizes(sizes) for each in (values, ids, nats))
        for place, value, index, cost in zip(places, *parts, strict=True):
            found[place] = TopTokens(value.clone(), index.clone(), float(cost.sum()))
    return [found[place] for place in range(len(examples))]


def soft_cross_entropy(logits: Tensor, ids: Tensor, probabilities: Tensor) -> Tensor:
    """Cross-entropy of each row to a distribution over some tokens, `[rows]`.

    Args:
        logits: `[rows, vocabulary]`.
        ids: Where the distribution is not 0, `[rows, K]`.
        probabilities: `[rows, K]`.
    """
    log_probabilities = torch.log_softmax(logits.float(), dim=-1).gather(1, ids)
    return -(probabilities * log_probabilities).sum(1)


def lesson_step(
    learner: Learner, lessons: Sequence[Lesson], weight: float, total_rows: int | None = None
) -> StepLoss:
    """W CE + (1 - w) KD of one batch, each a mean over its answer tokens (FedMKT, eq. of L_t, L_s).

    Where nothing was taught, KD is 0.

    Args:
        learner: The model.
        lessons: The batch.
        weight: w, lambda in the paper.
        total_rows: Answer tokens of the whole step, where this is a piece of it.
    """
    device = learner.model.device
    batch = collate([lesson.example for lesson in lessons], learner.pad, device)
    logits = row_logits(learner.model, batch)
    divisor = total_rows or len(batch.targets)
    ce = token_nll(logits, batch.targets).sum() / divisor
    taught = _taught_rows(lessons)
    kd = torch.zeros((), device=device)
    if taught is not None:
        rows, ids, probabilities = (each.to(device) for each in taught)
        kd = soft_cross_entropy(logits[rows], ids, probabilities).sum() / divisor
    total = weight * ce + (1 - weight) * kd
    return StepLoss(
        total,
        {"loss": total.detach(), "ce": ce.detach(), "kd": kd.detach()},
        tokens=batch.tokens,
        answer_tokens=batch.answer_tokens,
        places=batch.places,
    )


def _taught_rows(lessons: Sequence[Lesson]) -> tuple[Tensor, Tensor, Tensor] | None:
    """Rows of the batch that have targets, and these; narrower targets are filled with zeros."""
    first, rows, targets = 0, [], []
    for lesson in lessons:
        size = len(lesson.example.answer)
        if lesson.targets is not None:
            rows.append(torch.arange(first, first + size))
            targets.append(lesson.targets)
        first += size
    if not targets:
        return None
    width = max(each.ids.shape[1] for each in targets)

    def wide(tensor: Tensor) -> Tensor:
        return torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]))

    ids = torch.cat([wide(each.ids) for each in targets])
    return torch.cat(rows), ids, torch.cat([wide(each.probabilities) for each in targets])
