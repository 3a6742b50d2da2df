"""Two vocabularies -> common classes, so that two distributions can be compared.

A token whose bytes both vocabularies have is a class of its own. Any other token is replaced by
its first piece in the other vocabulary, that one by its first piece in the first, and so on: "201"
goes to "2". A piece is where the other tokenizer really cuts, not the longest prefix that it knows:
a model that writes "tr|ans|late" predicts "tr", even where "trans" is a token too. A tokenizer
that changes characters takes its first piece of the text as changed: " The" goes to " the" where
that is all it writes. Pieces get shorter, so this ends; nothing stays unmatched, so folding a
distribution preserves its mass (docs/paper.md, "Classes").
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from coplms.alignment.kept import kept_path, read_arrays, write_arrays
from coplms.alignment.token_bytes import TokenBytes, token_bytes
from coplms.errors import AlignmentError

_CACHE_VERSION = 3
"""Rises whenever the same tokenizers would get other classes than before."""


@dataclass(frozen=True, eq=False)
class ClassMap:
    """The class of every logits column of two models.

    Every class has columns on both sides, except `other_class`: that one may be empty on one side
    or both, where its probability is 0.

    Attributes:
        left: Class of each column, `[vocab_left]`.
        right: Class of each column, `[vocab_right]`.
        num_classes: How many classes there are.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    num_classes: int

    @property
    def eos_class(self) -> int:
        """Where both sides' EOS tokens are, and nothing else."""
        return self.num_classes - 2

    @property
    def other_class(self) -> int:
        """Where special tokens, padded columns, and tokens that share no prefix are."""
        return self.num_classes - 1


def build_class_map(
    left: TokenBytes, right: TokenBytes, left_vocab_size: int, right_vocab_size: int
) -> ClassMap:
    """The common classes of two vocabularies, the same for either order of the sides.

    Equal tokenizers get a class per token. Otherwise classes are numbered by sorted byte strings,
    then EOS, then the rest, and tokens of equal bytes share a class.

    Args:
        left: One tokenizer's bytes.
        right: The other's.
        left_vocab_size: Number of the left model's logits columns; columns beyond its tokens are
            padding, and tokens beyond its columns cannot be predicted and are left out.
        right_vocab_size: Likewise.

    Raises:
        AlignmentError: If the vocabularies share no token, or a model cannot predict EOS.

    >>> left = TokenBytes.of([b"2", b"201", None], eos_id=2)
    >>> right = TokenBytes.of([None, b"2"], eos_id=0)
    >>> classes = build_class_map(left, right, 3, 2)
    >>> classes.left.tolist(), classes.right.tolist()
    ([0, 0, 1], [1, 0])
    """
    _check_eos(left, left_vocab_size)
    _check_eos(right, right_vocab_size)
    if left.digest == right.digest and len(left.strings) <= min(left_vocab_size, right_vocab_size):
        return _identity(left, left_vocab_size, right_vocab_size)
    left_set = {string for string in left.strings[:left_vocab_size] if string is not None}
    right_set = {string for string in right.strings[:right_vocab_size] if string is not None}
    common = {string: number for number, string in enumerate(sorted(left_set & right_set))}
    if not common:
        raise AlignmentError(
            f"the two tokenizers (with {len(left_set)} and {len(right_set)} tokens that stand for "
            "text) have no token in common, so their models cannot learn from each other. Use "
            "tokenizers of the same writing, or with single bytes in their vocabularies"
        )
    return ClassMap(
        left=_side(left, right, left_vocab_size, common),
        right=_side(right, left, right_vocab_size, common),
        num_classes=len(common) + 2,
    )


def _check_eos(table: TokenBytes, vocab_size: int) -> None:
    if table.eos_id >= vocab_size:
        raise AlignmentError(
            f"the EOS token has id {table.eos_id}, but the model predicts only {vocab_size} tokens."
            " Resize the model's embeddings to its tokenizer, or choose another EOS token"
        )


def _identity(table: TokenBytes, left_vocab_size: int, right_vocab_size: int) -> ClassMap:
    num_tokens = len(table.strings)
    ids = np.arange(num_tokens, dtype=np.int64)
    classes = np.where(ids > table.eos_id, ids - 1, ids)
    classes[table.eos_id] = num_tokens - 1
    left = np.full(left_vocab_size, num_tokens, dtype=np.int64)
    right = np.full(right_vocab_size, num_tokens, dtype=np.int64)
    left[:num_tokens] = right[:num_tokens] = classes
    return ClassMap(left, right, num_tokens + 1)


def _side(
    table: TokenBytes, peer: TokenBytes, vocab_size: int, common: dict[bytes, int]
) -> NDArray[np.int64]:
    """The class of each of one side's columns."""
    eos_class, other_class = len(common), len(common) + 1
    classes = np.full(vocab_size, other_class, dtype=np.int64)
    for index, string in enumerate(table.strings[:vocab_size]):
        if string is not None:
            classes[index] = _class_of(string, (peer, table), common, other_class)
    classes[table.eos_id] = eos_class
    return classes


def _class_of(
    string: bytes,
    turns: tuple[TokenBytes, TokenBytes],
    common: dict[bytes, int],
    other_class: int,
) -> int:
    """The class that the first pieces, cut by the two tokenizers in turn, end in."""
    piece: bytes | None = string
    seen: set[bytes] = set()
    while piece is not None and piece not in seen:
        number = common.get(piece)
        if number is not None:
            return number
        seen.add(piece)  # two tokenizers may undo each other's changes of characters
        piece = turns[0].first_piece(piece)
        turns = (turns[1], turns[0])
    return other_class


def load_class_map(
    left_tokenizer: PreTrainedTokenizerFast,
    right_tokenizer: PreTrainedTokenizerFast,
    left_vocab_size: int,
    right_vocab_size: int,
    cache: Path | None,
) -> ClassMap:
    """The class map of two tokenizers, built once per pair and kept on disk.

    Args:
        left_tokenizer: One model's tokenizer.
        right_tokenizer: The other's.
        left_vocab_size: Number of the left model's logits columns.
        right_vocab_size: Likewise.
        cache: Folder for finished maps, made if absent; None keeps nothing. A damaged file in it
            is built anew.

    Raises:
        AlignmentError: As `token_bytes` and `build_class_map`.
    """
    left, right = token_bytes(left_tokenizer), token_bytes(right_tokenizer)
    if cache is None:
        return build_class_map(left, right, left_vocab_size, right_vocab_size)
    key = (_CACHE_VERSION, left.digest, right.digest, left_vocab_size, right_vocab_size)
    path = kept_path(cache, "classes", *key)
    known = _read(path, left_vocab_size, right_vocab_size)
    if known is not None:
        return known
    class_map = build_class_map(left, right, left_vocab_size, right_vocab_size)
    num_classes = np.array(class_map.num_classes, dtype=np.int64)
    write_arrays(path, left=class_map.left, right=class_map.right, num_classes=num_classes)
    return class_map


def _read(path: Path, left_vocab_size: int, right_vocab_size: int) -> ClassMap | None:
    """The stored map; None where there is none, or none that can be right."""
    stored = read_arrays(path, "left", "right", "num_classes")
    if stored is None or stored[2].shape != ():
        return None
    left, right, num_classes = stored[0], stored[1], int(stored[2])
    for classes, size in ((left, left_vocab_size), (right, right_vocab_size)):
        if classes.shape != (size,) or classes.dtype != np.int64:
            return None
        if classes.min() < 0 or classes.max() >= num_classes:
            return None
    return ClassMap(left, right, num_classes)
