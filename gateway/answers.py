"""The gateway's answers as plain dicts: the wire's field names, and None where there is no leader.

What gateways of the original eight calls do not tell is "", 0, False or empty.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    identity: str
    """The name in the node's certificate; empty: it registered without one."""


class LeaderDict(NodeDict):
    """Who was reported to lead, in which Raft term (0: unknown), and how many milliseconds ago."""

    term: int
    age_ms: int


class ClusterDict(TypedDict):
    """Who is there; `leader` is None when none is known."""

    nodes: list[NodeDict]
    leader: NodeDict | None
    registry_version: int
    cluster_id: str
    """The cluster that the gateway knows; empty: none."""
    registry_id: str
    """Versions can be compared only within one registry."""
    total_nodes: int
    """So many are registered, the asking node too, and in a large cluster `nodes` is a sample; 0: it is not told."""


class RegistrationDict(ClusterDict):
    """The answer to a registration; `status` is `registered` or `updated`."""

    status: str
    node_id: int
    is_bootstrap: bool
    message: str
    heartbeat_interval_ms: int
    """How often the gateway wants heartbeats; 0: it did not say."""
    bootstrap_wait_ms: int
    """The gateway names no bootstrap yet; who `can_wait` registers again after so long. 0: nothing to wait for."""


class HeartbeatDict(TypedDict):
    """The answer to a heartbeat; `status` is `acknowledged` or `not_found`."""

    status: str
    registry_version: int
    registry_id: str


class ChangesDict(TypedDict):
    """What changed since a version; without `is_delta`, all nodes that are there."""

    nodes: list[NodeDict]
    registry_version: int
    registry_id: str
    is_delta: bool
    removed: list[int]
    """The ids of nodes that are gone; only with `is_delta`."""
    total_nodes: int
    """So many are registered, the asking node too."""


class NodeEventDict(TypedDict):
    """One change, as `watch_nodes` tells it."""

    kind: str
    """`reset` (forget everybody; all that are there follow as `joined`), `joined`, `updated`, `suspected`, `left` or
    `leader`."""
    registry_version: int
    registry_id: str
    node_id: int
    node: NodeDict | None
    """None for `reset` and `left`, and where nobody leads any more."""
    term: int
    """For `leader`: since which Raft term; 0: unknown."""


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
    cluster_id: str
    registry_id: str
    suspected_nodes: int
    num_watchers: int
    settings: dict[str, str]
    """Those that can be changed while the gateway runs."""
    gateways: list[str]
    """The others that it exchanges registries with, and when that last succeeded."""


class DiscoveryDict(TypedDict):
    """What a registration brought; `error` says why there is none, and is empty otherwise."""

    is_bootstrap: bool
    cluster_info: ClusterDict
    gateway_available: bool
    error: str


def empty_cluster() -> ClusterDict:
    """Nobody is known."""
    return {
        "nodes": [],
        "leader": None,
        "registry_version": 0,
        "cluster_id": "",
        "registry_id": "",
        "total_nodes": 0,
    }


def cluster_of(answer: RegistrationDict) -> ClusterDict:
    """The part of a registration's answer that tells who is there."""
    return {
        "nodes": answer["nodes"],
        "leader": answer["leader"],
        "registry_version": answer["registry_version"],
        "cluster_id": answer["cluster_id"],
        "registry_id": answer["registry_id"],
        "total_nodes": answer["total_nodes"],
    }


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
        "identity": node.identity,
    }


def leader_to_dict(response: pb.GetLeaderResponse) -> LeaderDict | None:
    """None if there is none; some gateways say so by a leader with the id 0."""
    if not response.leader.node_id:
        return None
    return {**node_to_dict(response.leader), "term": response.term, "age_ms": response.age_ms}


def registration_to_dict(response: pb.RegisterNodeResponse) -> RegistrationDict:
    """The answer to a registration."""
    return {
        "status": response.status,
        "node_id": response.node_id,
        "is_bootstrap": response.is_bootstrap,
        "registry_version": response.registry_version,
        "nodes": [node_to_dict(node) for node in response.nodes],
        "leader": node_to_dict(response.leader) if response.leader.node_id else None,
        "message": response.message,
        "cluster_id": response.cluster_id,
        "registry_id": response.registry_id,
        "total_nodes": response.total_nodes,
        "heartbeat_interval_ms": response.heartbeat_interval_ms,
        "bootstrap_wait_ms": response.bootstrap_wait_ms,
    }


def changes_to_dict(pages: Sequence[pb.GetNodesResponse]) -> ChangesDict:
    """What changed since the version that was asked for; from one page or more."""
    first = pages[0]
    return {
        "nodes": [node_to_dict(node) for page in pages for node in page.nodes],
        "registry_version": first.registry_version,  # of when the first was made: what came later is told again
        "registry_id": first.registry_id,
        "is_delta": first.is_delta,
        "removed": list(first.removed),
        "total_nodes": first.total_nodes,
    }


def event_to_dict(event: pb.NodeEvent) -> NodeEventDict:
    """One change."""
    return {
        "kind": event.kind,
        "registry_version": event.registry_version,
        "registry_id": event.registry_id,
        "node_id": event.node_id,
        "node": node_to_dict(event.node) if event.HasField("node") else None,
        "term": event.term,
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
        "cluster_id": response.cluster_id,
        "registry_id": response.registry_id,
        "suspected_nodes": response.suspected_nodes,
        "num_watchers": response.num_watchers,
        "settings": dict(response.settings),
        "gateways": list(response.gateways),
    }
