"""What crosses between server and devices, and nothing else does.

    down   welcome     the run's terms; the files that they name are fetched by their digests
           download    the DPM's shared part, at the start of a round
           finish      likewise, once after the last round
    up     ready       the device knows the terms
           upload      the DPM's shared part after the device's round
           finished    the device's models are tuned
           failure     why there is none of these

Every message names its run and its round. What a device sends up holds a report
(`coplms.consortium.report`); a failure holds a code.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError
from torch import Tensor

from coplms.config.terms import Terms
from coplms.consortium.report import DeviceReport, read_report
from coplms.errors import ConsortiumError, UnknownRunError
from coplms.transport.codec import Message, Schema, Shapes, decode, encode, peek
from coplms.transport.link import FailureCode
from coplms.transport.packing import Layout

SERVER = "server"
"""The server's name in messages, records and part names."""

SAME_VERSION = "Use the same version of coplms on server and devices."

SMALL = 2 * 2**20
"""Longest message without weights."""

Asked = Literal["download", "finish"]
Told = Literal["ready", "finished"]


@dataclass(frozen=True)
class Download:
    """Server to device, every round and once after the last: the DPM's shared part."""

    round_number: int
    shared: dict[str, Tensor]


@dataclass(frozen=True)
class Upload:
    """Device to server: the DPM's shared part, of so many examples; no text, no other weights."""

    round_number: int
    device: str
    shared: dict[str, Tensor]
    num_examples: int


@dataclass(frozen=True)
class Order:
    """A download or finish as it arrives: packed.

    Attributes:
        kind: Which.
        run: Of which run.
        round_number: From 1.
        packed: The shared part.
        score: Whether the device's models are to be scored.
    """

    kind: Asked
    run: str
    round_number: int
    packed: Tensor
    score: bool


@dataclass(frozen=True)
class Returned:
    """An upload as it arrives: packed."""

    round_number: int
    device: str
    packed: Tensor
    report: DeviceReport


def write_welcome(terms: Terms) -> bytes:
    """The message of the first contact (round 0)."""
    return encode(Message("welcome", 0, SERVER, {}, {"terms": terms.model_dump_json()}))


def read_welcome(data: bytes) -> Terms:
    """The run's terms.

    Raises:
        ConsortiumError: If they have another form.
    """
    message = decode(data, Schema("welcome", {}, SMALL, frozenset({"terms"})))
    try:
        return Terms.model_validate_json(message.info["terms"])
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConsortiumError(
            f"the server's terms have another form: {place!a:.100} {first['msg']:.100}. "
            f"{SAME_VERSION}"
        ) from error


def write_order(order: Order, layout: Layout) -> bytes:
    """A round's message to a device, or the last one."""
    info = {"run": order.run, "layout": layout.digest, "score": "yes" if order.score else "no"}
    return encode(Message(order.kind, order.round_number, SERVER, {"shared": order.packed}, info))


def read_order(data: bytes, kind: Asked, run: str, layout: Layout) -> Order:
    """What the server asks for.

    Args:
        data: The message.
        kind: What its envelope claims to be.
        run: The only run that the device takes part in.
        layout: Of the device's own shared part.

    Raises:
        ConsortiumError: If it is of another run, or of another DPM.
    """
    schema = _packed_schema(kind, layout, frozenset({"run", "layout", "score"}))
    message = decode(data, schema)
    _check_origin(message, run, layout)
    score = message.info["score"] == "yes"
    return Order(kind, run, message.round_number, message.tensors["shared"], score)


def write_upload(
    run: str, round_number: int, device: str, packed: Tensor, report: DeviceReport, layout: Layout
) -> bytes:
    """A device's answer to a download."""
    info = {"run": run, "layout": layout.digest, "report": report.model_dump_json()}
    return encode(Message("upload", round_number, device, {"shared": packed}, info))


def read_upload(data: bytes, device: str, run: str, round_number: int, layout: Layout) -> Returned:
    """A device's answer as the server understands it.

    Args:
        data: The message.
        device: Whom the link knows it to be from.
        run: The run that is going on.
        round_number: The round that is going on.
        layout: Of the server's shared part.

    Raises:
        ConsortiumError: If it is someone else's, of another round, run or DPM, or its report is
            no report.
    """
    schema = _packed_schema("upload", layout, frozenset({"run", "layout", "report"}))
    message = decode(data, schema)
    _check_sender(message, device, round_number)
    _check_origin(message, run, layout)
    report = read_report(message.info["report"], device)
    return Returned(round_number, device, message.tensors["shared"], report)


def write_report(
    kind: Told, run: str, round_number: int, device: str, report: DeviceReport
) -> bytes:
    """A device's answer that holds no weights."""
    info = {"run": run, "report": report.model_dump_json()}
    return encode(Message(kind, round_number, device, {}, info))


def read_told(data: bytes, kind: Told, device: str, run: str, round_number: int) -> DeviceReport:
    """The report in a device's answer; errors as `read_upload`."""
    message = decode(data, Schema(kind, {}, SMALL, frozenset({"run", "report"})))
    _check_sender(message, device, round_number)
    if message.info["run"] != run:
        raise ConsortiumError(f"'{device}' answered for another run. Start it again.")
    return read_report(message.info["report"], device)


def write_failure(round_number: int, device: str, code: FailureCode) -> bytes:
    """Why a device has no other answer."""
    return encode(Message("failure", round_number, device, {}, {"code": code.value}))


def read_failure(data: bytes, device: str, round_number: int) -> FailureCode | None:
    """The failure in a device's answer; None where it is another message.

    Raises:
        ConsortiumError: If it is someone else's or of another round, or has no known code.
    """
    if peek(data).kind != "failure":
        return None
    message = decode(data, Schema("failure", {}, SMALL, frozenset({"code"})))
    _check_sender(message, device, round_number)
    try:
        return FailureCode(message.info["code"])
    except ValueError as error:
        raise ConsortiumError(
            f"'{device}' failed for an unknown reason {message.info['code']!a:.40}. {SAME_VERSION}"
        ) from error


def longest(layout: Layout) -> int:
    """Bytes of the longest message of a run with this shared part."""
    return layout.packed_bytes + SMALL


def _packed_schema(kind: str, layout: Layout, info_keys: frozenset[str]) -> Schema:
    shapes: Shapes = {"shared": ("uint8", (layout.packed_bytes,))}
    return Schema(kind, shapes, longest(layout), info_keys)


def _check_sender(message: Message, device: str, round_number: int) -> None:
    if message.sender != device:
        raise ConsortiumError(
            f"'{device}' sent a message in the name of {message.sender!a:.100}. Ask who runs it."
        )
    if message.round_number != round_number:
        raise ConsortiumError(
            f"'{device}' answered for round {message.round_number} in round {round_number}; the "
            "answer is dropped."
        )


def _check_origin(message: Message, run: str, layout: Layout) -> None:
    origin = f"round {message.round_number}: '{message.sender}'"
    if message.info["run"] != run:
        raise UnknownRunError(f"{origin} sent a message of another run. It is dropped.")
    if message.info["layout"] != layout.digest:
        raise ConsortiumError(
            f"{origin} has another DPM: names, shapes or dtypes of its shared part differ. Build "
            "every DPM from the same `dpm:` and `llm:` sections, with the same version of coplms."
        )
