"""The byte string of every token: the ground on which two tokenizers meet.

A tokenizer of any kind cuts one and the same text, so what a token stands for is told by bytes
(docs/paper.md, "SAML"). This file knows how each kind writes bytes in its vocabulary;
nothing else does.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from coplms.errors import AlignmentError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_PARTS = ("decoders", "pretokenizers", "normalizers")
_SUPPORTED = (
    "byte-level BPE, metaspace Unigram and BPE (with or without byte fallback), and WordPiece"
)

Spelling = Callable[[str], bytes]
"""A vocabulary entry -> the bytes that it stands for."""

Writing = Callable[[bytes], str | None]
"""Bytes -> how the vocabulary writes them; None where they are no whole characters."""

FirstPiece = Callable[[bytes], bytes | None]
"""Bytes that are no token -> the bytes of the first token that the tokenizer cuts them into."""


@dataclass(frozen=True)
class TokenBytes:
    """What each token of one tokenizer stands for.

    Attributes:
        strings: By token id. None for tokens that stand for no text: special ones (but not byte
            tokens marked special), the unknown token, and ids that no token has.
        lengths: Number of bytes by token id, -1 where there are none.
        eos_id: Id of the token that ends an answer.
        digest: SHA-256 of all that decides how text is cut, in hexadecimal.
        first_piece: Where the tokenizer's first cut through bytes that are no token falls; always
            a strict prefix of them, None where no token is one.
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
    ) -> "TokenBytes":
        """The table of given byte strings.

        Args:
            strings: By token id.
            eos_id: Id of the EOS token.
            cut: The tokenizer's own first piece; where it has none, the longest prefix counts.
            rules: What decides the cut, for the digest.

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
            piece = None if cut is None else cut(text)
            if piece and len(piece) < len(text) and text.startswith(piece):
                return piece
            return next((text[:n] for n in range(len(text) - 1, 0, -1) if text[:n] in known), None)

        numbers = np.array(lengths, dtype=np.int64)
        return cls(table, numbers, eos_id, content.hexdigest(), first_piece)


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
    spelling, writing, has_byte_tokens = _spelling(backend, name)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    literal = _literal_tokens(backend)
    special = _special_ids(backend, vocabulary).union(tokenizer.all_special_ids)
    if has_byte_tokens:
        special -= {vocabulary[token] for token in vocabulary if _BYTE_TOKEN.fullmatch(token)}
    special.add(eos_id)
    size = max(len(tokenizer), eos_id + 1, max(vocabulary.values(), default=-1) + 1)
    strings: list[bytes | None] = [None] * size
    for token, index in vocabulary.items():
        if index not in special:
            strings[index] = token.encode() if token in literal else spelling(token)
    model = tokenizer.backend_tokenizer.model

    def cut(text: bytes) -> bytes | None:
        written = writing(text)
        tokens = model.tokenize(written) if written else []
        return strings[tokens[0].id] if tokens else None

    rules = hashlib.sha256(json.dumps(backend["model"], sort_keys=True).encode()).hexdigest()
    return TokenBytes.of(strings, eos_id, cut, rules)


def _spelling(backend: dict[str, Any], name: str) -> tuple[Spelling, Writing, bool]:
    """How the vocabulary is read and written, and whether `<0xNN>` is a byte in it."""
    model = backend["model"]
    components = [
        component
        for stage in ("decoder", "pre_tokenizer", "normalizer")
        for component in _flatten(backend[stage])
    ]
    types = {component["type"] for component in components}
    if model["type"] == "WordPiece":
        continuation = model["continuing_subword_prefix"]
        return _word_piece(continuation), _write_word_piece, False
    marked = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    if model["type"] in ("BPE", "Unigram") and not marked:
        if "ByteLevel" in types:
            return _byte_level, _write_byte_level, False
        replacement = next(filter(None, map(_metaspace_mark, components)), None)
        if replacement is not None:
            return _metaspace(replacement), _write_metaspace(replacement), True
    raise AlignmentError(
        f"{name} writes its vocabulary in an unknown way (model {model['type']}, components "
        f"{', '.join(sorted(types)) or 'none'}), so its tokens' bytes are unknown. Supported: "
        f"{_SUPPORTED}. Use a model with such a tokenizer"
    )


def _flatten(component: dict[str, Any] | None) -> list[dict[str, Any]]:
    if component is None:
        return []
    if component["type"] != "Sequence":
        return [component]
    return [
        leaf for part in _PARTS for child in component.get(part, ()) for leaf in _flatten(child)
    ]


def _metaspace_mark(component: dict[str, Any]) -> str | None:
    """The character that the component writes for a space; None if it does no such thing."""
    if component["type"] == "Metaspace":
        return str(component["replacement"])
    if component["type"] != "Replace":
        return None
    pattern, content = component["pattern"].get("String"), component["content"]
    if " " not in (pattern, content):
        return None
    mark = content if pattern == " " else pattern
    return mark if mark == "▁" else None


def _byte_characters() -> dict[int, int]:
    """GPT-2's code: character -> byte, where unprintable bytes moved to U+0100 and above."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    moved = [byte for byte in range(256) if byte not in printable]
    code = {byte: byte for byte in printable}
    code.update({0x100 + place: byte for place, byte in enumerate(moved)})
    # Outside the code: made unencodable, so that such a token is taken literally.
    code.update(dict.fromkeys(moved, 0xFFFF))
    return code


_BYTE_CHARACTERS = _byte_characters()


def _byte_level(token: str) -> bytes:
    try:
        return token.translate(_BYTE_CHARACTERS).encode("latin-1")
    except UnicodeEncodeError:
        return token.encode()


_CHARACTERS = {byte: character for character, byte in _BYTE_CHARACTERS.items() if byte < 256}


def _write_byte_level(text: bytes) -> str:
    return "".join(chr(_CHARACTERS[byte]) for byte in text)


def _write_metaspace(mark: str) -> Writing:
    def write(text: bytes) -> str | None:
        try:
            return text.decode().replace(" ", mark)
        except UnicodeDecodeError:
            return None

    return write


def _write_word_piece(text: bytes) -> str | None:
    """Only whole words have a first piece of their own; the rest goes by the longest prefix."""
    try:
        written = text.decode()
    except UnicodeDecodeError:
        return None
    return written[1:] if written.startswith(" ") else None


def _metaspace(mark: str) -> Spelling:
    def spell(token: str) -> bytes:
        byte = _BYTE_TOKEN.fullmatch(token)
        return bytes.fromhex(byte[1]) if byte else token.replace(mark, " ").encode()

    return spell


def _word_piece(continuation: str) -> Spelling:
    def spell(token: str) -> bytes:
        goes_on = token.startswith(continuation) and token != continuation
        return token.removeprefix(continuation).encode() if goes_on else f" {token}".encode()

    return spell


def _model_vocabulary(model: dict[str, Any]) -> Iterable[str]:
    vocabulary = model["vocab"]
    return vocabulary if isinstance(vocabulary, dict) else (piece for piece, _ in vocabulary)


def _literal_tokens(backend: dict[str, Any]) -> set[str]:
    """Added tokens that the model itself does not know: they are found in the text as written."""
    added = {token["content"] for token in backend["added_tokens"]}
    return added.difference(_model_vocabulary(backend["model"]))


def _special_ids(backend: dict[str, Any], vocabulary: dict[str, int]) -> set[int]:
    """Ids of special added tokens and of the unknown token."""
    special = {token["id"] for token in backend["added_tokens"] if token["special"]}
    model = backend["model"]
    unknown = model.get("unk_id")
    if model.get("unk_token") is not None:
        unknown = vocabulary.get(model["unk_token"])
    return special if unknown is None else special | {unknown}
