"""A task of Flower's, taken by us: what an executor of Flower's would start an app for."""

import threading

from coplms.runtimes.flower.calls import EngineLost, call, connect
from coplms.runtimes.flower.engine import (
    AcquireTaskRequest,
    ProtobufClientInterceptor,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    RuntimeHttpClient,
    RuntimeTokenHttpInterceptor,
    SendTaskHeartbeatRequest,
    SubStatus,
    SuperExecAuthHttpInterceptor,
)

HEARTBEAT_SECONDS = 10.0
"""Flower gives a task up after 60 seconds without one."""

SECONDS_TO_DROP = 1.0


class RuntimeApi:
    """A Flower server's Runtime API, whose tasks only a holder of the secret can take."""

    def __init__(self, address: str, ca: bytes | None, secret: bytes) -> None:
        """Connects with the first call.

        Args:
            address: Of the server: 'host:port'.
            ca: A PEM certificate to check the server's with; None without TLS.
            secret: What the server was started with.
        """
        self._address = address
        self._ca = ca
        self._acquirer = self._client(
            SuperExecAuthHttpInterceptor(
                master_secret=secret, protected_methods=["/flwr.proto.Runtime/AcquireTask"]
            )
        )

    def acquire(self, kind: str) -> "Task | None":
        """The oldest waiting task of a kind, now ours.

        Raises:
            EngineLost: If the server is gone.
        """
        request = AcquireTaskRequest(supported_task_types=[kind])
        answer = call(self._acquirer.AcquireTask, request, tries=1)
        if not answer.token:
            return None
        return Task(self._client(RuntimeTokenHttpInterceptor(answer.token)))

    def close(self) -> None:
        """Close the connection."""
        self._acquirer.close()

    def _client(self, *interceptors: ProtobufClientInterceptor) -> RuntimeHttpClient:
        return connect(RuntimeHttpClient, self._address, self._ca, interceptors)


class Task:
    """A task that we have taken, kept alive by a thread.

    Attributes:
        client: Calls the server in the task's name.
        run_id: The run it belongs to.
        node_id: Who we are in it.
        lost: Set when the server does not know the task any more.
    """

    def __init__(self, client: RuntimeHttpClient) -> None:
        """Begins the task.

        Raises:
            EngineLost: If the server is gone.
        """
        self.client = client
        self.lost = threading.Event()
        self._done = threading.Event()
        try:
            given = call(client.PullTaskInput, PullTaskInputRequest())
        except EngineLost:
            client.close()
            raise
        self.run_id: int = given.run.run_id
        self.node_id: int = given.context.node_id
        self._heartbeats = threading.Thread(target=self._beat, daemon=True)
        self._heartbeats.start()

    def finish(self) -> None:
        """Tell the server that the task is done; it need not be there any more."""
        try:
            if not self.lost.is_set():
                output = PushTaskOutputRequest(sub_status=SubStatus.COMPLETED, details="")
                call(self.client.PushTaskOutput, output, tries=1)
        except EngineLost:
            pass
        self.drop()

    def drop(self) -> None:
        """Let the task go without a word."""
        self.lost.set()
        self._done.set()
        self._heartbeats.join(SECONDS_TO_DROP)
        if not self._heartbeats.is_alive():  # else it waits for a server that hangs
            self.client.close()

    def _beat(self) -> None:
        while not self._done.wait(HEARTBEAT_SECONDS):
            try:
                answer = call(self.client.SendTaskHeartbeat, SendTaskHeartbeatRequest())
            except EngineLost:
                self.lost.set()
                return
            if not answer.success:
                self.lost.set()
                return
