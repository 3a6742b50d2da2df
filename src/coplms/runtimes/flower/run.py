"""A run of Flower's: messages to devices, and what comes back."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from coplms.runtimes.flower.calls import call
from coplms.runtimes.flower.engine import (
    SUPERLINK_NODE_ID,
    GetNodesRequest,
    Metadata,
    ObjectTree,
    PullAppMessagesRequest,
    RecordDict,
    make_message,
    message_from_proto,
)
from coplms.runtimes.flower.messages import Incomplete, Mailbox, unpack
from coplms.runtimes.flower.task import Task

SECONDS_FOR_PARTS = 5.0
"""How long a reply that has begun to arrive may hold up the others."""


@dataclass(frozen=True)
class Arrival:
    """A reply that is at the server; its content is still there.

    Attributes:
        question: Id of the message that it answers.
        message_id: Its own id.
        error: Flower's error code, where it is no reply but the news of a failure.
        tree: Ids of its parts.
    """

    question: str
    message_id: str
    error: int | None
    tree: ObjectTree


class Run:
    """A run, as long as its SuperLink and its task live; every method may raise `EngineLost`."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._mail = Mailbox(task.client, task.run_id, SUPERLINK_NODE_ID)

    @property
    def run_id(self) -> int:
        """Its number at the SuperLink."""
        return self._task.run_id

    @property
    def is_lost(self) -> bool:
        """Whether the SuperLink has forgotten it, or was not there to be asked."""
        return self._task.lost.is_set()

    def online(self) -> dict[int, str]:
        """The nodes that are connected, and since when each of them is."""
        nodes = call(self._task.client.GetNodes, GetNodesRequest()).nodes
        return {int(node.node_id): str(node.last_activated_at) for node in nodes}

    def send(self, node_id: int, records: RecordDict, seconds: float, group: str) -> str:
        """Send a message that is void after so many seconds; returns its id.

        Raises:
            KeyError: If the SuperLink does not know the node.
        """
        metadata = Metadata(
            run_id=self.run_id,
            message_id="",
            src_node_id=SUPERLINK_NODE_ID,
            dst_node_id=node_id,
            reply_to_message_id="",
            group_id=group,
            created_at=time.time(),
            ttl=seconds,
            message_type="query",
        )
        metadata.delivered_at = ""
        return self._mail.push(make_message(metadata=metadata, content=records))

    def arrivals(self, questions: Iterable[str]) -> list[Arrival]:
        """What has come in reply to these messages; told once only."""
        ids = list(questions)
        if not ids:
            return []
        answer = call(self._task.client.PullMessages, PullAppMessagesRequest(message_ids=ids))
        arrivals = []
        for proto, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
            message = message_from_proto(proto)
            error = message.error.code if message.has_error() else None
            arrivals.append(
                Arrival(proto.metadata.reply_to_message_id, tree.object_id, error, tree)
            )
        return arrivals

    def take(self, arrival: Arrival, max_bytes: int) -> bytes | None:
        """A reply's bytes, which the SuperLink forgets; None where the device failed.

        Raises:
            Incomplete: If it is still under way.
            Malformed: If it is not one of ours, or longer than that.
        """
        if not self._mail.holds(arrival.message_id):
            raise Incomplete(arrival.message_id)
        return unpack(self._mail.pull(arrival.tree, SECONDS_FOR_PARTS, max_bytes))

    def forget(self, message_id: str) -> None:
        """Drop a message's content; a device that has not fetched it yet never will."""
        self._mail.confirm(message_id)

    def drop(self) -> None:
        """Let the run go, without a word to the SuperLink."""
        self._task.drop()
