"""Two token sequences of one answer -> chunks that cover the same bytes.

A place is a byte offset in the answer's canonical text, `" " + answer`, at which a token ends.
Where tokens of both models end at one place, their predictions can be compared (docs/paper.md,
"SAML"). Nothing here knows about prompts, rows of a network or probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from transformers import PreTrainedTokenizerFast

from coplms.alignment.offsets import offset_ends
from coplms.alignment.token_bytes import TokenBytes
from coplms.errors import AlignmentError

_SAMPLE_STRIDE = 2**32
"""Above every byte offset: sample * stride + end orders the places of a whole batch."""

_UNSPELLED = 2**32
"""Longer than any text: what a token without bytes counts as, so that it spells none."""


@dataclass(frozen=True, eq=False)
class Chunks:
    """Runs of tokens of both sides that cover the same bytes, in the order of the batch.

    Indices count one side's answer tokens through all samples of the batch.

    Attributes:
        sample: The sample that each chunk belongs to, `[chunks]`.
        left_first: Index of its first token on the left, `[chunks]`.
        left_count: How many tokens it has on the left, at least 1, `[chunks]`.
        right_first: Likewise on the right.
        right_count: Likewise on the right.
    """

    sample: NDArray[np.int64]
    left_first: NDArray[np.int64]
    left_count: NDArray[np.int64]
    right_first: NDArray[np.int64]
    right_count: NDArray[np.int64]


def encode_answer(
    token_bytes: TokenBytes, tokenizer: PreTrainedTokenizerFast, answer: str
) -> tuple[list[int], NDArray[np.int64]]:
    """One answer's token ids and the byte offsets at which they end, as `encode_answers`.

    Raises:
        AlignmentError: If the tokenizer got new tokens since its bytes were read.
    """
    (encoded,) = encode_answers(token_bytes, tokenizer, [answer])
    return encoded


def encode_answers(
    token_bytes: TokenBytes, tokenizer: PreTrainedTokenizerFast, answers: Sequence[str]
) -> list[tuple[list[int], NDArray[np.int64]]]:
    """Each answer's token ids, EOS last, and the byte offsets at which they end.

    An answer follows its prompt after one space. Tokenizers that put this space there themselves
    get the bare answer, all others the canonical text. Where the tokens' bytes spell the canonical
    text, ends are sums of byte lengths, taken for all answers at once. Otherwise (normalisers,
    unknown characters) the tokenizer's character offsets tell.

    Args:
        token_bytes: The tokenizer's bytes.
        tokenizer: What encodes, all answers in one call; adds no special tokens.
        answers: Any texts; an empty one becomes EOS alone.

    Returns:
        Ids, and for each the end in the canonical text, -1 where it makes no boundary. EOS ends
        one byte after the text, so the EOS tokens of two models always meet.

    Raises:
        AlignmentError: If the tokenizer got new tokens since its bytes were read.
    """
    canonical = [f" {answer}" for answer in answers]
    nothing: tuple[list[int], NDArray[np.int64]] = ([], np.empty(0, dtype=np.int64))
    found = {index: nothing for index, answer in enumerate(answers) if not answer}
    for texts in (answers, canonical):
        rest = [index for index in range(len(answers)) if index not in found]
        encodings = _tokenize(token_bytes, tokenizer, [texts[index] for index in rest])
        ids = [encoding.ids for encoding in encodings]
        ends = spelled_ends(token_bytes, ids, [canonical[index].encode() for index in rest])
        for index, tokens, places in zip(rest, ids, ends, strict=True):
            if places is not None:
                found[index] = (tokens, places)
    for index, encoding, tokens in zip(rest, encodings, ids, strict=True):
        if index not in found:
            pieces = [token_bytes.strings[token] for token in tokens]
            found[index] = (tokens, offset_ends(pieces, canonical[index], encoding.offsets))
    return [
        (
            [*found[index][0], token_bytes.eos_id],
            np.append(found[index][1], len(text.encode()) + 1),
        )
        for index, text in enumerate(canonical)
    ]


def _tokenize(
    token_bytes: TokenBytes, tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> list[Encoding]:
    if not texts:
        return []
    found = tokenizer(texts, add_special_tokens=False, verbose=False)
    most = max(max(ids, default=0) for ids in found["input_ids"])
    if most >= len(token_bytes.strings):
        raise AlignmentError(
            f"tokenizer '{tokenizer.name_or_path}' made token {most}, but had only "
            f"{len(token_bytes.strings)} tokens when their bytes were read. Read them again with "
            "token_bytes() after adding tokens"
        )
    return list(found.encodings or ())


def spelled_ends(
    token_bytes: TokenBytes, sequences: Sequence[Sequence[int]], texts: Sequence[bytes]
) -> list[NDArray[np.int64] | None]:
    """Where the tokens of each sequence end in its text; None where they do not spell it.

    >>> table = TokenBytes.of([b"a", b"bc", None], eos_id=2)
    >>> spelled_ends(table, [[0, 1], [1], [1, 2]], [b"abc", b"cb", b"bc"])
    [array([1, 3]), None, None]
    """
    counts = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    sizes = np.array([len(text) for text in texts], dtype=np.int64)
    ids = np.fromiter(chain.from_iterable(sequences), np.int64, count=int(counts.sum()))
    lengths = token_bytes.lengths[ids]
    lengths[lengths < 0] = _UNSPELLED
    borders = _borders(counts)
    totals = _borders(lengths)
    starts = totals[borders[:-1]]
    fits = totals[borders[1:]] - starts == sizes
    # Lengths may fit by chance, so the bytes themselves are compared where they do.
    given = b"".join(text for text, fit in zip(texts, fits, strict=True) if fit)
    spelled = token_bytes.joined(ids[np.repeat(fits, counts)])
    wrong = _borders(spelled != np.frombuffer(given, dtype=np.uint8))
    fits[fits] = np.diff(wrong[_borders(sizes[fits])]) == 0
    ends = totals[1:] - np.repeat(starts, counts)
    return [
        ends[first:last] if fit else None
        for fit, (first, last) in zip(fits, pairwise(borders.tolist()), strict=True)
    ]


def _borders(lengths: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where runs of these lengths begin, and where the last one ends.

    >>> _borders(np.array([2, 0, 1])).tolist()
    [0, 2, 2, 3]
    """
    borders = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=borders[1:])
    return borders


def align(
    left_ends: NDArray[np.int64],
    left_samples: NDArray[np.int64],
    right_ends: NDArray[np.int64],
    right_samples: NDArray[np.int64],
) -> Chunks:
    """The chunks of a whole batch, in time linear in its tokens but for one binary search.

    A chunk runs from the end of the one before, or from its sample's start, to the next common
    end. Tokens after a sample's last common end are in no chunk, nor are samples that only one
    side has.

    Args:
        left_ends: Byte offset at which each answer token ends, -1 for none, `[left tokens]`.
        left_samples: Its sample, never falling, `[left tokens]`.
        right_ends: Likewise, `[right tokens]`.
        right_samples: Likewise, `[right tokens]`.

    Raises:
        ValueError: If samples fall, or ends do not rise within a sample.

    >>> chunks = align(np.array([1, 3, 6]), np.zeros(3, int), np.array([3, 4, 6]), np.zeros(3, int))
    >>> chunks.left_first.tolist(), chunks.left_count.tolist()
    ([0, 2], [2, 1])
    >>> chunks.right_first.tolist(), chunks.right_count.tolist()
    ([0, 1], [1, 2])
    """
    left_tokens, left_places = _places(left_ends, left_samples, "left")
    right_tokens, right_places = _places(right_ends, right_samples, "right")
    found = np.searchsorted(right_places, left_places)
    inside = found < len(right_places)
    common = inside.copy()
    common[inside] = right_places[found[inside]] == left_places[inside]
    left_last, right_last = left_tokens[common], right_tokens[found[common]]
    left_first = _firsts(left_last, left_samples)
    right_first = _firsts(right_last, right_samples)
    return Chunks(
        sample=left_samples[left_last].astype(np.int64),
        left_first=left_first,
        left_count=left_last - left_first + 1,
        right_first=right_first,
        right_count=right_last - right_first + 1,
    )


def _places(
    ends: NDArray[np.int64], samples: NDArray[np.int64], side: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The tokens that make a boundary, and their places in the whole batch."""
    if ends.shape != samples.shape:
        raise ValueError(f"{side}: {len(ends)} ends cannot have {len(samples)} samples")
    tokens = np.flatnonzero(ends >= 0)
    places = samples[tokens].astype(np.int64) * _SAMPLE_STRIDE + ends[tokens]
    if np.any(np.diff(samples) < 0) or np.any(np.diff(places) <= 0):
        raise ValueError(f"{side}: samples must not fall, and ends must rise within a sample")
    return tokens, places


def _firsts(last: NDArray[np.int64], samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """First token of the chunks that end with the tokens `last`."""
    first = np.zeros_like(last)
    first[1:] = last[:-1] + 1
    sample = samples[last]
    is_new = np.diff(sample, prepend=sample[:1] - 1) != 0
    first[is_new] = np.searchsorted(samples, sample[is_new])
    return first
