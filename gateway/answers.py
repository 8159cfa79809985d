"""The gateway's answers as plain dicts: the wire's field names, and None where there is no leader."""

from __future__ import annotations

from typing import TypedDict

from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb


class NodeDict(TypedDict):
    """A node as the gateway knows it; times are seconds since the Unix epoch."""

    node_id: int
    ip_address: str
    port: int
    capabilities: list[str]
    status: str
    last_seen: float
    join_timestamp: float
    metadata: dict[str, str]


class ClusterDict(TypedDict):
    """Who is there; `leader` is None when none is known."""

    nodes: list[NodeDict]
    leader: NodeDict | None
    registry_version: int


class RegistrationDict(ClusterDict):
    """The answer to a registration; `status` is `registered` or `updated`."""

    status: str
    node_id: int
    is_bootstrap: bool
    message: str


class HeartbeatDict(TypedDict):
    """The answer to a heartbeat; `status` is `acknowledged` or `not_found`."""

    status: str
    registry_version: int


class HealthDict(TypedDict):
    """The answer of a gateway that runs."""

    status: str
    timestamp: float
    version: str


class StatsDict(TypedDict):
    """The registry in numbers; `leader_id` is 0 when none is known, `uptime` in seconds."""

    total_nodes: int
    active_nodes: int
    leader_id: int
    registry_version: int
    bootstrap_initiated: bool
    uptime: float


class DiscoveryDict(TypedDict):
    """What a registration brought; `error` says why there is none, and is empty otherwise."""

    is_bootstrap: bool
    cluster_info: ClusterDict
    gateway_available: bool
    error: str


def cluster_of(answer: RegistrationDict) -> ClusterDict:
    """The part of a registration's answer that tells who is there."""
    return {"nodes": answer["nodes"], "leader": answer["leader"], "registry_version": answer["registry_version"]}


def node_to_dict(node: pb.NodeInfo) -> NodeDict:
    """One node."""
    return {
        "node_id": node.node_id,
        "ip_address": node.ip_address,
        "port": node.port,
        "capabilities": list(node.capabilities),
        "status": node.status,
        "last_seen": node.last_seen,
        "join_timestamp": node.join_timestamp,
        "metadata": dict(node.metadata),
    }


def leader_to_dict(response: pb.RegisterNodeResponse | pb.GetLeaderResponse) -> NodeDict | None:
    """None if there is none; some gateways say so by a leader with the id 0."""
    return node_to_dict(response.leader) if response.leader.node_id else None


def registration_to_dict(response: pb.RegisterNodeResponse) -> RegistrationDict:
    """The answer to a registration."""
    return {
        "status": response.status,
        "node_id": response.node_id,
        "is_bootstrap": response.is_bootstrap,
        "registry_version": response.registry_version,
        "nodes": [node_to_dict(node) for node in response.nodes],
        "leader": leader_to_dict(response),
        "message": response.message,
    }


def health_to_dict(response: pb.HealthCheckResponse) -> HealthDict:
    """The answer of a gateway that runs."""
    return {"status": response.status, "timestamp": response.timestamp, "version": response.version}


def stats_to_dict(response: pb.GetStatsResponse) -> StatsDict:
    """The registry in numbers."""
    return {
        "total_nodes": response.total_nodes,
        "active_nodes": response.active_nodes,
        "leader_id": response.leader_id,
        "registry_version": response.registry_version,
        "bootstrap_initiated": response.bootstrap_initiated,
        "uptime": response.uptime,
    }
