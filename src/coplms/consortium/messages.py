"""What crosses between server and devices, and nothing else does."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from coplms.data.example import Example
from coplms.errors import ConsortiumError
from coplms.transport.codec import Message, Schema, schema_like

SERVER = "server"
"""The server's name in messages, records and part names."""


@dataclass(frozen=True)
class PublicText:
    """Text without privacy: every member may train on it.

    Attributes:
        labelled: The server's examples.
        dev: The server's dev examples, to compare models on.
        transfer: Inputs without answers.
    """

    labelled: tuple[Example, ...]
    dev: tuple[Example, ...]
    transfer: tuple[Example, ...]


@dataclass(frozen=True)
class Welcome:
    """Sent once: the DPM, as the files of its Hugging Face folder, and the public text."""

    files: dict[str, bytes]
    public: PublicText


@dataclass(frozen=True)
class Download:
    """Server to device, every round and once after the last: the DPM's shared part."""

    round_number: int
    shared: dict[str, Tensor]


@dataclass(frozen=True)
class Upload:
    """Device to server: the DPM's shared part and a few numbers; no text, no other weights."""

    round_number: int
    device: str
    shared: dict[str, Tensor]
    num_examples: int
    metrics: dict[str, float] = field(default_factory=dict)


DPM_FILES = frozenset(
    {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
    }
)
"""Names that a DPM's folder may hold; a device writes no other file."""

TEXTS = ("labelled", "dev", "transfer")
"""The kinds of public text."""

SAME_VERSION = "Use the same version of coplms on server and devices."

MAX_BYTES = 64 * 2**30
"""Largest message of the first contact."""


def welcome_message(welcome: Welcome) -> Message:
    """The message of the first contact (round 0)."""
    tensors = {f"file/{name}": _as_tensor(data) for name, data in welcome.files.items()}
    for part in TEXTS:
        tensors[f"text/{part}"] = _as_tensor(_examples_to_json(getattr(welcome.public, part)))
    return Message("welcome", 0, SERVER, tensors, {})


def read_welcome(message: Message) -> Welcome:
    """The first contact's content.

    Raises:
        ConsortiumError: If it names a file that no DPM has, or lacks the text.
    """
    tensors = dict(message.tensors)
    try:
        texts = [_examples_from_json(_as_bytes(tensors.pop(f"text/{part}"))) for part in TEXTS]
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise ConsortiumError(
            f"the first message of '{message.sender}' lacks its public text, or has another form "
            f"({error!r:.200}). {SAME_VERSION}"
        ) from error
    strange = sorted(tensors.keys() - {f"file/{name}" for name in DPM_FILES})
    if strange:
        raise ConsortiumError(
            f"the first message of '{message.sender}' brings {strange[0]!a}, which no DPM "
            f"has; known: {', '.join(sorted(DPM_FILES))}. {SAME_VERSION}"
        )
    files = {name.removeprefix("file/"): _as_bytes(tensor) for name, tensor in tensors.items()}
    return Welcome(files, PublicText(*texts))


def download_message(download: Download) -> Message:
    """A round's message to a device."""
    return Message("download", download.round_number, SERVER, dict(download.shared), {})


def read_download(message: Message) -> Download:
    """A round's message as the device understands it."""
    return Download(message.round_number, message.tensors)


def upload_message(upload: Upload) -> Message:
    """A device's answer."""
    info = {"num_examples": str(upload.num_examples), "metrics": json.dumps(upload.metrics)}
    return Message("upload", upload.round_number, upload.device, dict(upload.shared), info)


def read_upload(message: Message) -> Upload:
    """A device's answer as the server understands it.

    Raises:
        ConsortiumError: If its numbers are not numbers, or it learned from no example.
    """
    try:
        num_examples = int(message.info["num_examples"])
        metrics = {str(k): float(v) for k, v in json.loads(message.info["metrics"]).items()}
        if num_examples < 1:
            raise ValueError(num_examples)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ConsortiumError(
            f"round {message.round_number}: the upload of '{message.sender}' lacks its number of "
            f"examples (at least 1) or its metrics ({error!r:.200}). {SAME_VERSION}"
        ) from error
    return Upload(message.round_number, message.sender, message.tensors, num_examples, metrics)


WELCOME = Schema("welcome", None, MAX_BYTES, frozenset())
"""What a device accepts as first contact."""


def download_schema(shared: dict[str, Tensor]) -> Schema:
    """What a device accepts in a round: its own shared part's names, shapes and dtypes."""
    return schema_like("download", shared, frozenset())


def upload_schema(shared: dict[str, Tensor]) -> Schema:
    """What the server accepts in a round: its own shared part's names, shapes and dtypes."""
    return schema_like("upload", shared, frozenset({"num_examples", "metrics"}))


def _as_tensor(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())


def _as_bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


def _examples_to_json(examples: Sequence[Example]) -> bytes:
    rows = [
        [e.instruction, e.input, list(e.references), e.domain, e.task, e.origin] for e in examples
    ]
    return json.dumps(rows, ensure_ascii=False).encode()


def _examples_from_json(data: bytes) -> tuple[Example, ...]:
    return tuple(
        Example(instruction, text, tuple(references), domain, task, origin)
        for instruction, text, references, domain, task, origin in json.loads(data)
    )
