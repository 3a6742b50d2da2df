"""How each kind of tokenizer writes bytes in its vocabulary, and how it reads a text's bytes.

Read from the tokenizer's own description (`tokenizer.json`); nothing else knows the kinds.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from coplms.errors import AlignmentError

Backend = dict[str, Any]
"""What `tokenizer.json` holds."""

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")

_PARTS = ("decoders", "pretokenizers", "normalizers")
_SUPPORTED = (
    "byte-level BPE, metaspace Unigram and BPE (with or without byte fallback), and WordPiece"
)
_CHANGES = ("Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Precompiled", "StripAccents")
"""Normalisers that change characters; others add, trim or mark spaces, or are taken apart."""


@dataclass(frozen=True)
class Spelling:
    """How one tokenizer writes and reads.

    Attributes:
        spell: A vocabulary entry -> the bytes that it stands for.
        write: Bytes, as the tokenizer reads them -> how the vocabulary writes them; None where
            that cannot be said, such as for bytes that are no whole characters.
        read: Bytes of a text -> what the normaliser leaves of them.
        has_byte_tokens: Whether `<0xNN>` is a byte in the vocabulary.
        rules: What decides `read`, as text.
    """

    spell: Callable[[str], bytes]
    write: Callable[[bytes], str | None]
    read: Callable[[bytes], bytes]
    has_byte_tokens: bool
    rules: str


def spelling_of(tokenizer: Tokenizer, backend: Backend, name: str) -> Spelling:
    """How a tokenizer writes its vocabulary.

    Args:
        tokenizer: Asked where it cuts words.
        backend: Its description.
        name: For errors.

    Raises:
        AlignmentError: If it is of an unknown kind.
    """
    model = backend["model"]
    components = [
        component
        for stage in ("decoder", "pre_tokenizer", "normalizer")
        for component in _flatten(backend[stage])
    ]
    types = {component["type"] for component in components}
    if model["type"] == "WordPiece":
        return _word_piece(tokenizer, backend)
    marked = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    if model["type"] in ("BPE", "Unigram") and not marked:
        read, rules = _reading(backend)
        if "ByteLevel" in types:
            return Spelling(_byte_level, _write_byte_level, read, False, rules)
        mark = next(filter(None, map(_metaspace_mark, components)), None)
        if mark is not None:
            return Spelling(_metaspace(mark), _write_metaspace(mark), read, True, rules)
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


# Reading: what the normaliser does to a text's characters ------------------------------------


def _reading(backend: Backend) -> tuple[Callable[[bytes], bytes], str]:
    """What the normaliser does to characters, and its description.

    Spaces that it would put before a text, trim or mark are left out: a token is no whole text.
    """
    parts = [_change(part) for part in _flatten(backend["normalizer"])]
    kept = [part for part in parts if part is not None]
    if not kept:
        return _as_it_is, ""
    rules = json.dumps({"type": "Sequence", "normalizers": kept}, sort_keys=True)
    normalizer = Tokenizer.from_str(_EMPTY % rules).normalizer

    def read(text: bytes) -> bytes:
        try:
            return str(normalizer.normalize_str(text.decode())).encode()
        except UnicodeDecodeError:
            return text

    return read, rules


_EMPTY = (
    '{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], '
    '"normalizer": %s, "pre_tokenizer": null, "post_processor": null, "decoder": null, '
    '"model": {"type": "WordLevel", "vocab": {"": 0}, "unk_token": ""}}'
)


def _change(normalizer: dict[str, Any]) -> dict[str, Any] | None:
    """The part of a normaliser that changes characters other than spaces."""
    if normalizer["type"] in _CHANGES:
        return normalizer
    if normalizer["type"] == "BertNormalizer":
        return {**normalizer, "clean_text": False, "handle_chinese_chars": False}
    if normalizer["type"] == "Replace":
        texts = (normalizer["pattern"].get("String", " "), normalizer["content"])
        return None if any(" " in text or "▁" in text for text in texts) else normalizer
    return None


def _as_it_is(text: bytes) -> bytes:
    return text


# Byte-level BPE ------------------------------------------------------------------------------


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
_CHARACTERS = {byte: character for character, byte in _BYTE_CHARACTERS.items() if byte < 256}


def _byte_level(token: str) -> bytes:
    try:
        return token.translate(_BYTE_CHARACTERS).encode("latin-1")
    except UnicodeEncodeError:
        return token.encode()


def _write_byte_level(text: bytes) -> str:
    return text.decode("latin-1").translate(_CHARACTERS)


# Metaspace: a mark for every space -----------------------------------------------------------


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


def _metaspace(mark: str) -> Callable[[str], bytes]:
    def spell(token: str) -> bytes:
        byte = BYTE_TOKEN.fullmatch(token)
        return bytes.fromhex(byte[1]) if byte else token.replace(mark, " ").encode()

    return spell


def _write_metaspace(mark: str) -> Callable[[bytes], str | None]:
    def write(text: bytes) -> str | None:
        try:
            return text.decode().replace(" ", mark)
        except UnicodeDecodeError:
            return None

    return write


# WordPiece: a mark for the inside of words ---------------------------------------------------


def _word_piece(tokenizer: Tokenizer, backend: Backend) -> Spelling:
    """Words begin with the space that the tokenizer drops; characters cut off from them do not."""
    prefix = backend["model"]["continuing_subword_prefix"]
    alone = _cut_off(tokenizer, backend["model"]["vocab"])
    normalize, rules = _reading(backend)

    def spell(token: str) -> bytes:
        if token in alone:
            return token.encode()
        goes_on = token.startswith(prefix) and token != prefix
        return token.removeprefix(prefix).encode() if goes_on else f" {token}".encode()

    def read(text: bytes) -> bytes:
        changed = normalize(text)
        drops_space = changed[:1] == b" " and _first_character(changed[1:]) in alone
        return changed[1:] if drops_space else changed

    def write(text: bytes) -> str | None:
        first = _first_character(text)
        return first if first in alone else _write_word(text)

    return Spelling(spell, write, read, False, f"{rules} {sorted(alone)}")


def _cut_off(tokenizer: Tokenizer, vocabulary: Iterable[str]) -> set[str]:
    """The characters that are words of their own wherever they stand: punctuation, ideographs."""
    normalizer, words = tokenizer.normalizer, tokenizer.pre_tokenizer
    if words is None:
        return set()

    def parts(text: str) -> list[str]:
        normal = text if normalizer is None else normalizer.normalize_str(text)
        return [part for part, _ in words.pre_tokenize_str(normal)]

    single = [token for token in vocabulary if len(token) == 1]
    return {token for token in single if parts(f"a{token}a") == ["a", token, "a"]}


def _first_character(text: bytes) -> str:
    return text.decode(errors="ignore")[:1]


def _write_word(text: bytes) -> str | None:
    """Only whole words have a first piece of their own; the rest goes by the longest prefix."""
    try:
        written = text.decode()
    except UnicodeDecodeError:
        return None
    return written[1:] if written.startswith(" ") else None
