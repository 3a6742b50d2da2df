"""Two token sequences, or two vocabularies, matched by how alike their tokens are spelt.

The alignment of FedMKT (arXiv:2406.02224, "Bidirectional Token Alignment"), kept for comparison;
SAML's own is `coplms.alignment.places`. Tokens of one text are matched by dynamic programming:
matching two of them costs the edit distance of their spellings. Time and space are the product of
both lengths. A vocabulary maps to another by equal spelling, else by the least edit distance.

Spellings are bytes (`coplms.alignment.token_bytes`), so tokenizers of different kinds can be
compared without a table of how each of them writes a space.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coplms.alignment.kept import kept_path, read_arrays, write_arrays
from coplms.alignment.token_bytes import TokenBytes

NO_TOKEN = -1
"""Where a vocabulary has no counterpart for a token."""

_CACHE_VERSION = 1
"""Rises whenever the same tokenizers would get another map than before."""

_TEXTLESS = b"</s>"
"""What tokens without text count as in a sequence: two of them match at no cost."""


@dataclass(frozen=True)
class Matching:
    """Which tokens of two sequences belong together.

    Attributes:
        cost: Sum of the pairs' edit distances; no other way through both sequences costs less.
        pairs: Positions on the left and on the right, rising on both sides. Every token is in one
            pair at least, if both sequences have tokens.
    """

    cost: int
    pairs: tuple[tuple[int, int], ...]

    def rights(self) -> list[list[int]]:
        """The right side's positions that each left token is matched with.

        >>> Matching(0, ((0, 0), (1, 1), (1, 2))).rights()
        [[0], [1, 2]]
        """
        return _grouped(self.pairs)

    def lefts(self) -> list[list[int]]:
        """The left side's positions that each right token is matched with.

        >>> Matching(0, ((0, 0), (1, 1), (1, 2))).lefts()
        [[0], [1], [1]]
        """
        return _grouped([(right, left) for left, right in self.pairs])


def _grouped(pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return list(groups.values())


@lru_cache(maxsize=2**18)
def token_distance(left: bytes, right: bytes) -> int:
    """The fewest bytes to insert, delete or replace that turn one spelling into the other.

    >>> token_distance(b"kitten", b"sitting")
    3
    """
    if left == right:
        return 0
    above = list(range(len(right) + 1))
    for row, byte in enumerate(left, start=1):
        current = [row]
        for column, other in enumerate(right, start=1):
            replaced = above[column - 1] + (byte != other)
            current.append(min(replaced, above[column] + 1, current[-1] + 1))
        above = current
    return above[-1]


def match_tokens(left: Sequence[bytes | None], right: Sequence[bytes | None]) -> Matching:
    """The cheapest matching of two token sequences of one text, in their order.

    From one pair to the next either side moves on by one token, or both do. Of equally cheap
    ways the one where both move on is taken, then the one where the left side does.

    Args:
        left: The bytes of each token; None for one that stands for no text, such as EOS.
        right: Likewise. Where either side has no tokens, nothing is matched.

    >>> match_tokens([b" the", b" ca", b"t", None], [b" the", b" cat", None]).rights()
    [[0], [1], [1], [2]]
    """
    if not left or not right:
        return Matching(0, ())
    costs = _costs(_spelt(left), _spelt(right))
    row, column = len(left) - 1, len(right) - 1
    pairs = [(row, column)]
    while row or column:
        if row and column:
            before = costs[row - 1][column - 1], costs[row - 1][column], costs[row][column - 1]
            step = before.index(min(before))
        else:
            step = 1 if row else 2
        row, column = row - (step != 2), column - (step != 1)
        pairs.append((row, column))
    return Matching(costs[-1][-1], tuple(reversed(pairs)))


def _spelt(tokens: Sequence[bytes | None]) -> list[bytes]:
    return [_TEXTLESS if token is None else token for token in tokens]


def _costs(left: Sequence[bytes], right: Sequence[bytes]) -> list[list[int]]:
    """What matching all tokens up to each pair costs, `[left][right]`."""
    rows: list[list[int]] = []
    for token in left:
        current: list[int] = []
        for column, other in enumerate(right):
            before = current[-1:]
            if rows:
                before += rows[-1][max(column - 1, 0) : column + 1]
            current.append(token_distance(token, other) + min(before, default=0))
        rows.append(current)
    return rows


def vocabulary_map(
    source: TokenBytes, target: TokenBytes, source_vocab_size: int, target_vocab_size: int
) -> NDArray[np.int64]:
    """The token of the target vocabulary that stands for each token of the source.

    It is spelt the same, or else has the least edit distance; of several the lowest id counts. EOS
    stands for EOS. The map of the other direction is not its inverse: call this with the sides
    exchanged.

    Args:
        source: Bytes of the tokens to be mapped.
        target: Bytes of the tokens that they are mapped to.
        source_vocab_size: Number of the source model's logits columns.
        target_vocab_size: Likewise; tokens beyond them are mapped to by none.

    Returns:
        Ids of the target, `[source_vocab_size]`; `NO_TOKEN` for what stands for no text: padded
        columns and special tokens but EOS.

    >>> source = TokenBytes.of([b"cat", b"cats", None], eos_id=2)
    >>> target = TokenBytes.of([None, b"dog", b"cat"], eos_id=0)
    >>> vocabulary_map(source, target, 4, 3).tolist()
    [2, 2, 0, -1]
    """
    known: dict[bytes, int] = {}
    for index, string in enumerate(target.strings[:target_vocab_size]):
        if string is not None:
            known.setdefault(string, index)
    by_length = _by_length(known)
    ids = np.full(source_vocab_size, NO_TOKEN, dtype=np.int64)
    for index, string in enumerate(source.strings[:source_vocab_size]):
        if string is not None:
            equal = known.get(string)
            ids[index] = _nearest(string, by_length) if equal is None else equal
    if source.eos_id < source_vocab_size and target.eos_id < target_vocab_size:
        ids[source.eos_id] = target.eos_id
    return ids


def load_vocabulary_map(
    source: TokenBytes,
    target: TokenBytes,
    source_vocab_size: int,
    target_vocab_size: int,
    cache: Path | None,
) -> NDArray[np.int64]:
    """`vocabulary_map`, built once and kept on disk: vocabularies of real size take hours.

    Args:
        source: As there.
        target: As there.
        source_vocab_size: As there.
        target_vocab_size: As there.
        cache: Folder for finished maps, made if absent; None keeps nothing. A damaged file in it
            is built anew.
    """
    if cache is None:
        return vocabulary_map(source, target, source_vocab_size, target_vocab_size)
    key = (_CACHE_VERSION, source.digest, target.digest, source_vocab_size, target_vocab_size)
    path = kept_path(cache, "vocabulary", *key)
    stored = read_arrays(path, "ids")
    if stored is not None and _can_be_right(stored[0], source_vocab_size, target_vocab_size):
        return stored[0]
    ids = vocabulary_map(source, target, source_vocab_size, target_vocab_size)
    write_arrays(path, ids=ids)
    return ids


def _can_be_right(ids: NDArray[np.int64], source_vocab_size: int, target_vocab_size: int) -> bool:
    if ids.shape != (source_vocab_size,) or ids.dtype != np.int64:
        return False
    return bool(ids.min() >= NO_TOKEN and ids.max() < target_vocab_size)


Spellings = dict[int, tuple[NDArray[np.int64], NDArray[np.uint8]]]
"""Length in bytes -> ids, rising, and their bytes, `[tokens, length]`."""


def _by_length(known: dict[bytes, int]) -> Spellings:
    groups: dict[int, list[bytes]] = defaultdict(list)
    for string in known:
        groups[len(string)].append(string)
    return {
        length: (
            np.array([known[string] for string in strings], dtype=np.int64),
            np.frombuffer(b"".join(strings), dtype=np.uint8).reshape(len(strings), length),
        )
        for length, strings in groups.items()
    }


def _nearest(string: bytes, by_length: Spellings) -> int:
    """The id with the least edit distance; tokens too long or too short to win are passed over."""
    best = (np.inf, NO_TOKEN)
    for length in sorted(by_length, key=lambda length: abs(length - len(string))):
        if abs(length - len(string)) > best[0]:
            break
        ids, spellings = by_length[length]
        distances = _distances(string, spellings)
        least = distances.argmin()
        best = min(best, (float(distances[least]), int(ids[least])))
    return best[1]


def _distances(string: bytes, spellings: NDArray[np.uint8]) -> NDArray[np.int64]:
    """`token_distance` of one string to many of one length, row by row of its table."""
    columns = np.arange(spellings.shape[1] + 1)
    above = np.tile(columns, (len(spellings), 1))
    for row, byte in enumerate(string, start=1):
        current = np.full_like(above, row)
        current[:, 1:] = np.minimum(above[:, :-1] + (spellings != byte), above[:, 1:] + 1)
        # Insertions run along the row: the least of (cost - column) so far, plus the column.
        above = np.minimum.accumulate(current - columns, axis=1) + columns
    distances: NDArray[np.int64] = above[:, -1]
    return distances
