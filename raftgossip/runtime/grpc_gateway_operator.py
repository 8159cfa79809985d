"""What the command line asks a running gateway, and the documents that it prints: it looks, and registers nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypedDict

import grpc

from raftgossip.ids import Address
from raftgossip.runtime.grpc_operator import ANSWER_MS, called, open_operator_channel
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from raftgossip.wire.status import error_from_rpc

WATCH_TIMEOUT_S = 60.0
"""A stream that has lasted so long is opened anew, from where it ended: so it is noticed that a gateway froze."""
MAX_SECONDS = 2.0**32
"""Times beyond it are nonsense, and are shown as 0."""


class NodeDocument(TypedDict):
    """A registered node. Times are the gateway's wall clock, seconds since the Unix epoch. `identity`: the SPIFFE name
    in its certificate; null: it registered without one."""

    node_id: int
    address: str
    status: str
    identity: str | None
    capabilities: list[str]
    last_seen: float
    joined: float
    metadata: dict[str, str]


class LeaderDocument(TypedDict):
    """Who was last reported to lead: a hint. Null: a gateway of an earlier version does not tell it."""

    node_id: int
    address: str
    term: int | None
    age_ms: int | None


class GatewayDocument(TypedDict):
    """What a gateway knows. `is_founding`: it has named a node that may found the cluster, or members have come.
    `cluster_id`, `registry_id`: null if there is none, or the gateway is of an earlier version."""

    gateway: str
    version: str
    uptime_s: float
    cluster_id: str | None
    is_founding: bool
    leader: LeaderDocument | None
    total_nodes: int
    active_nodes: int
    suspected_nodes: int
    registry_id: str | None
    registry_version: int
    watchers: int
    gateways: list[str]
    settings: dict[str, str]
    nodes: list[NodeDocument]


class NodeEventDocument(TypedDict):
    """One change. `kind`: reset, joined, updated, suspected, left or leader; `node` is null for reset and left."""

    kind: str
    registry_version: int
    registry_id: str
    node_id: int | None
    node: NodeDocument | None
    term: int | None


class GatewayOperatorClient:
    """Looks at one gateway, or changes its settings. Every method raises a `RaftGossipError`: `TransportError` if the
    gateway does not answer."""

    def __init__(
        self, address: Address, credentials: LiveCredentials | None = None, timeout_ms: int = ANSWER_MS
    ) -> None:
        """Dials when first used. `credentials`: as whom it speaks, then only to a gateway of the same federation."""
        self._address = address
        self._timeout_s = timeout_ms / 1000
        self._channel = open_operator_channel(address, credentials, Role.GATEWAY)
        self._stub = pb_grpc.GatewayServiceStub(self._channel)

    def look(self, max_nodes: int) -> GatewayDocument:
        """What the gateway knows, with at most `max_nodes` nodes (0: all)."""
        health: pb.HealthCheckResponse = called(
            lambda: self._stub.HealthCheck(pb.HealthCheckRequest(), timeout=self._timeout_s)
        )
        stats: pb.GetStatsResponse = called(lambda: self._stub.GetStats(pb.GetStatsRequest(), timeout=self._timeout_s))
        leader: pb.GetLeaderResponse = called(
            lambda: self._stub.GetLeader(pb.GetLeaderRequest(), timeout=self._timeout_s)
        )
        return {
            "gateway": str(self._address),
            "version": health.version,
            "uptime_s": _seconds(stats.uptime),
            "cluster_id": stats.cluster_id or None,
            "is_founding": stats.bootstrap_initiated,
            "leader": _leader_document(leader),
            "total_nodes": stats.total_nodes,
            "active_nodes": stats.active_nodes,
            "suspected_nodes": stats.suspected_nodes,
            "registry_id": stats.registry_id or None,
            "registry_version": stats.registry_version,
            "watchers": stats.num_watchers,
            "gateways": list(stats.gateways),
            "settings": dict(stats.settings),
            "nodes": [_node_document(node) for node in self._nodes(max_nodes)],
        }

    def watch(self, since_version: int, registry_id: str) -> Iterator[NodeEventDocument]:
        """What changes from a version on (0: first everybody who is there), until the connection breaks."""
        request = pb.WatchNodesRequest(since_version=since_version, registry_id=registry_id)
        stream = self._stub.WatchNodes(request, timeout=WATCH_TIMEOUT_S)
        try:
            for event in stream:
                yield _event_document(event)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from None
        finally:
            stream.cancel()

    def configure(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Change settings (none: only ask); returns all that can be changed, as they are then."""
        request = pb.ConfigureRequest(settings=dict(settings))
        answer: pb.ConfigureResponse = called(lambda: self._stub.Configure(request, timeout=self._timeout_s))
        return dict(sorted(answer.settings.items()))

    def publish_revocations(self, revocation_list: bytes) -> str:
        """Let the gateway take over a list of revoked certificates, PEM; returns its sentence."""
        request = pb.PublishRevocationsRequest(revocation_list=revocation_list)
        return str(called(lambda: self._stub.PublishRevocations(request, timeout=self._timeout_s)).message)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _nodes(self, max_nodes: int) -> list[pb.NodeInfo]:
        """The first nodes by id, however many the gateway gives at once."""
        found: list[pb.NodeInfo] = []
        after = 0
        while True:
            page = self._page(after, max(0, max_nodes - len(found)))
            found.extend(page.nodes)
            if page.next_after_node_id <= after or (max_nodes and len(found) >= max_nodes):
                return found[: max_nodes or None]  # a gateway of an earlier version gives all at once
            after = page.next_after_node_id

    def _page(self, after: int, limit: int) -> pb.GetNodesResponse:
        request = pb.GetNodesRequest(after_node_id=after, limit=limit)
        answer: pb.GetNodesResponse = called(lambda: self._stub.GetNodes(request, timeout=self._timeout_s))
        return answer


def _node_document(node: pb.NodeInfo) -> NodeDocument:
    return {
        "node_id": node.node_id,
        "address": _address(node),
        "status": node.status,
        "identity": node.identity or None,
        "capabilities": list(node.capabilities),
        "last_seen": _seconds(node.last_seen),
        "joined": _seconds(node.join_timestamp),
        "metadata": dict(node.metadata),
    }


def _leader_document(answer: pb.GetLeaderResponse) -> LeaderDocument | None:
    """None if there is none; some gateways say so by a leader with the id 0."""
    leader = answer.leader
    if not leader.node_id:
        return None
    known = answer.term > 0 or answer.age_ms > 0
    return {
        "node_id": leader.node_id,
        "address": _address(leader),
        "term": answer.term or None,
        "age_ms": answer.age_ms if known else None,
    }


def _event_document(event: pb.NodeEvent) -> NodeEventDocument:
    return {
        "kind": event.kind,
        "registry_version": event.registry_version,
        "registry_id": event.registry_id,
        "node_id": event.node_id or None,
        "node": _node_document(event.node) if event.HasField("node") else None,
        "term": event.term or None,
    }


def _address(node: pb.NodeInfo) -> str:
    """As people write it; what was registered need not be an address."""
    return f"[{node.ip_address}]:{node.port}" if ":" in node.ip_address else f"{node.ip_address}:{node.port}"


def _seconds(told: float) -> float:
    """A time that can be shown, whatever was told."""
    return told if 0 <= told <= MAX_SECONDS else 0.0
