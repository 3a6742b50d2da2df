import pytest

from coplms.runtimes.flower.engine import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    Metadata,
    RecordDict,
    get_all_nested_objects,
    inflate_object_from_contents,
    make_message,
)
from coplms.runtimes.flower.messages import BYTES, CONTENT, Malformed, pack, unpack


def message(content: RecordDict) -> Message:
    metadata = Metadata(
        run_id=1,
        message_id="",
        src_node_id=1,
        dst_node_id=2,
        reply_to_message_id="",
        group_id="1",
        created_at=0.0,
        ttl=1.0,
        message_type="query",
    )
    return make_message(metadata=metadata, content=content)


def travelled(content: RecordDict) -> Message:
    """A message after it was taken to pieces and put together."""
    sent = message(content)
    parts = {name: part.deflate() for name, part in get_all_nested_objects(sent).items()}
    arrived = inflate_object_from_contents(sent.object_id, parts)
    assert isinstance(arrived, Message)
    return arrived


@pytest.mark.parametrize("content", [None, b"", b"x", b"0" * 11_000_000])
def test_bytes_and_failures_survive_the_way(content):
    assert unpack(travelled(pack(content))) == content


@pytest.mark.parametrize(
    "records",
    [
        RecordDict({"other": ConfigRecord()}),
        RecordDict({CONTENT: ConfigRecord({"x": 1})}),
        RecordDict({CONTENT: ArrayRecord()}),
        RecordDict(
            {CONTENT: ArrayRecord({"x": Array(dtype="a", shape=(1,), stype=BYTES, data=b"x")})}
        ),
    ],
)
def test_other_records_are_refused(records):
    with pytest.raises(Malformed):
        unpack(message(records))
