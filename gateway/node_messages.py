"""Records of the registry as messages, and as many of them as fit into one answer."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.registry_values import NodeRecord
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

MAX_LIST_BYTES = 3 * 1024 * 1024
"""No answer lists more than this: existing clients refuse messages above gRPC's default of 4 MiB."""
BYTES_AROUND_A_NODE = 4
"""The tag and the length before it in a list."""


def node_to_proto(record: NodeRecord) -> pb.NodeInfo:
    """A record as other nodes see it, without what its id is bound to."""
    registration = record.registration
    return pb.NodeInfo(
        node_id=registration.node_id,
        ip_address=registration.address.host,
        port=registration.address.port,
        capabilities=registration.capabilities,
        status=record.status,
        last_seen=record.seen_seconds,
        join_timestamp=record.joined_seconds,
        metadata=dict(registration.metadata),
        identity=registration.identity,
    )


def as_many_as_fit(records: Iterable[NodeRecord]) -> list[pb.NodeInfo]:
    """The first nodes, as many as fit into `MAX_LIST_BYTES`."""
    nodes: list[pb.NodeInfo] = []
    num_bytes = 0
    for record in records:
        node = node_to_proto(record)
        num_bytes += node.ByteSize() + BYTES_AROUND_A_NODE
        if num_bytes > MAX_LIST_BYTES:
            break
        nodes.append(node)
    return nodes
