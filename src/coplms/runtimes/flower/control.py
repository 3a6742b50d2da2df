"""A SuperLink's Control API: which devices it knows, and its runs."""

from coplms.errors import ConsortiumError
from coplms.runtimes.flower.app import app_bundle
from coplms.runtimes.flower.calls import EngineLost, call, connect
from coplms.runtimes.flower.engine import (
    ControlHttpClient,
    Fab,
    ListNodesRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    ec,
    load_ssh_public_key,
    public_key_to_bytes,
)


class Control:
    """Calls of the Control API; each raises `EngineLost` if the server is gone."""

    def __init__(self, address: str, ca: bytes) -> None:
        self._client = connect(ControlHttpClient, address, ca)

    def register(self, public_key: bytes, name: str) -> int:
        """The node id of a device's key, which is registered if it is not yet.

        Raises:
            ConsortiumError: If it is no such key.
        """
        pem = _pem(public_key, name)
        for node in call(self._client.ListNodes, ListNodesRequest()).nodes_info:
            if node.public_key == pem:
                return int(node.node_id)
        request = RegisterNodeRequest(public_key=pem, name=name)
        return int(call(self._client.RegisterNode, request).node_id)

    def start_run(self) -> int:
        """The id of a new run, whose task waits to be taken."""
        request = StartRunRequest(fab=Fab(content=app_bundle()))
        return int(call(self._client.StartRun, request).run_id)

    def stop_run(self, run_id: int) -> None:
        """End a run, with all its messages; it may have ended already."""
        try:
            call(self._client.StopRun, StopRunRequest(run_id=run_id), tries=1)
        except EngineLost as error:
            if error.status is None:
                raise

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _pem(public_key: bytes, name: str) -> bytes:
    try:
        key = load_ssh_public_key(public_key)
    except ValueError as error:
        raise ConsortiumError(f"device '{name}': not a public key in OpenSSH's format") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ConsortiumError(
            f"device '{name}': its key is not of the kind 'ecdsa-sha2-nistp384'. "
            "Make one with `ssh-keygen -t ecdsa -b 384 -N ''`."
        )
    return public_key_to_bytes(key)
