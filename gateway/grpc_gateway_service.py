"""The gateway's calls: check the request, ask the registry, answer. What a registration means is decided there.

Who calls and whether he may at all is judged in `grpc_calls.py`; here only what depends on the request: a peer speaks
for its own node alone, and a node that registered with a certificate is answered for by that certificate.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import grpc

from gateway.administration import GatewayAdministration
from gateway.grpc_calls import CallGate
from gateway.grpc_health_service import HealthService, health_handlers
from gateway.grpc_watch import Watch
from gateway.log_lines import Event
from gateway.long_reads import FREE_NODES, LongReads
from gateway.node_messages import BYTES_AROUND_A_NODE, MAX_LIST_BYTES, as_many_as_fit, node_to_proto
from gateway.registry import Registry
from gateway.registry_values import Change, Moment, NodeRecord
from gateway.request_checks import (
    asker_from_proto,
    cluster_id_from_proto,
    count_from_proto,
    node_id_from_proto,
    position_from_proto,
    registration_from_proto,
)
from gateway.settings import live_texts
from gateway.shared_registry import SharedRegistry
from raftgossip import __version__
from raftgossip.errors import PermissionDenied
from raftgossip.ids import NodeId
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Role
from raftgossip.trust.policy import require_own_node
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

SERVICE = "GatewayService"
MAX_NODES_IN_REGISTRATION = 64
"""A newcomer gets at most so many peers to start from, so that registering costs the same with 10,000 nodes as with
50; `GetNodes` lists them all."""
PAGE = 500
"""Nodes that are read from the registry at once, while everybody else waits."""
STEP_ASIDE_S = 0.001
"""Who reads more than a page lets others go first after each."""

logger = logging.getLogger(__name__)


class GatewayService:
    """The registry behind gRPC; its calls may run in any number of threads."""

    def __init__(
        self,
        shared: SharedRegistry,
        administration: GatewayAdministration,
        watch: Watch,
        long_reads: LongReads,
        started: Moment,
    ) -> None:
        self._shared = shared
        self._administration = administration
        self._watch = watch
        self._long_reads = long_reads
        self._started = started

    def handlers(self, gate: CallGate, health: HealthService) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """All calls by their full names."""

        calls: dict[str, tuple[Any, Any]] = {
            "RegisterNode": (pb.RegisterNodeRequest, self.register_node),
            "GetNodes": (pb.GetNodesRequest, self.get_nodes),
            "GetLeader": (pb.GetLeaderRequest, self.get_leader),
            "UpdateLeader": (pb.UpdateLeaderRequest, self.update_leader),
            "Heartbeat": (pb.HeartbeatRequest, self.heartbeat),
            "HealthCheck": (pb.HealthCheckRequest, self.health_check),
            "RemoveNode": (pb.RemoveNodeRequest, self.remove_node),
            "GetStats": (pb.GetStatsRequest, self.get_stats),
            "Configure": (pb.ConfigureRequest, self.configure),
            "SyncRegistry": (pb.SyncRegistryRequest, self.sync_registry),
            "PublishRevocations": (pb.PublishRevocationsRequest, self.publish_revocations),
        }
        paths = {f"/{SERVICE}/{name}": call for name, call in calls.items()}
        watch = f"/{SERVICE}/WatchNodes"
        return {
            **{path: gate.unary(path, request_class, call) for path, (request_class, call) in paths.items()},
            watch: gate.stream(watch, pb.WatchNodesRequest, self._watch.watch, self._watch.threads),
            **health_handlers(gate, health, self._watch.threads),
        }

    def register_node(self, request: pb.RegisterNodeRequest, caller: Caller) -> pb.RegisterNodeResponse:
        """Enter a node and tell it who is there."""
        identity = "" if caller.identity is None else caller.identity.uri
        registration = registration_from_proto(request, identity)
        node_id = registration.node_id
        require_own_node(caller, node_id, "register it")
        with self._shared.lasting_operation() as (registry, now):
            outcome = registry.register(registration, now)
            peers = registry.sample(now, node_id, MAX_NODES_IN_REGISTRATION)
            leader = registry.leader(now)
            version, registry_id = registry.version, registry.registry_id
            stats = registry.stats(now)
        as_bootstrap = {"is_bootstrap": True} if outcome.is_bootstrap else {}
        logger.info(Event(f"node {outcome.status}", node_id=node_id, address=registration.address, **as_bootstrap))
        settings = self._administration.settings()
        role = " as bootstrap" if outcome.is_bootstrap else ""
        return pb.RegisterNodeResponse(
            status=outcome.status,
            node_id=node_id,
            is_bootstrap=outcome.is_bootstrap,
            registry_version=version,
            nodes=map(node_to_proto, peers),
            leader=None if leader is None else node_to_proto(leader.record),
            message=f"node {node_id} {outcome.status}{role}; send a heartbeat every "
            f"{settings.heartbeat_interval:g} s, {settings.node_timeout:g} s of silence remove it",
            cluster_id=stats.cluster_id,
            registry_id=registry_id,
            total_nodes=stats.total_nodes,
            heartbeat_interval_ms=round(settings.heartbeat_interval * 1000),
            bootstrap_wait_ms=outcome.bootstrap_wait_ms,
        )

    def get_nodes(self, request: pb.GetNodesRequest, caller: Caller) -> pb.GetNodesResponse:
        """List the active nodes but the asker: all, a page of them, or only what has changed.

        Raises:
            Busy: the caller reads as much as that too often.
            WireError: a number cannot be.
        """
        asker = asker_from_proto(request.requesting_node_id)
        limit = count_from_proto("limit", request.limit)
        after = count_from_proto("after_node_id", request.after_node_id)
        since, known_id = position_from_proto(request.since_version, request.registry_id)
        with self._shared.operation() as (registry, now):
            can_resume = after == 0 and registry.changes(since, known_id, 1) is not None
            total_nodes = registry.stats(now).total_nodes
            response = pb.GetNodesResponse(
                is_delta=can_resume,
                registry_version=since if can_resume else registry.version,
                registry_id=registry.registry_id,
                total_nodes=total_nodes,
            )
            num_there = registry.log.num_since(registry.log.step_of(since)) if can_resume else total_nodes
        if (num_read := min(limit or num_there, num_there)) > FREE_NODES:
            self._long_reads.admit(caller, num_read)
        if can_resume:
            self._add_changes(response, asker, limit)
        else:
            self._add_page(response, asker, after, limit)
        return response

    def _add_page(self, response: pb.GetNodesResponse, asker: int, after: int, limit: int) -> None:
        """Add at most `limit` nodes (0: as many as fit) behind an id. Changes in between are told the next time, since
        the version is the one before."""
        most = limit or self._administration.settings().max_nodes
        nodes = as_many_as_fit(self._listed(asker, after, most))
        response.nodes.extend(nodes)
        if nodes:
            last = nodes[-1].node_id
            with self._shared.operation() as (registry, now):
                response.next_after_node_id = last if registry.page(now, asker, last, 1).records else 0

    def _listed(self, asker: int, after: int, limit: int) -> Iterator[NodeRecord]:
        """The first `limit` nodes behind an id, read as they are asked for."""
        left = limit
        while left > 0:
            with self._shared.operation() as (registry, now):
                page = registry.page(now, asker, after, min(left, PAGE))
            yield from page.records
            left -= len(page.records)
            after = page.next_after
            if not after:
                break
            self._shared.pause(STEP_ASIDE_S)

    def _add_changes(self, response: pb.GetNodesResponse, asker: int, limit: int) -> None:
        """Add what changed since the answer's version, the oldest first: at most `limit` nodes (0: as many as fit).
        What does not fit is told when the caller asks again, from the version of the last change that did."""
        found: dict[NodeId, pb.NodeInfo | None] = {}
        num_bytes = 0
        for change, version in self._changed(response.registry_version, response.registry_id, limit or PAGE):
            is_shown = change is not None and change.node_id != asker
            if change is not None and is_shown:
                found.pop(change.node_id, None)  # it has changed again since its page was read
                node = None if change.record is None else node_to_proto(change.record)
                num_bytes += BYTES_AROUND_A_NODE if node is None else node.ByteSize() + BYTES_AROUND_A_NODE
                if num_bytes > MAX_LIST_BYTES:
                    break
                found[change.node_id] = node
            response.registry_version = version
            if len(found) == limit and is_shown:
                break
        response.nodes.extend(node for node in found.values() if node is not None)
        response.removed.extend(node_id for node_id, node in found.items() if node is None)

    def _changed(self, version: int, registry_id: str, limit: int) -> Iterator[tuple[Change | None, int]]:
        """The changes since a version, each with the version after it, read `limit` at a time as they are asked for;
        after those that were read at once, None and the version after them. Ends early if they cannot be told on."""
        size = min(limit, PAGE)
        while True:
            with self._shared.operation() as (registry, _):
                changes = registry.changes(version, registry_id, size)
            if changes is None:
                return
            yield from ((change, change.version) for change in changes.events)
            yield None, changes.version
            if len(changes.events) + (changes.leader is not None) < size:
                return
            version = changes.version
            self._shared.pause(STEP_ASIDE_S)

    def get_leader(self, _request: pb.GetLeaderRequest, _caller: Caller) -> pb.GetLeaderResponse:
        """Tell who was last reported to lead."""
        with self._shared.operation() as (registry, now):
            leader = registry.leader(now)
            version = registry.version
        if leader is None:
            return pb.GetLeaderResponse(registry_version=version, message="no leader is known")
        return pb.GetLeaderResponse(
            leader=node_to_proto(leader.record),
            registry_version=version,
            message=f"node {leader.record.node_id} leads, as far as the gateway was told",
            term=leader.term,
            age_ms=leader.age_ms,
        )

    def update_leader(self, request: pb.UpdateLeaderRequest, caller: Caller) -> pb.UpdateLeaderResponse:
        """Note who leads; the answer is `failed` for a node that is not registered."""
        leader_id = node_id_from_proto("leader_id", request.leader_id)
        require_own_node(caller, leader_id, "report that it leads")
        with self._shared.lasting_operation() as (registry, now):
            _require_own_record(registry, leader_id, caller)
            before = registry.leader(now)
            known = registry.update_leader(leader_id, request.term, now)
        if not known:
            message = f"node {leader_id} is not registered, so it cannot be the leader; register it first"
            return pb.UpdateLeaderResponse(status="failed", leader_id=leader_id, message=message)
        if before is None or (before.record.node_id, before.term) != (leader_id, request.term):
            logger.info(Event("leader reported", node_id=leader_id, term=request.term))
        return pb.UpdateLeaderResponse(status="updated", leader_id=leader_id, message=f"node {leader_id} leads")

    def heartbeat(self, request: pb.HeartbeatRequest, caller: Caller) -> pb.HeartbeatResponse:
        """Note a sign of life; `not_found` tells the node to register again."""
        node_id = node_id_from_proto("node_id", request.node_id)
        cluster_id = cluster_id_from_proto(request.cluster_id)
        require_own_node(caller, node_id, "renew its registration")
        with self._shared.lasting_operation() as (registry, now):
            _require_own_record(registry, node_id, caller)
            known = registry.heartbeat(node_id, cluster_id, now)
            version, registry_id = registry.version, registry.registry_id
        return pb.HeartbeatResponse(
            status="acknowledged" if known else "not_found", registry_version=version, registry_id=registry_id
        )

    def health_check(self, _request: pb.HealthCheckRequest, _caller: Caller) -> pb.HealthCheckResponse:
        """Tell that the gateway answers, and which version it is."""
        seconds = self._shared.now().wall_seconds
        return pb.HealthCheckResponse(status="healthy", timestamp=seconds, version=__version__)

    def remove_node(self, request: pb.RemoveNodeRequest, caller: Caller) -> pb.RemoveNodeResponse:
        """Forget a node that leaves."""
        node_id = node_id_from_proto("node_id", request.node_id)
        require_own_node(caller, node_id, "remove it")
        with self._shared.operation() as (registry, now):
            _require_own_record(registry, node_id, caller)
            known = registry.remove(node_id, now)
        if not known:
            return pb.RemoveNodeResponse(
                status="not_found", node_id=node_id, message=f"node {node_id} is not registered"
            )
        logger.info(Event("node removed", node_id=node_id, by=caller.principal))
        return pb.RemoveNodeResponse(status="removed", node_id=node_id, message=f"node {node_id} removed")

    def get_stats(self, _request: pb.GetStatsRequest, _caller: Caller) -> pb.GetStatsResponse:
        """Tell the registry in numbers, and the settings that can change."""
        with self._shared.operation() as (registry, now):
            stats = registry.stats(now)
            registry_id = registry.registry_id
        return pb.GetStatsResponse(
            total_nodes=stats.total_nodes,
            active_nodes=stats.active_nodes,
            leader_id=stats.leader_id,
            registry_version=stats.registry_version,
            bootstrap_initiated=stats.bootstrap_initiated,
            uptime=(now.monotonic_ms - self._started.monotonic_ms) / 1000,
            cluster_id=stats.cluster_id,
            registry_id=registry_id,
            suspected_nodes=stats.suspected_nodes,
            num_watchers=self._watch.num_watchers,
            settings=live_texts(self._administration.settings()),
            gateways=self._administration.other_gateways(),
        )

    def configure(self, request: pb.ConfigureRequest, caller: Caller) -> pb.ConfigureResponse:
        """Change settings that can change while the gateway runs, and tell them all."""
        return pb.ConfigureResponse(settings=self._administration.change_settings(dict(request.settings), caller))

    def sync_registry(self, request: pb.SyncRegistryRequest, caller: Caller) -> pb.SyncRegistryResponse:
        """Tell another gateway what has changed.

        Who asks counts as a gateway, for which the naming of a bootstrap may have to wait, only with a gateway's
        certificate, or where there are to be others: anybody can ask in the open.
        """
        if caller.identity is None and not self._administration.settings().gateways:
            request.gateway_id = ""
        return self._administration.sync(request)

    def publish_revocations(
        self, request: pb.PublishRevocationsRequest, caller: Caller
    ) -> pb.PublishRevocationsResponse:
        """Keep a newer revocation list; it counts from the next call on."""
        is_new = self._administration.add_revocations(request.revocation_list)
        if is_new:
            logger.info(Event("revocations published", by=caller.principal))
        return pb.PublishRevocationsResponse(
            message="the list is in force" if is_new else "a list that is as new or newer is in force already"
        )


def _require_own_record(registry: Registry, node_id: NodeId, caller: Caller) -> None:
    """Refuse a peer another organisation's node with its own number.

    Raises:
        PermissionDenied: names the rule `own-registration`.
    """
    if caller.identity is None or caller.identity.role is Role.OPERATOR:
        return
    record = registry.record(node_id)
    if record is not None and record.registration.identity not in ("", caller.identity.uri):
        raise PermissionDenied(
            f"rule own-registration: node {node_id} is registered by {record.registration.identity}; "
            f"{caller.identity.uri} called"
        )
