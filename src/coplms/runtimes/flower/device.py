"""The device's side of a link over Flower."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from coplms.errors import ConfigError
from coplms.runtimes.flower.calls import EngineLost, call
from coplms.runtimes.flower.engine import (
    Message,
    ObjectTree,
    PullAppMessagesRequest,
    TaskType,
    ec,
    load_ssh_private_key,
    message_from_proto,
)
from coplms.runtimes.flower.logs import close_logger, file_logger
from coplms.runtimes.flower.loopback import bypass_proxy
from coplms.runtimes.flower.messages import Incomplete, Mailbox, Malformed, identify, pack, unpack
from coplms.runtimes.flower.supernode import SuperNode
from coplms.runtimes.flower.task import Task
from coplms.transport.link import Answer

POLL_SECONDS = 0.5
DEAF_SECONDS = 45.0
"""A SuperNode that runs and has not answered for so long is started anew."""
FETCH_SECONDS = 60.0
STOP_SECONDS = 3.0
"""How long the last reply may take to leave a device that was told to stop."""
LINGER_SECONDS = 1.5
"""After a reply was sent: what the server needs to see it before the device is gone."""


class FlowerDevice:
    """Answers a server's messages in the thread that calls `serve`.

    Flower's SuperNode runs in a process of its own and holds the connection. Its tasks, for which
    it would start an app that the server has sent, are taken by this process, so that models stay
    loaded and no code of the server's is ever run.
    """

    def __init__(
        self,
        state: Path,
        address: str,
        ca: Path,
        private_key: Path,
        name: str,
        answer: Answer,
        max_bytes: Callable[[], int | None] = lambda: None,
    ) -> None:
        """Takes what to connect with; connects nothing.

        Args:
            state: A folder of its own, made if absent.
            address: Of the server: 'host:port'.
            ca: Certificate of the authority that signed the server's.
            private_key: The device's, ECDSA in OpenSSH's format.
            name: For the log; the server knows the device by its key.
            answer: From the server's message to the reply.
            max_bytes: Asked before a message is fetched: the longest that is, if there is a limit.

        Raises:
            ConfigError: If there is no such key.
        """
        _check_key(private_key)
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
        self._name = name
        self._answer = answer
        self._max_bytes = max_bytes
        self._log: logging.Logger = file_logger(state / "transport.log")
        self._node = SuperNode(state, address, ca, private_key, self._log)
        self._heard = 0.0
        self._sent = float("-inf")

    @property
    def supernode_pid(self) -> int | None:
        """The SuperNode's process id while it runs."""
        return self._node.pid

    def serve(self, stop: threading.Event) -> None:
        """Answer messages until told to stop; an answer that was begun is finished first.

        To be called once. Whatever goes wrong with the connection is mended for as long as it
        takes, and told in the log.
        """
        bypass_proxy()
        self._node.start()
        self._heard = time.monotonic()
        self._log.info("device '%s' serves", self._name)
        try:
            while not stop.wait(POLL_SECONDS):
                task = self._acquire()
                if task is not None:
                    self._work(task, stop)
            time.sleep(max(0.0, self._sent + LINGER_SECONDS - time.monotonic()))
        finally:
            self._node.close()
            self._log.info("device '%s' has stopped", self._name)
            close_logger(self._log)

    def _acquire(self) -> Task | None:
        runtime = self._node.runtime
        if runtime is None or self._node.pid is None:
            self._heard = time.monotonic()
            return None
        try:
            task = runtime.acquire(TaskType.CLIENT_APP)
        except EngineLost:
            if time.monotonic() - self._heard > DEAF_SECONDS:
                self._log.warning("the SuperNode does not answer; it is started anew")
                self._node.restart()
            return None
        self._heard = time.monotonic()
        return task

    def _work(self, task: Task, stop: threading.Event) -> None:
        self._node.remember(task.node_id)
        try:
            self._exchange(task, stop)
        except (EngineLost, Incomplete) as error:
            self._log.warning("a message was dropped: %s", error)
            task.drop()
        else:
            task.finish()
        self._heard = time.monotonic()

    def _exchange(self, task: Task, stop: threading.Event) -> None:
        mail = Mailbox(task.client, task.run_id, task.node_id)
        question, tree = _wait_for_message(task)
        self._log.info("message %s", question.metadata.message_id[:8])
        reply = self._reply(mail, question, tree)
        if task.lost.is_set():
            raise EngineLost("the SuperNode was started anew while the answer was made")
        sent = mail.push(Message(pack(reply), reply_to=question))
        pushed = time.monotonic()
        while mail.holds(sent):  # until the SuperNode has passed it on
            if stop.is_set() and time.monotonic() - pushed > STOP_SECONDS:
                break
            time.sleep(0.1)
        self._sent = time.monotonic()
        self._log.info("message %s is answered", question.metadata.message_id[:8])

    def _reply(self, mail: Mailbox, question: Message, tree: ObjectTree) -> bytes | None:
        try:
            content = unpack(mail.pull(tree, FETCH_SECONDS, self._max_bytes()))
            return None if content is None else self._answer(content)
        except Malformed as error:
            self._log.error("message %s: %s", question.metadata.message_id[:8], error)
        except (EngineLost, Incomplete):
            raise
        except Exception:  # its text may be private: it stays here
            self._log.exception("message %s: the answer failed", question.metadata.message_id[:8])
        return None


def _wait_for_message(task: Task) -> tuple[Message, ObjectTree]:
    """A task's message without its content, and the ids of its parts.

    The SuperNode makes the task first.
    """
    deadline = time.monotonic() + FETCH_SECONDS
    while True:
        waiting = call(task.client.PullMessages, PullAppMessagesRequest())
        if waiting.message_object_trees:
            head, tree = waiting.messages_list[0], waiting.message_object_trees[0]
            question = message_from_proto(head)
            identify(question, tree.object_id)
            return question, tree
        if time.monotonic() > deadline:
            raise Incomplete("the SuperNode has no message for its task")
        time.sleep(0.1)


def _check_key(path: Path) -> None:
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no private key in OpenSSH's format: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(
            f"{path}: not an ECDSA key. Make one with `ssh-keygen -t ecdsa -b 384 -N ''`."
        )
