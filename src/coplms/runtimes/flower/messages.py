"""Bytes to and from Flower's messages, which are stored in pieces by their SHA-256."""

import time
from collections.abc import Callable
from functools import partial

from coplms.runtimes.flower.calls import call
from coplms.runtimes.flower.engine import (
    Array,
    ArrayRecord,
    ConfigRecord,
    ConfirmMessageReceivedRequest,
    Message,
    Node,
    ObjectTree,
    PullObjectRequest,
    PushAppMessagesRequest,
    PushObjectRequest,
    RecordDict,
    RuntimeHttpClient,
    get_all_nested_objects,
    get_object_tree,
    inflate_object_from_contents,
    iterate_object_tree,
    message_to_proto,
    no_object_id_recompute,
    remove_content_from_message,
)

CONTENT = "content"
BYTES = "bytes"
FRAMING_BYTES = 65536
"""What Flower adds to a message's content, and more."""


class Incomplete(Exception):  # noqa: N818 - not an error: to be tried again later
    """A part of a message has not arrived yet."""


class Malformed(Exception):  # noqa: N818
    """A message is not one of ours."""


def pack(content: bytes | None) -> RecordDict:
    """What Flower carries for some bytes; None stands for 'failed'.

    An array's bytes travel in pieces of 5 MB. One without bytes does not survive the way, so an
    empty record stands for it.
    """
    if content is None:
        return RecordDict()
    if not content:
        return RecordDict({CONTENT: ConfigRecord()})
    array = Array(dtype="uint8", shape=(len(content),), stype=BYTES, data=content)
    return RecordDict({CONTENT: ArrayRecord({BYTES: array})})


def unpack(message: Message) -> bytes | None:
    """The bytes again; None if the sender failed.

    Raises:
        Malformed: If `pack` did not make its content.
    """
    if message.has_content() and not message.content:
        return None
    record = message.content.get(CONTENT) if message.has_content() else None
    if isinstance(record, ConfigRecord) and not record:
        return b""
    array = record.get(BYTES) if isinstance(record, ArrayRecord) else None
    if isinstance(array, Array) and isinstance(array.data, bytes):
        return array.data
    raise Malformed("neither bytes nor a failure")


class Mailbox:
    """One side's messages of one run, at a Flower server's Runtime API."""

    def __init__(self, client: RuntimeHttpClient, run_id: int, node_id: int) -> None:
        self._client = client
        self._run_id = run_id
        self._node = Node(node_id=node_id)

    def push(self, message: Message) -> str:
        """Store a message; returns its id.

        Raises:
            EngineLost: If the server is gone.
            KeyError: If the server does not take the message, for example because its node was
                removed or its time is over.
        """
        with no_object_id_recompute():
            identify(message, message.object_id)
            answer = call(
                self._client.PushMessages,
                PushAppMessagesRequest(
                    messages_list=[message_to_proto(remove_content_from_message(message))],
                    message_object_trees=[get_object_tree(message)],
                ),
            )
            wanted = set(answer.objects_to_push)
            for object_id, part in get_all_nested_objects(message).items():
                if object_id in wanted:
                    self._push_object(object_id, part.deflate(), answer.session_id)
        (message_id,) = answer.message_ids
        if not message_id:
            raise KeyError(message.metadata.dst_node_id)
        return str(message_id)

    def pull(self, tree: ObjectTree, seconds: float, max_bytes: int | None = None) -> Message:
        """Take a message's parts together, and let the server forget them.

        Args:
            tree: The ids of its parts.
            seconds: How long to wait for parts that are still under way.
            max_bytes: Longest content that is taken; absent: any.

        Raises:
            EngineLost: If the server is gone.
            Incomplete: If parts are missing after that time; they can be asked for again.
            Malformed: If the parts make no message, or too long a one.
        """
        root = tree.object_id
        deadline = time.monotonic() + seconds
        contents: dict[str, bytes] = {}
        left = None if max_bytes is None else max_bytes + FRAMING_BYTES
        for part in iterate_object_tree(tree):
            content = _retried(partial(self._pull_object, part.object_id), deadline)
            contents[part.object_id] = content
            if left is not None and (left := left - len(content)) < 0:
                self.confirm(root)
                raise Malformed(f"more than {max_bytes} bytes")
        self.confirm(root)
        try:
            message = inflate_object_from_contents(root, contents)
        except Exception as error:  # whatever the other side made up
            raise Malformed(repr(error)) from error
        if not isinstance(message, Message):
            raise Malformed(f"a {type(message).__name__} is no message")
        identify(message, root)
        return message

    def confirm(self, message_id: str) -> None:
        """Let the server forget a message's parts, whether they were delivered or not.

        Raises:
            EngineLost: If the server is gone.
        """
        call(
            self._client.ConfirmMessageReceived,
            ConfirmMessageReceivedRequest(
                node=self._node, run_id=self._run_id, message_object_id=message_id
            ),
        )

    def holds(self, message_id: str) -> bool:
        """Whether the server has a message: its head, which is stored last and deleted first.

        Raises:
            EngineLost: If the server is gone.
        """
        try:
            self._pull_object(message_id)
        except Incomplete:
            return False
        return True

    def _push_object(self, object_id: str, content: bytes, session: str) -> None:
        call(
            self._client.PushObject,
            PushObjectRequest(
                node=self._node,
                run_id=self._run_id,
                object_id=object_id,
                object_content=content,
                session_id=session,
            ),
        )

    def _pull_object(self, object_id: str) -> bytes:
        request = PullObjectRequest(node=self._node, run_id=self._run_id, object_id=object_id)
        answer = call(self._client.PullObject, request)
        if not answer.object_available:
            raise Incomplete(object_id)
        return bytes(answer.object_content)


def identify(message: Message, message_id: str) -> None:
    """Write a message's id into it: it is the hash of the rest, so the rest does not hold it."""
    message.metadata.__dict__["_message_id"] = message_id


def _retried(pull: Callable[[], bytes], deadline: float) -> bytes:
    while True:
        try:
            return pull()
        except Incomplete:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.2)
