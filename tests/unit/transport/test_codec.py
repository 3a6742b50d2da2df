import json
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coplms.errors import ConsortiumError
from coplms.transport.codec import (
    MAX_HEADER_BYTES,
    Message,
    Schema,
    count_tensor_bytes,
    decode,
    encode,
    schema_like,
)

TENSORS = {"w": torch.tensor([[1.0, -2.0]]), "h": torch.tensor([0.5, 3.0], dtype=torch.bfloat16)}
INFO = {"num_examples": "7"}


def message(**changes) -> Message:
    fields = {"kind": "upload", "round_number": 3, "sender": "law"}
    return Message(**{**fields, "tensors": TENSORS, "info": INFO, **changes})


SCHEMA = schema_like("upload", TENSORS, frozenset(INFO))
OPEN = Schema("upload", None, 2**30)


def refusal(data: bytes, schema: Schema = SCHEMA) -> str:
    with pytest.raises(ConsortiumError) as caught:
        decode(data, schema)
    return str(caught.value)


def raw(header: object, values: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


def described(fields: object) -> dict[str, object]:
    return {"__metadata__": {"coplms": json.dumps(fields)}}


FIELDS = {"kind": "upload", "round": 3, "sender": "law", "info": INFO}


def test_a_message_survives_the_way():
    back = decode(encode(message()), SCHEMA)
    assert (back.kind, back.round_number, back.sender, back.info) == ("upload", 3, "law", INFO)
    assert back.tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert back.tensors[name].dtype == value.dtype
        assert torch.equal(back.tensors[name], value)


def test_equal_messages_give_equal_bytes():
    turned = message(tensors=dict(reversed(TENSORS.items())))
    assert encode(message()) == encode(turned)


def test_tied_strided_and_empty_tensors_can_be_sent():
    base = torch.arange(6.0).reshape(2, 3)
    tensors = {"a": base, "b": base, "t": base.T, "none": torch.zeros(0, 4), "one": torch.tensor(1)}
    back = decode(encode(message(tensors=tensors)), schema_like("upload", tensors))
    assert all(torch.equal(back.tensors[name], value) for name, value in tensors.items())


def test_decoded_tensors_can_be_changed_in_place():
    data = encode(message())
    decode(data, SCHEMA).tensors["w"].add_(1)
    assert decode(data, SCHEMA).tensors["w"].tolist() == [[1.0, -2.0]]


def test_a_message_without_tensors_can_be_sent():
    assert decode(encode(message(tensors={})), schema_like("upload", {})).tensors == {}


def test_an_open_schema_takes_any_tensors_and_info():
    back = decode(encode(message()), Schema("upload", None, 10_000))
    assert back.tensors.keys() == {"w", "h"}


def test_tensor_bytes_are_counted_without_header():
    assert count_tensor_bytes(TENSORS) == 2 * 4 + 2 * 2


def test_a_complex_tensor_is_not_sent():
    with pytest.raises(ValueError, match="complex64"):
        encode(message(tensors={"c": torch.zeros(1, dtype=torch.complex64)}))


def test_a_message_that_is_too_long_is_refused():
    data = encode(message())
    assert f"{len(data)} bytes arrived" in refusal(data, Schema("upload", None, len(data) - 1))


def test_another_kind_is_refused():
    text = refusal(encode(message(kind="download")))
    assert text.startswith("round 3: 'law' sent a message 'download' where 'upload' was due")


def test_other_info_is_refused():
    assert "info 'x' instead of 'num_examples'" in refusal(encode(message(info={"x": "1"})))


def test_missing_and_foreign_tensors_are_named():
    text = refusal(encode(message(tensors={"w": TENSORS["w"], "v": TENSORS["h"]})))
    assert "round 3: 'law' sent a 'upload' without 'h' and with the unknown 'v'" in text


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.zeros(2, 1), "float32 [2, 1], expected float32 [1, 2]"),
        (torch.zeros(1, 2, dtype=torch.float64), "float64 [1, 2], expected float32 [1, 2]"),
    ],
)
def test_another_shape_or_dtype_is_refused(value, found):
    assert f"sent w as {found}" in refusal(encode(message(tensors={**TENSORS, "w": value})))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["w", "h"])
def test_values_that_are_not_finite_are_refused(bad, name):
    value = torch.full_like(TENSORS[name], bad)
    text = refusal(encode(message(tensors={**TENSORS, name: value})))
    assert f"round 3: 'law' sent values that are not finite in '{name}'" in text


@pytest.mark.parametrize("sender", ["", "../law", "a/b", "law\n", ".hidden", "é"])
def test_a_sender_that_is_no_name_is_refused(sender):
    assert "its sender is" in refusal(encode(message(sender=sender)))


@pytest.mark.parametrize("round_number", [-1, 2**31, True])
def test_a_round_that_is_none_is_refused(round_number):
    assert "its round is no round number" in refusal(encode(message(round_number=round_number)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        (2**63).to_bytes(8, "little") + b"{}",
        (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * (MAX_HEADER_BYTES + 1),
        raw(b"\xff\xfe"),
        raw(b"[" * 100_000),
        raw(b"1" * 10_000),
        raw([]),
        raw({}),
        raw({"__metadata__": 1}),
        raw({"__metadata__": {"coplms": 1}}),
        raw({"__metadata__": {"coplms": "["}}),
        raw({"__metadata__": {"coplms": "[" * 100_000}}),
        raw(described([])),
        raw(described({**FIELDS, "more": 1})),
        raw(described({**FIELDS, "info": {"a": 1}})),
        raw(described({**FIELDS, "round": "3"})),
        raw(b'{"__metadata__": {}, "__metadata__": {}}'),
    ],
)
def test_bytes_that_are_no_message_are_refused(data):
    assert "bytes arrived that are no message" in refusal(data, OPEN)


@pytest.mark.parametrize(
    "entry",
    [
        1,
        {},
        {"dtype": "F32"},
        {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]},
        {"dtype": "F32", "shape": [1]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [10**30], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [[1]], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 400]},
        {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]},
    ],
)
def test_a_header_that_lies_is_refused(entry):
    data = raw({**described(FIELDS), "w": entry}, b"\0" * 4)
    assert refusal(data, OPEN).startswith("round 3: 'law' ")


def test_a_refusal_of_a_long_name_is_short():
    data = raw({**described(FIELDS), "\n" * 10_000: {"dtype": "F4", "shape": []}})
    assert len(refusal(data, OPEN)) < 1000


def test_bytes_after_the_tensors_are_refused():
    assert "broken tensors" in refusal(encode(message()) + b"x")


def read(data: bytes) -> None:
    """Decode, where a refusal is fine and any other exception fails the test."""
    for schema in (SCHEMA, OPEN):
        with suppress(ConsortiumError):
            decode(data, schema)


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_a_consortium_error(data):
    read(data)
    read(raw(data))


@settings(max_examples=500, derandomize=True, deadline=None, database=None)
@given(st.data())
def test_mutated_messages_raise_nothing_but_a_consortium_error(data):
    mutated = bytearray(encode(message()))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(mutated) - 1))
        piece = data.draw(st.one_of(st.binary(max_size=3), st.sampled_from(list(b'"{}[],:0-\\'))))
        replaced = bytes([piece]) if isinstance(piece, int) else piece
        mutated[place : place + data.draw(st.integers(0, 3))] = replaced
    read(bytes(mutated))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(
    name=st.text(max_size=4),
    dtype=st.sampled_from(["F32", "BF16", "BOOL", "U8", "F4"]) | JSON,
    shape=st.lists(st.integers(0, 4) | JSON, max_size=3) | JSON,
    offsets=st.lists(st.integers(-1, 9), max_size=3) | JSON,
    info=st.dictionaries(st.text(max_size=3), st.text(max_size=3)) | JSON,
)
def test_invented_headers_raise_nothing_but_a_consortium_error(name, dtype, shape, offsets, info):
    entry = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    header = {**described({**FIELDS, "info": info}), name: entry}
    read(raw(header, b"\2" * 8))
