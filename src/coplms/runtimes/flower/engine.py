"""Everything that is taken from Flower, in one place: to be looked at when its version changes.

Most of these names are not part of Flower's public interface, so `pyproject.toml` pins 1.41.
"""

import os
import warnings

from coplms.errors import MissingExtraError

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # read while flwr is imported
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of typer, by way of click
        import httpx
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import (
            load_ssh_private_key,
            load_ssh_public_key,
        )
        from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
        from flwr.app.message import make_message, remove_content_from_message
        from flwr.app.metadata import Metadata
        from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode, SubStatus
        from flwr.common.serde import message_from_proto, message_to_proto
        from flwr.proto.control_pb2 import (
            ListNodesRequest,
            RegisterNodeRequest,
            StartRunRequest,
            StopRunRequest,
        )
        from flwr.proto.fab_pb2 import Fab
        from flwr.proto.fleet_pb2 import DeactivateNodeRequest
        from flwr.proto.message_pb2 import (
            ConfirmMessageReceivedRequest,
            ObjectTree,
            PullObjectRequest,
            PushObjectRequest,
        )
        from flwr.proto.node_pb2 import Node
        from flwr.proto.runtime_pb2 import (
            AcquireTaskRequest,
            GetNodesRequest,
            PullAppMessagesRequest,
            PullTaskInputRequest,
            PushAppMessagesRequest,
            PushTaskOutputRequest,
            SendTaskHeartbeatRequest,
        )
        from flwr.supercore.constant import TaskType
        from flwr.supercore.control import ControlHttpClient
        from flwr.supercore.inflatable.inflatable_object import (
            get_all_nested_objects,
            get_object_tree,
            iterate_object_tree,
            no_object_id_recompute,
        )
        from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
        from flwr.supercore.interceptors import (
            RuntimeTokenHttpInterceptor,
            SuperExecAuthHttpInterceptor,
        )
        from flwr.supercore.primitives.asymmetric import public_key_to_bytes
        from flwr.supercore.protobuf.client import ProtobufClient, ProtobufClientInterceptor
        from flwr.supercore.runtime import RuntimeHttpClient
        from flwr.supernode.fleet_http_client import FleetHttpClient
        from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
except ImportError as error:
    raise MissingExtraError(
        f"a consortium over a network needs Flower 1.41 ({error}): pip install 'coplms[flower]'"
    ) from error

__all__ = [
    "SUPERLINK_NODE_ID",
    "AcquireTaskRequest",
    "Array",
    "ArrayRecord",
    "ConfigRecord",
    "ConfirmMessageReceivedRequest",
    "ControlHttpClient",
    "DeactivateNodeRequest",
    "ErrorCode",
    "Fab",
    "FleetHttpClient",
    "GetNodesRequest",
    "ListNodesRequest",
    "Message",
    "Metadata",
    "Node",
    "NodeAuthHttpInterceptor",
    "ObjectTree",
    "ProtobufClient",
    "ProtobufClientInterceptor",
    "PullAppMessagesRequest",
    "PullObjectRequest",
    "PullTaskInputRequest",
    "PushAppMessagesRequest",
    "PushObjectRequest",
    "PushTaskOutputRequest",
    "RecordDict",
    "RegisterNodeRequest",
    "RuntimeHttpClient",
    "RuntimeTokenHttpInterceptor",
    "SendTaskHeartbeatRequest",
    "StartRunRequest",
    "StopRunRequest",
    "SubStatus",
    "SuperExecAuthHttpInterceptor",
    "TaskType",
    "ec",
    "get_all_nested_objects",
    "get_object_tree",
    "httpx",
    "inflate_object_from_contents",
    "iterate_object_tree",
    "load_ssh_private_key",
    "load_ssh_public_key",
    "make_message",
    "message_from_proto",
    "message_to_proto",
    "no_object_id_recompute",
    "public_key_to_bytes",
    "remove_content_from_message",
]
