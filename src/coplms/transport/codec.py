"""Messages as bytes, and back under a schema.

The format is safetensors, so reading never runs code from the message. A receiver knows what it
agreed to get: size, names, dtypes and shapes are compared before any tensor is read, and values
that are not finite are refused, for one NaN in an upload would spoil the average of all.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from coplms.errors import ConsortiumError

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}
"""The dtypes that a message may hold: their names in safetensors and in PyTorch."""

MAX_HEADER_BYTES = 2 * 2**20
"""Longest header that is parsed: a device's report is in it."""

METADATA_KEY = "coplms"
"""All fields stand under one key: safetensors writes several in random order."""

SENDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""Names of members; they end up in file names."""


@dataclass(frozen=True)
class Envelope:
    """What a message says of itself, before anything in it is read.

    Attributes:
        kind: What it is for, as claimed.
        round_number: As claimed.
        sender: As claimed.
    """

    kind: str
    round_number: int
    sender: str


Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Tensor name to PyTorch dtype name and shape: `{"w": ("float32", (2, 3))}`."""


@dataclass(frozen=True, eq=False)
class Message:
    """What one member tells another.

    Attributes:
        kind: What it is for, such as `upload`.
        round_number: From 1; 0 for what is sent once, before the rounds.
        sender: A device's name, or `server`.
        tensors: By name.
        info: Further words and numbers, as text.
    """

    kind: str
    round_number: int
    sender: str
    tensors: dict[str, torch.Tensor]
    info: dict[str, str]


@dataclass(frozen=True)
class Schema:
    """What a receiver agreed to get.

    Attributes:
        kind: The only kind that is accepted.
        tensors: Exactly these, or any where None.
        max_bytes: Longest whole message.
        info_keys: Exactly these keys of `info`, or any where None.
    """

    kind: str
    tensors: Shapes | None
    max_bytes: int
    info_keys: frozenset[str] | None = None


def schema_like(
    kind: str, tensors: Mapping[str, torch.Tensor], info_keys: frozenset[str] | None = None
) -> Schema:
    """A schema that accepts tensors just like the receiver's own."""
    shapes = {name: (_dtype_name(value), tuple(value.shape)) for name, value in tensors.items()}
    return Schema(kind, shapes, count_tensor_bytes(tensors) + MAX_HEADER_BYTES, info_keys)


def count_tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    """Bytes of the values alone, without header.

    >>> count_tensor_bytes({"w": torch.zeros(2, 3)})
    24
    """
    return sum(value.numel() * value.element_size() for value in tensors.values())


def encode(message: Message) -> bytes:
    """The message as safetensors; equal messages give equal bytes.

    Raises:
        ValueError: If a tensor has a dtype that messages may not hold.
    """
    values = {}
    for name, value in message.tensors.items():
        if _dtype_name(value) not in DTYPES.values():
            raise ValueError(f"tensor '{name}' is {value.dtype}; known: {list(DTYPES.values())}")
        # A copy, since safetensors refuses tensors that share memory (tied weights).
        values[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    fields = {
        "kind": message.kind,
        "round": message.round_number,
        "sender": message.sender,
        "info": message.info,
    }
    return safetensors.torch.save(values, {METADATA_KEY: json.dumps(fields, sort_keys=True)})


def decode(data: bytes, schema: Schema) -> Message:
    """The message in `data`, if it is what `schema` says; its tensors own their memory.

    Raises:
        ConsortiumError: If anything differs. Whatever the bytes are, nothing else is raised.
    """
    if len(data) > schema.max_bytes:
        raise ConsortiumError(
            f"a message of {len(data)} bytes arrived where a '{schema.kind}' has at most "
            f"{schema.max_bytes}. Run the same configuration on every member."
        )
    header = _read_header(data, schema.kind)
    kind, round_number, sender, info = _read_fields(header.pop("__metadata__", None), schema.kind)
    origin = f"round {round_number}: '{sender}'"
    _check_fields(kind, info, schema, origin)
    _check_tensors(_read_shapes(header, origin), schema, origin)
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise ConsortiumError(f"{origin} sent broken tensors ({error}). Send it again.") from error
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise ConsortiumError(
                f"{origin} sent values that are not finite in {_shown(name)}. Its training "
                "diverged: lower optimizer.learning_rate, or use dtype float32."
            )
    return Message(kind, round_number, sender, tensors, info)


def peek(data: bytes) -> Envelope:
    """What the bytes claim to be; nothing of it is checked but its form.

    Raises:
        ConsortiumError: If they are no message.
    """
    header = _read_header(data, "message")
    kind, round_number, sender, _ = _read_fields(header.pop("__metadata__", None), "message")
    return Envelope(kind, round_number, sender)


def _read_header(data: bytes, kind: str) -> dict[str, Any]:
    """The JSON object before the tensors: its length in 8 bytes, little-endian, then itself."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, MAX_HEADER_BYTES):
        raise _broken(kind, f"its header cannot be {length} of {len(data)} bytes")
    try:
        header = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _broken(kind, f"its header is no JSON: {_shown(str(error))}") from error
    if not isinstance(header, dict):
        raise _broken(kind, "its header is no JSON object")
    return header


def _read_fields(metadata: object, kind: str) -> tuple[str, int, str, dict[str, str]]:
    """Kind, round, sender and info from the header's metadata."""
    try:
        text = metadata[METADATA_KEY] if isinstance(metadata, dict) else ""
        fields = json.loads(text, object_pairs_hook=_unique)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise _broken(kind, "it does not say what it is") from error
    match fields:
        case {
            "kind": str(sent_kind),
            "round": int(round_number),
            "sender": str(sender),
            "info": dict(info),
        } if len(fields) == 4:
            pass
        case _:
            raise _broken(kind, "it lacks kind, round, sender or info")
    if isinstance(round_number, bool) or not 0 <= round_number < 2**31:
        raise _broken(kind, "its round is no round number")
    if not SENDER.fullmatch(sender):
        raise _broken(kind, f"its sender is {_shown(sender)}")
    if not all(isinstance(value, str) for value in info.values()):
        raise _broken(kind, "its info is no text")
    return sent_kind, round_number, sender, info


def _check_fields(kind: str, info: dict[str, str], schema: Schema, origin: str) -> None:
    if kind != schema.kind:
        raise ConsortiumError(
            f"{origin} sent a message {_shown(kind)} where '{schema.kind}' was due. "
            "Run the same version of coplms on every member."
        )
    if schema.info_keys is not None and info.keys() != schema.info_keys:
        raise ConsortiumError(
            f"{origin} sent a '{kind}' with info {_names(info.keys())} instead of "
            f"{_names(schema.info_keys)}. Run the same version of coplms on every member."
        )


def _read_shapes(header: dict[str, Any], origin: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape of every tensor, as the header claims them."""
    shapes = {}
    for name, entry in header.items():
        match entry:
            case {"dtype": str(dtype), "shape": list(shape)} if dtype in DTYPES:
                shapes[name] = (DTYPES[dtype], tuple(shape))
            case _:
                raise ConsortiumError(
                    f"{origin} describes {_shown(name)} as {_shown(entry)}. "
                    f"Known dtypes: {', '.join(DTYPES)}."
                )
    return shapes


def _check_tensors(found: Shapes, schema: Schema, origin: str) -> None:
    """Compare names, dtypes and shapes with the schema."""
    expected = schema.tensors
    if expected is None:
        return
    missing, foreign = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or foreign:
        problems = [f"without {_names(missing)}"] if missing else []
        problems += [f"with the unknown {_names(foreign)}"] if foreign else []
        raise ConsortiumError(
            f"{origin} sent a '{schema.kind}' {' and '.join(problems)} ({len(found)} tensors, "
            f"expected {len(expected)}). Build every DPM from the same `dpm:` and `llm:` sections."
        )
    for name, wanted in expected.items():
        if found[name] != (wanted[0], tuple(wanted[1])):
            raise ConsortiumError(
                f"{origin} sent {name} as {found[name][0]} {_shown(list(found[name][1]))}, "
                f"expected {wanted[0]} {list(wanted[1])}. Build every DPM from the same `dpm:` "
                "and `llm:` sections."
            )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, unless a key occurs twice: two parsers could keep different ones."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("a key occurs twice")
    return unique


def _broken(kind: str, reason: str) -> ConsortiumError:
    return ConsortiumError(
        f"bytes arrived that are no message, where a '{kind}' was due: {reason}. "
        "Check that a coplms member sent them, and send it again."
    )


def _names(names: Iterable[str]) -> str:
    """The first of some names."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return (", ".join(_shown(name) for name in ordered[:3]) or "nothing") + more


def _shown(value: object) -> str:
    """A foreign value in a message: escaped, and not too long."""
    text = ascii(value)
    return text if len(text) <= 120 else f"{text[:120]}..."


def _dtype_name(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
