"""A tokenizer's character offsets -> the bytes at which tokens end.

For tokens whose own bytes do not spell the text that they were made of: those of normalisers and
of unknown characters.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def offset_ends(
    pieces: Sequence[bytes | None], text: str, offsets: Sequence[tuple[int, int]]
) -> NDArray[np.int64]:
    """The byte offset in `text` at which each token ends, -1 where it makes no boundary.

    Offsets that are not -1 rise strictly. Of tokens that share a character only those that spell
    the character's own bytes make boundaries inside it.

    Args:
        pieces: The tokens' bytes; None for a token that has none.
        text: The text that was encoded.
        offsets: First character and end of each token in `text`.

    Raises:
        ValueError: If `pieces` and `offsets` differ in length.

    >>> offset_ends([b" ", b"a", b"b"], " Ab", [(0, 1), (1, 2), (2, 3)]).tolist()
    [1, 2, 3]
    """
    if len(pieces) != len(offsets):
        raise ValueError(f"{len(pieces)} tokens cannot have {len(offsets)} offsets")
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
