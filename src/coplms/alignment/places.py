"""Two token sequences of one answer -> chunks that cover the same bytes.

A place is a byte offset in the answer's canonical text, `" " + answer`, at which a token ends.
Where tokens of both models end at one place, their predictions can be compared (docs/paper.md,
"SAML"). Nothing here knows about prompts, rows of a network or probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from coplms.alignment.token_bytes import TokenBytes
from coplms.errors import AlignmentError

_SAMPLE_STRIDE = 2**32
"""Above every byte offset: sample * stride + end orders the places of a whole batch."""


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
    """An answer's token ids, EOS last, and the byte offsets at which they end.

    The answer follows its prompt after one space. Tokenizers that put this space there themselves
    get the bare answer, all others the canonical text.

    Args:
        token_bytes: The tokenizer's bytes.
        tokenizer: What encodes; adds no special tokens.
        answer: Any text; an empty one becomes EOS alone.

    Returns:
        Ids, and for each the end in the canonical text, -1 where it makes no boundary. EOS ends
        one byte after the text, so the EOS tokens of two models always meet.
    """
    text = f" {answer}"
    ids: list[int] = []
    ends = np.empty(0, dtype=np.int64)
    if answer:
        ids = list(tokenizer(answer, add_special_tokens=False, verbose=False)["input_ids"])
        if _spelled(token_bytes, tokenizer, ids) == text.encode():
            ends = np.cumsum(token_bytes.lengths[ids])
        else:
            encoded = tokenizer(
                text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
            ids = list(encoded["input_ids"])
            ends = answer_ends(token_bytes, tokenizer, text, ids, encoded["offset_mapping"])
    return [*ids, token_bytes.eos_id], np.append(ends, len(text.encode()) + 1)


def answer_ends(
    token_bytes: TokenBytes,
    tokenizer: PreTrainedTokenizerFast,
    text: str,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
) -> NDArray[np.int64]:
    """The byte offset in `text` at which each token ends, -1 where it makes no boundary.

    Offsets that are not -1 rise strictly. Where the tokens spell the text, byte lengths are
    summed. Otherwise (normalisers, unknown characters) the tokenizer's character offsets tell, and
    only tokens that spell a shared character's own bytes make boundaries inside it.

    Args:
        token_bytes: The tokenizer's bytes.
        tokenizer: What encoded the text; named in errors.
        text: The text that was encoded.
        ids: Its tokens, without EOS.
        offsets: First character and end of each token in `text`.

    Raises:
        AlignmentError: If the tokenizer got new tokens since its bytes were read.
        ValueError: If `ids` and `offsets` differ in length.
    """
    if len(ids) != len(offsets):
        raise ValueError(f"{len(ids)} ids cannot have {len(offsets)} offsets")
    if _spelled(token_bytes, tokenizer, ids) == text.encode():
        return np.cumsum(token_bytes.lengths[list(ids)])
    pieces = [token_bytes.strings[index] for index in ids]
    return _ends_by_offsets(pieces, text, offsets)


def _spelled(
    token_bytes: TokenBytes, tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]
) -> bytes | None:
    """The tokens' bytes in a row; None if one of them has none."""
    if max(ids, default=0) >= len(token_bytes.strings):
        raise AlignmentError(
            f"tokenizer '{tokenizer.name_or_path}' made token {max(ids)}, but had only "
            f"{len(token_bytes.strings)} tokens when their bytes were read. Read them again with "
            "token_bytes() after adding tokens"
        )
    pieces = [token_bytes.strings[index] for index in ids]
    return None if None in pieces else b"".join(piece for piece in pieces if piece is not None)


def _ends_by_offsets(
    pieces: Sequence[bytes | None], text: str, offsets: Sequence[tuple[int, int]]
) -> NDArray[np.int64]:
    ends = np.full(len(pieces), -1, dtype=np.int64)
    data, byte_of = text.encode(), _byte_offsets(text)
    groups = _groups(offsets)
    starts = [min(offsets[index][0] for index in group) for group in groups]
    last = 0
    for group, next_start in zip(groups, [*starts, len(text)][1:], strict=True):
        end_character = max(offsets[index][1] for index in group)
        end = int(byte_of[_over_swallowed(text, end_character, next_start)])
        ends[group[-1]] = end
        inner = _inner_ends([pieces[index] for index in group], data[last:end])
        if inner is not None:
            ends[group] = end + inner
        last = end
    return ends


def _byte_offsets(text: str) -> NDArray[np.int64]:
    """Byte offset of every character of `text`, and of its end.

    >>> _byte_offsets("aé€").tolist()
    [0, 1, 3, 6]
    """
    points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    widths = 1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)
    return np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)


def _groups(offsets: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Tokens that share characters with their neighbours; zero-width tokens are in no group.

    >>> _groups([(0, 1), (1, 2), (1, 2), (2, 2), (2, 3)])
    [[0], [1, 2], [4]]
    """
    groups: list[list[int]] = []
    reach = 0
    for index, (start, end) in enumerate(offsets):
        if start == end:
            continue
        if groups and start < reach:
            groups[-1].append(index)
        else:
            groups.append([index])
        reach = max(reach, end)
    return groups


def _over_swallowed(text: str, end: int, next_start: int) -> int:
    """The end of a token, moved over characters that no token claims.

    A normaliser that composes or deletes a character leaves it without a token: it belongs to the
    token before. Whitespace belongs to the one after, since trimmed offsets do not show it.
    """
    while end < next_start and not text[end].isspace():
        end += 1
    return end


def _inner_ends(pieces: Sequence[bytes | None], span: bytes) -> NDArray[np.int64] | None:
    """Ends of tokens that spell the last bytes of `span`, counted back from its end (0 or less)."""
    spelled = [piece for piece in pieces if piece is not None]
    if len(spelled) < len(pieces) or not span.endswith(b"".join(spelled)):
        return None
    lengths = np.array([len(piece) for piece in spelled], dtype=np.int64)
    inner: NDArray[np.int64] = np.cumsum(lengths) - lengths.sum()
    return inner


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
    tokens = np.arange(len(samples), dtype=np.int64)
    starts_sample = np.diff(samples, prepend=samples[:1] - 1) != 0
    sample_start = np.maximum.accumulate(np.where(starts_sample, tokens, 0))
    after_previous = np.concatenate([np.zeros(1, dtype=np.int64), last[:-1] + 1])[: len(last)]
    first: NDArray[np.int64] = np.maximum(sample_start[last], after_previous)
    return first
