import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from coplms.consortium.messages import (
    DPM_FILES,
    WELCOME,
    Download,
    PublicText,
    Upload,
    Welcome,
    download_message,
    download_schema,
    read_download,
    read_upload,
    read_welcome,
    upload_message,
    upload_schema,
    welcome_message,
)
from coplms.data.example import Example
from coplms.errors import ConsortiumError
from coplms.transport.codec import Message, decode, encode

SHARED = {"layers.0.lora_A": torch.randn(2, 3), "layers.0.lora_B": torch.randn(3, 2)}
LABELLED = Example("Name it.", "née 人\n", ("pay", "bill"), "bank", "task1", "a.jsonl:1")
PUBLIC = PublicText(
    (LABELLED,), (replace(LABELLED, input="dev"),), (replace(LABELLED, references=()),)
)


def through_bytes(message: Message, shared: dict[str, Tensor]) -> Message:
    schema = upload_schema(shared) if message.kind == "upload" else download_schema(shared)
    return decode(encode(message), schema)


def assert_same_tensors(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_welcome_arrives_as_it_was_sent() -> None:
    sent = Welcome({"config.json": b'{"a": 1}', "model.safetensors": bytes(range(256))}, PUBLIC)
    assert read_welcome(decode(encode(welcome_message(sent)), WELCOME)) == sent


def test_a_welcome_may_bring_no_text_at_all() -> None:
    sent = Welcome({"config.json": b""}, PublicText((), (), ()))
    assert read_welcome(decode(encode(welcome_message(sent)), WELCOME)) == sent


@pytest.mark.parametrize(
    "name",
    [
        "../../home/user/.ssh/authorized_keys",
        "/etc/passwd",
        "..\\config.json",
        "sub/config.json",
        "config.json/../../x",
        "pytorch_model.bin",
        "modeling_custom.py",
        "",
        ".",
        "config.json\x00",
        "CONFIG.JSON",
    ],
)
def test_a_file_that_no_dpm_has_is_refused(name: str) -> None:
    files = {"config.json": b"{}", name: b"x"}
    message = decode(encode(welcome_message(Welcome(files, PUBLIC))), WELCOME)
    with pytest.raises(ConsortiumError, match="which no DPM has; known: chat"):
        read_welcome(message)


def test_a_tensor_that_is_neither_file_nor_text_is_refused() -> None:
    message = welcome_message(Welcome({}, PUBLIC))
    message.tensors["weights"] = torch.zeros(3)
    with pytest.raises(ConsortiumError, match="brings 'weights', which no DPM has"):
        read_welcome(message)


def test_known_files_are_plain_names() -> None:
    assert all("/" not in name and not name.startswith(".") for name in DPM_FILES)
    assert not any(name.endswith((".py", ".bin", ".pt", ".pkl")) for name in DPM_FILES)


@pytest.mark.parametrize(
    "text",
    [None, b"no json", b"[[1]]", b'{"a": 1}', b"3", b"\xff", b"[" * 100_000],
    ids=["absent", "no JSON", "short row", "object", "number", "no UTF-8", "too deep"],
)
def test_a_welcome_without_readable_text_is_refused(text: bytes | None) -> None:
    message = welcome_message(Welcome({}, PUBLIC))
    if text is None:
        del message.tensors["text/dev"]
    else:
        message.tensors["text/dev"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    with pytest.raises(ConsortiumError, match="lacks its public text, or has another form"):
        read_welcome(message)


def test_a_download_arrives_as_it_was_sent() -> None:
    found = read_download(through_bytes(download_message(Download(4, SHARED)), SHARED))
    assert_same_tensors(found.shared, SHARED)
    assert found.round_number == 4


def test_an_upload_arrives_as_it_was_sent() -> None:
    sent = Upload(2, "bank", SHARED, 120, {"loss": 0.1 + 0.2, "left_kl": 1e-30})
    found = read_upload(through_bytes(upload_message(sent), SHARED))
    assert_same_tensors(found.shared, SHARED)
    assert replace(found, shared={}) == replace(sent, shared={})


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"num_examples": "5"},
        {"metrics": "{}"},
        {"num_examples": "many", "metrics": "{}"},
        {"num_examples": "0", "metrics": "{}"},
        {"num_examples": "-3", "metrics": "{}"},
        {"num_examples": "1e3", "metrics": "{}"},
        {"num_examples": "5", "metrics": "[]"},
        {"num_examples": "5", "metrics": "no json"},
        {"num_examples": "5", "metrics": '{"loss": "low"}'},
        {"num_examples": "5", "metrics": '{"loss": [1]}'},
        {"num_examples": "5", "metrics": "[" * 100_000},
    ],
    ids=lambda info: json.dumps(info)[:50],
)
def test_an_upload_without_its_numbers_is_refused(info: dict[str, str]) -> None:
    message = replace(upload_message(Upload(2, "bank", SHARED, 1)), info=info)
    with pytest.raises(ConsortiumError, match="round 2: the upload of 'bank' lacks its number"):
        read_upload(message)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layers.0.lora_A": torch.zeros(3, 2)}, r"layers.0.lora_A as float32 .*, expected"),
        ({"layers.0.lora_A": torch.zeros(2, 3, dtype=torch.float64)}, "as float64"),
        ({"layers.0.lora_A": torch.full((2, 3), torch.nan)}, "not finite in 'layers.0.lora_A'"),
        ({"layers.0.lora_B": torch.full((3, 2), -torch.inf)}, "not finite in 'layers.0.lora_B'"),
        ({"domain": torch.zeros(1)}, "with the unknown 'domain'"),
    ],
)
def test_an_upload_that_is_not_like_the_shared_part_is_refused(
    change: dict[str, Tensor], reason: str
) -> None:
    message = upload_message(Upload(2, "bank", {**SHARED, **change}, 5))
    with pytest.raises(ConsortiumError, match=reason):
        through_bytes(message, SHARED)


def test_an_upload_that_lacks_a_tensor_is_refused() -> None:
    message = upload_message(Upload(2, "bank", {"layers.0.lora_A": torch.zeros(2, 3)}, 5))
    with pytest.raises(ConsortiumError, match=r"without 'layers\.0\.lora_B'"):
        through_bytes(message, SHARED)


def test_an_upload_holds_the_shared_part_and_two_numbers_and_nothing_else() -> None:
    message = upload_message(Upload(2, "bank", SHARED, 5, {"loss": 1.0}))
    assert message.tensors.keys() == SHARED.keys()
    assert message.info == {"num_examples": "5", "metrics": '{"loss": 1.0}'}
    with pytest.raises(ConsortiumError, match="'text'"):
        through_bytes(replace(message, info={**message.info, "text": "pay"}), SHARED)


def test_an_upload_is_no_download() -> None:
    data = encode(upload_message(Upload(2, "bank", SHARED, 5)))
    with pytest.raises(ConsortiumError, match="sent a message 'upload' where 'download' was due"):
        decode(data, download_schema(SHARED))
