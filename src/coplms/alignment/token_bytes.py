"""The byte string of every token: the ground on which two tokenizers meet.

A tokenizer of any kind cuts one and the same text, so what a token stands for is told by bytes
(docs/paper.md, "SAML").
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from coplms.alignment.spelling import BYTE_TOKEN, Backend, spelling_of
from coplms.errors import AlignmentError

FirstPiece = Callable[[bytes], bytes | None]
"""Bytes that are no token -> the bytes of the first token that the tokenizer cuts them into."""

Reading = Callable[[bytes], bytes]
"""Bytes of a text -> what the tokenizer's normaliser leaves of them."""


@dataclass(frozen=True)
class TokenBytes:
    """What each token of one tokenizer stands for.

    Attributes:
        strings: By token id. None for tokens that stand for no text: special ones (but not byte
            tokens marked special), the unknown token, and ids that no token has.
        lengths: Number of bytes by token id, -1 where there are none.
        eos_id: Id of the token that ends an answer.
        digest: SHA-256 of all that decides how text is cut, in hexadecimal.
        first_piece: Bytes that are no token -> those of the first token that the tokenizer makes of
            them; None where it makes none. A strict prefix of them, but for tokenizers that change
            characters: one that lower-cases makes " the" of " The".
    """

    strings: tuple[bytes | None, ...] = field(repr=False)
    lengths: NDArray[np.int64] = field(repr=False, compare=False)
    eos_id: int
    digest: str
    first_piece: FirstPiece = field(repr=False, compare=False)

    @classmethod
    def of(
        cls,
        strings: Iterable[bytes | None],
        eos_id: int,
        cut: FirstPiece | None = None,
        rules: str = "",
        read: Reading | None = None,
    ) -> "TokenBytes":
        """The table of given byte strings.

        Args:
            strings: By token id.
            eos_id: Id of the EOS token.
            cut: The tokenizer's own first piece; where it has none, the longest prefix counts.
            rules: What decides the cut, for the digest.
            read: What the tokenizer's normaliser leaves of a text before it is cut.

        >>> table = TokenBytes.of([b"a", b" the", None], eos_id=2)
        >>> table.lengths.tolist(), table.first_piece(b" then")
        ([1, 4, -1], b' the')
        """
        table = tuple(string or None for string in strings)
        lengths = [-1 if string is None else len(string) for string in table]
        content = hashlib.sha256(f"{eos_id} {lengths} {rules}".encode())
        content.update(b"".join(string for string in table if string is not None))
        known = frozenset(string for string in table if string is not None)

        def first_piece(text: bytes) -> bytes | None:
            seen = text if read is None else read(text)
            if seen != text and seen in known:
                return seen
            piece = None if cut is None else cut(seen)
            if piece and len(piece) < len(seen) and seen.startswith(piece):
                return piece
            return next((seen[:n] for n in range(len(seen) - 1, 0, -1) if seen[:n] in known), None)

        numbers = np.array(lengths, dtype=np.int64)
        return cls(table, numbers, eos_id, content.hexdigest(), first_piece)

    def joined(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The bytes of these tokens in a row; a token without bytes adds none.

        >>> table = TokenBytes.of([b"a", b"bc", None], eos_id=2)
        >>> bytes(table.joined(np.array([1, 2, 0])))
        b'bca'
        """
        data, starts = self._data
        lengths = np.maximum(self.lengths[ids], 0)
        ends = np.cumsum(lengths)
        shifts = np.repeat(starts[ids] - ends + lengths, lengths)
        joined: NDArray[np.uint8] = data[shifts + np.arange(len(shifts))]
        return joined

    @cached_property
    def _data(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The bytes of all tokens in a row, and where each token's begin."""
        data = np.frombuffer(b"".join(filter(None, self.strings)), dtype=np.uint8)
        lengths = np.maximum(self.lengths, 0)
        return data, np.cumsum(lengths) - lengths


def token_bytes(tokenizer: PreTrainedTokenizerFast) -> TokenBytes:
    """The bytes of every token of a fast tokenizer.

    Raises:
        AlignmentError: If the tokenizer is of an unknown kind, or has no EOS token.
    """
    name = f"tokenizer '{tokenizer.name_or_path}' ({type(tokenizer).__name__})"
    if not tokenizer.is_fast:
        raise AlignmentError(
            f"{name} is not a fast tokenizer, so its tokens' bytes are unknown. "
            "Load it with AutoTokenizer and save it with its tokenizer.json"
        )
    eos_id = tokenizer.eos_token_id
    if not isinstance(eos_id, int):
        raise AlignmentError(
            f"{name} has no EOS token, so the ends of answers cannot be paired. "
            "Set `eos_token` in its tokenizer_config.json"
        )
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    spelling = spelling_of(tokenizer.backend_tokenizer, backend, name)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    literal = _literal_tokens(backend)
    special = _special_ids(backend, vocabulary).union(tokenizer.all_special_ids)
    if spelling.has_byte_tokens:
        special -= {vocabulary[token] for token in vocabulary if BYTE_TOKEN.fullmatch(token)}
    special.add(eos_id)
    size = max(len(tokenizer), eos_id + 1, max(vocabulary.values(), default=-1) + 1)
    strings: list[bytes | None] = [None] * size
    for token, index in vocabulary.items():
        if index not in special:
            strings[index] = token.encode() if token in literal else spelling.spell(token)
    model = tokenizer.backend_tokenizer.model

    def cut(text: bytes) -> bytes | None:
        written = spelling.write(text)
        tokens = model.tokenize(written) if written else []
        return strings[tokens[0].id] if tokens else None

    model_rules = hashlib.sha256(json.dumps(backend["model"]).encode()).hexdigest()
    rules = f"{model_rules} {spelling.rules}"
    return TokenBytes.of(strings, eos_id, cut, rules, spelling.read)


def _model_vocabulary(model: Backend) -> Iterable[str]:
    vocabulary = model["vocab"]
    return vocabulary if isinstance(vocabulary, dict) else (piece for piece, _ in vocabulary)


def _literal_tokens(backend: Backend) -> set[str]:
    """Added tokens that the model itself does not know: they are found in the text as written."""
    added = {token["content"] for token in backend["added_tokens"]}
    return added.difference(_model_vocabulary(backend["model"]))


def _special_ids(backend: Backend, vocabulary: dict[str, int]) -> set[int]:
    """Ids of special added tokens and of the unknown token."""
    special = {token["id"] for token in backend["added_tokens"] if token["special"]}
    model = backend["model"]
    unknown = model.get("unk_id")
    if model.get("unk_token") is not None:
        unknown = vocabulary.get(model["unk_token"])
    return special if unknown is None else special | {unknown}
