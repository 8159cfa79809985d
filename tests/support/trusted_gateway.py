"""A gateway with certificates, and raw calls to it as any holder of one: what arrives is bytes, codes and sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from gateway.grpc_gateway_server import GRPCGatewayServer
from raftgossip.ids import Address
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role, role_server_name
from raftgossip.wire.channels import open_channel
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.keys import FEDERATION, ORGANISATION, make_keys, now_s

HOLDERS = {Role.PEER: "1", Role.OPERATOR: "alice", Role.OBSERVER: "olga", Role.GATEWAY: "gateway-1"}
"""One holder of each role."""
TIMEOUT_S = 5.0
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
Answer = TypeVar("Answer", bound=Message)


def make_federation(folder: object) -> KeyFolder:
    """Keys of peers 1 and 2 and of one holder of each other role. `folder`: a path."""
    keys = make_keys(folder, operators=("alice",))  # type: ignore[arg-type]  # a Path
    keys.issue(ORGANISATION, Role.OBSERVER, "olga", now_s())
    return keys


@contextmanager
def running(**arguments: object) -> Iterator[GRPCGatewayServer]:
    """A gateway on a free port of 127.0.0.1."""
    server = GRPCGatewayServer("127.0.0.1", 0, **arguments)  # type: ignore[arg-type]  # whatever the test wants
    server.start()
    try:
        yield server
    finally:
        server.stop()


def dial(port: int, credentials: LiveCredentials | None) -> grpc.Channel:
    """A connection of its own."""
    name = role_server_name(Role.GATEWAY, FEDERATION)
    return open_channel(Address("127.0.0.1", port), credentials, name, OPTIONS)


def send(channel: grpc.Channel, method: str, request: Message | bytes = b"", *metadata: tuple[str, str]) -> bytes:
    """One call; `method` without its service is one of the gateway's."""
    data = request if isinstance(request, bytes) else request.SerializeToString()
    path = method if method.startswith("/") else f"/GatewayService/{method}"
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return call(data, timeout=TIMEOUT_S, metadata=metadata)


def failure(call: Callable[[], object]) -> grpc.RpcError:
    """How a call fails."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call was answered")


def refusal(
    channel: grpc.Channel, method: str, request: Message | bytes = b"", *metadata: tuple[str, str]
) -> tuple[str, str]:
    """The name of the code and the sentence of a call that fails."""
    error = failure(lambda: send(channel, method, request, *metadata))
    return error.code().name, error.details() or ""


def outcome(channel: grpc.Channel, method: str, request: Message | bytes = b"") -> str:
    """The name of the code of a call, OK too."""
    try:
        send(channel, method, request)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def register(channel: grpc.Channel, node_id: int, port: int = 5000, **fields: object) -> pb.RegisterNodeResponse:
    """A registration that is answered."""
    data = send(channel, "RegisterNode", registration(node_id, port, **fields))
    return pb.RegisterNodeResponse.FromString(data)


def registration(node_id: int, port: int = 5000, **fields: object) -> pb.RegisterNodeRequest:
    """A good request."""
    return pb.RegisterNodeRequest(
        node_id=node_id,
        ip_address="127.0.0.1",
        port=port,
        **fields,  # type: ignore[arg-type]  # protobuf checks them itself
    )


def watch(
    channel: grpc.Channel, since_version: int = 0, registry_id: str = "", seconds: float = 20.0
) -> grpc.CallIterator[pb.NodeEvent]:
    """An open WatchNodes; iterate over it for `pb.NodeEvent`s."""
    call: grpc.UnaryStreamMultiCallable[pb.WatchNodesRequest, pb.NodeEvent] = channel.unary_stream(
        "/GatewayService/WatchNodes",
        request_serializer=pb.WatchNodesRequest.SerializeToString,
        response_deserializer=pb.NodeEvent.FromString,
    )
    return call(pb.WatchNodesRequest(since_version=since_version, registry_id=registry_id), timeout=seconds)
