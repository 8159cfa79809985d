"""The gateway's eight calls: decode, ask the registry, answer. What a registration means is decided in `registry.py`.

Requests arrive as bytes and are decoded here, so that malformed ones are answered with INVALID_ARGUMENT; gRPC's own
decoding would call them an internal error of the gateway.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from gateway.registry import Moment, NodeRecord, Registry
from gateway.request_checks import asker_from_proto, node_id_from_proto, registration_from_proto
from raftgossip import __version__
from raftgossip.errors import RaftGossipError, WireError
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.status import status_of

SERVICE = "GatewayService"
MAX_NODES_IN_REGISTRATION = 256
"""A newcomer gets at most so many peers to start from, so that registering costs the same with 10,000 nodes as with
500; `GetNodes` lists them all."""
MAX_LIST_BYTES = 3 * 1024 * 1024
"""No answer lists more than this: existing clients refuse messages above gRPC's default of 4 MiB."""

logger = logging.getLogger(__name__)
RequestT = TypeVar("RequestT", bound=Message)


class GatewayService:
    """The registry behind gRPC; its calls may run in any number of threads."""

    def __init__(self, registry: Registry, clock: Callable[[], Moment], heartbeat_interval: float) -> None:
        self._registry = registry
        self._clock = clock
        self._heartbeat_interval = heartbeat_interval
        self._started = clock()
        self._lock = threading.Lock()

    def handlers(self) -> grpc.GenericRpcHandler:
        """All calls, for `grpc.Server.add_generic_rpc_handlers`."""
        calls: dict[str, Callable[[bytes, grpc.ServicerContext], bytes]] = {
            "RegisterNode": _answer(pb.RegisterNodeRequest, self.register_node),
            "GetNodes": _answer(pb.GetNodesRequest, self.get_nodes),
            "GetLeader": _answer(pb.GetLeaderRequest, self.get_leader),
            "UpdateLeader": _answer(pb.UpdateLeaderRequest, self.update_leader),
            "Heartbeat": _answer(pb.HeartbeatRequest, self.heartbeat),
            "HealthCheck": _answer(pb.HealthCheckRequest, self.health_check),
            "RemoveNode": _answer(pb.RemoveNodeRequest, self.remove_node),
            "GetStats": _answer(pb.GetStatsRequest, self.get_stats),
        }
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            name: grpc.unary_unary_rpc_method_handler(call) for name, call in calls.items()
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def register_node(self, request: pb.RegisterNodeRequest) -> pb.RegisterNodeResponse:
        """Enter a node and tell it who is there."""
        registration = registration_from_proto(request)
        with self._lock:
            now = self._let_time_pass()
            outcome = self._registry.register(registration, now)
            peers = self._registry.successors(now, registration.node_id, MAX_NODES_IN_REGISTRATION)
            leader = self._registry.leader(now)
            version = self._registry.version
        role = " as bootstrap" if outcome.is_bootstrap else ""
        logger.info("node %d at %s %s%s", registration.node_id, registration.address, outcome.status, role)
        return pb.RegisterNodeResponse(
            status=outcome.status,
            node_id=registration.node_id,
            is_bootstrap=outcome.is_bootstrap,
            registry_version=version,
            nodes=_list_to_proto(peers),
            leader=None if leader is None else node_to_proto(leader),
            message=f"node {registration.node_id} {outcome.status}{role}; send a heartbeat every "
            f"{self._heartbeat_interval:g} s, {self._registry.node_timeout_ms / 1000:g} s of silence remove it",
        )

    def get_nodes(self, request: pb.GetNodesRequest) -> pb.GetNodesResponse:
        """List the active nodes but the asker."""
        asker = asker_from_proto(request.requesting_node_id)
        with self._lock:
            nodes = self._registry.active_nodes(self._let_time_pass(), asker)
            version = self._registry.version
        return pb.GetNodesResponse(nodes=_list_to_proto(nodes), registry_version=version)

    def get_leader(self, _request: pb.GetLeaderRequest) -> pb.GetLeaderResponse:
        """Tell who was last reported to lead."""
        with self._lock:
            leader = self._registry.leader(self._let_time_pass())
            version = self._registry.version
        if leader is None:
            return pb.GetLeaderResponse(registry_version=version, message="no leader is known")
        message = f"node {leader.registration.node_id} leads, as far as the gateway was told"
        return pb.GetLeaderResponse(leader=node_to_proto(leader), registry_version=version, message=message)

    def update_leader(self, request: pb.UpdateLeaderRequest) -> pb.UpdateLeaderResponse:
        """Note who leads; the answer is `failed` for a node that is not registered."""
        leader_id = node_id_from_proto("leader_id", request.leader_id)
        with self._lock:
            known = self._registry.update_leader(leader_id, self._let_time_pass())
        if not known:
            message = f"node {leader_id} is not registered, so it cannot be the leader; register it first"
            return pb.UpdateLeaderResponse(status="failed", leader_id=leader_id, message=message)
        logger.info("node %d was reported to lead", leader_id)
        return pb.UpdateLeaderResponse(status="updated", leader_id=leader_id, message=f"node {leader_id} leads")

    def heartbeat(self, request: pb.HeartbeatRequest) -> pb.HeartbeatResponse:
        """Note a sign of life; `not_found` tells the node to register again."""
        node_id = node_id_from_proto("node_id", request.node_id)
        with self._lock:
            known = self._registry.heartbeat(node_id, self._let_time_pass())
            version = self._registry.version
        return pb.HeartbeatResponse(status="acknowledged" if known else "not_found", registry_version=version)

    def health_check(self, _request: pb.HealthCheckRequest) -> pb.HealthCheckResponse:
        """Tell that the gateway answers, and which version it is."""
        return pb.HealthCheckResponse(status="healthy", timestamp=self._clock().wall_seconds, version=__version__)

    def remove_node(self, request: pb.RemoveNodeRequest) -> pb.RemoveNodeResponse:
        """Forget a node that leaves."""
        node_id = node_id_from_proto("node_id", request.node_id)
        with self._lock:
            known = self._registry.remove(node_id, self._let_time_pass())
        if not known:
            return pb.RemoveNodeResponse(
                status="not_found", node_id=node_id, message=f"node {node_id} is not registered"
            )
        logger.info("node %d removed", node_id)
        return pb.RemoveNodeResponse(status="removed", node_id=node_id, message=f"node {node_id} removed")

    def get_stats(self, _request: pb.GetStatsRequest) -> pb.GetStatsResponse:
        """Tell the registry in numbers."""
        with self._lock:
            now = self._let_time_pass()
            stats = self._registry.stats(now)
        return pb.GetStatsResponse(
            total_nodes=stats.total_nodes,
            active_nodes=stats.active_nodes,
            leader_id=stats.leader_id,
            registry_version=stats.registry_version,
            bootstrap_initiated=stats.bootstrap_initiated,
            uptime=(now.monotonic_ms - self._started.monotonic_ms) / 1000,
        )

    def clean_up(self) -> float:
        """Forget the silent; returns the seconds after which somebody else may have been silent for too long."""
        with self._lock:
            now = self._let_time_pass()
            return (self._registry.deadline_ms(now) - now.monotonic_ms) / 1000

    def _let_time_pass(self) -> Moment:
        """Read the clock and forget the silent; the caller holds the lock, so that time never goes back."""
        now = self._clock()
        for node_id in self._registry.expire(now):
            logger.info("node %d removed: no heartbeat for %g s", node_id, self._registry.node_timeout_ms / 1000)
        return now


def node_to_proto(record: NodeRecord) -> pb.NodeInfo:
    """A record as other nodes see it, without its owner's secret."""
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
    )


def _list_to_proto(records: Iterable[NodeRecord]) -> list[pb.NodeInfo]:
    """As many nodes as fit into `MAX_LIST_BYTES`."""
    nodes: list[pb.NodeInfo] = []
    num_bytes = 0
    for record in records:
        node = node_to_proto(record)
        num_bytes += node.ByteSize() + 4  # the tag and the length before it in the list
        if num_bytes > MAX_LIST_BYTES:
            logger.warning("a list of nodes was cut after %d nodes: it would exceed %d bytes", len(nodes), num_bytes)
            break
        nodes.append(node)
    return nodes


def _answer(
    request_class: type[RequestT], call: Callable[[RequestT], Message]
) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    """Wrap a call so that it takes and gives bytes, and every refusal has a status code and a sentence."""

    def answer(data: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return call(_decode(request_class, data)).SerializeToString()
        except RaftGossipError as error:
            code, text = status_of(error)
            logger.info("refused a %s: %s", request_class.__name__, text)
        except Exception:
            logger.exception("a %s failed", request_class.__name__)
            code, text = grpc.StatusCode.INTERNAL, "the gateway failed; its log says why"
        context.abort(code, text)
        raise AssertionError("abort() raises")

    return answer


def _decode(request_class: type[RequestT], data: bytes) -> RequestT:
    try:
        return request_class.FromString(data)
    except DecodeError:
        raise WireError(f"the request is not a {request_class.__name__}") from None
