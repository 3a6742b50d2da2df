"""How much common ground two tokenizers have: classes, vocabularies, chunks of real answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coplms.alignment.classes import load_class_map
from coplms.alignment.places import align, encode_answers
from coplms.alignment.token_bytes import TokenBytes
from coplms.data.example import Example
from coplms.models.language_model import LanguageModel
from coplms.models.load import vocab_size
from coplms.training.encoding import Encoder

SAMPLE = 500
"""Answers that chunks are counted on."""


@dataclass(frozen=True)
class PairCheck:
    """The DPM and one model that it teaches and learns from.

    Attributes:
        member: Where the two meet.
        model: The other model, `llm` or `slm`.
        num_classes: Outcomes that both can tell apart, EOS included.
        dpm_own: Share of the DPM's text tokens that are a class of their own, 0 to 1.
        model_own: Likewise of the other model's.
        one_to_one: Share of chunks of the sample that are one token on both sides, 0 to 1.
        num_answers: Answers of the sample.
    """

    member: str
    model: str
    num_classes: int
    dpm_own: float
    model_own: float
    one_to_one: float
    num_answers: int


def count_classes(dpm: LanguageModel, other: LanguageModel, cache: Path) -> int:
    """Common classes, EOS included and the rest class not; the map itself is kept in `cache`.

    Raises:
        AlignmentError: If the two have no token in common.
    """
    found = load_class_map(
        dpm.tokenizer, other.tokenizer, vocab_size(dpm), vocab_size(other), cache
    )
    return found.num_classes - 1


def check_pair(
    who: tuple[str, str], dpm: Encoder, other: Encoder, examples: Sequence[Example], cache: Path
) -> PairCheck:
    """What the DPM and another model have in common.

    Args:
        who: Member and role of the other model.
        dpm: The DPM's tokenizer.
        other: The other model's.
        examples: The member's; the first `SAMPLE` are used.
        cache: Folder of class maps.

    Raises:
        AlignmentError: If the two have no token in common.
    """
    dpm_own, other_own = _own_shares(dpm.bytes, other.bytes)
    return PairCheck(
        member=who[0],
        model=who[1],
        num_classes=count_classes(dpm.model, other.model, cache),
        dpm_own=dpm_own,
        model_own=other_own,
        one_to_one=_one_to_one(dpm, other, examples[:SAMPLE]),
        num_answers=len(examples[:SAMPLE]),
    )


def check_same_pair(
    found: PairCheck, member: str, encoders: tuple[Encoder, Encoder], examples: Sequence[Example]
) -> PairCheck:
    """Likewise, of another member with the same two models; only its own text is looked at."""
    sample = examples[:SAMPLE]
    share = _one_to_one(*encoders, sample)
    return replace(found, member=member, one_to_one=share, num_answers=len(sample))


def _one_to_one(dpm: Encoder, other: Encoder, examples: Sequence[Example]) -> float:
    chunks = align(*_ends(dpm, examples), *_ends(other, examples))
    return float(np.mean((chunks.left_count == 1) & (chunks.right_count == 1)))


def _own_shares(left: TokenBytes, right: TokenBytes) -> tuple[float, float]:
    sides = [[each for each in side.strings if each is not None] for side in (left, right)]
    common = set(sides[0]) & set(sides[1])
    own = [sum(each in common for each in side) / max(1, len(side)) for side in sides]
    return own[0], own[1]


def _ends(
    encoder: Encoder, examples: Sequence[Example]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Byte ends of all answer tokens, and the answer that each belongs to."""
    answers = [example.answer for example in examples]
    found = [ends for _, ends in encode_answers(encoder.bytes, encoder.model.tokenizer, answers)]
    numbers = [np.full(len(ends), number, dtype=np.int64) for number, ends in enumerate(found)]
    return np.concatenate(found), np.concatenate(numbers)
