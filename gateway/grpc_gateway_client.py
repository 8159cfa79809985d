"""Talks to a gateway from any program: register, renew, list, leave; and a mixin that lends this to any class.

Nothing here raises but constructors and `discover_cluster`: a gateway that is gone is answered with None, False or an
empty list, because a node must go on without it. Run as a program, it registers a node and prints what it learned.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

if not __package__:  # entered as a file of this folder, not as a part of the package
    import checkout_path  # type: ignore[import-not-found]  # noqa: F401

from gateway.answers import (
    ClusterDict,
    DiscoveryDict,
    HealthDict,
    HeartbeatDict,
    NodeDict,
    RegistrationDict,
    StatsDict,
    cluster_of,
    health_to_dict,
    leader_to_dict,
    node_to_dict,
    registration_to_dict,
    stats_to_dict,
)
from gateway.grpc_connection import GatewayConnection, Send
from gateway.heartbeats import Heartbeats
from raftgossip.errors import ConfigError, RaftGossipError, TransportError, WireError
from raftgossip.ids import Address
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

STOP_PATIENCE_S = 0.8
"""`shutdown` waits so long for a heartbeat that runs, which it has cancelled."""

logger = logging.getLogger(__name__)
Argument = TypeVar("Argument")
Answer = TypeVar("Answer")


class GRPCGatewayClient:
    """One node's connection to a gateway; any number of threads may share it.

    After a registration it sends heartbeats by itself until `shutdown`, and registers again when the gateway has
    forgotten the node. The callbacks run in the thread where the event was noticed; what they raise is only logged.
    """

    def __init__(
        self,
        gateway_host: str,
        gateway_port: int,
        timeout: float = 10.0,
        max_retry_attempts: int = 3,
        rng: random.Random | None = None,
    ) -> None:
        """Dials when first used.

        Args:
            gateway_host: where the gateway listens.
            gateway_port: likewise.
            timeout: seconds after which every operation has ended, retries included.
            max_retry_attempts: how often a request is sent at most; pauses between grow from 0.2 s to 10 s.
            rng: draws the jitter of the pauses; None: one of its own.

        Raises:
            ConfigError: an argument is out of its range.
        """
        self.node_id: int | None = None
        self.is_registered = False
        self.registration: RegistrationDict | None = None
        """The answer to the last registration that was asked for (not to those that heartbeats repeat)."""
        self.last_error = ""
        """Why the last registration failed; empty: it did not."""
        self.on_registration_success: Callable[[RegistrationDict], object] | None = None
        self.on_registration_failure: Callable[[str], object] | None = None
        self.on_heartbeat_failure: Callable[[str], object] | None = None
        """Called once for each heartbeat that was not acknowledged."""
        self.on_connection_lost: Callable[[str], object] | None = None
        """Called once each time that a gateway which answered before does so no more."""
        self._own_request: pb.RegisterNodeRequest | None = None
        self._lock = threading.Lock()
        self._heartbeats = Heartbeats(self._beat, 30.0)
        self._connection = GatewayConnection(
            Address(gateway_host, gateway_port), timeout, max_retry_attempts, rng or random.Random(), self._lost
        )

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between heartbeats; may be set at any time."""
        return self._heartbeats.interval

    @heartbeat_interval.setter
    def heartbeat_interval(self, seconds: float) -> None:
        self._heartbeats.interval = seconds

    def health_check(self) -> HealthDict | None:
        """Whether the gateway runs, and which version; None: it does not answer."""
        request = pb.HealthCheckRequest()
        response: pb.HealthCheckResponse | None = self._ask(lambda stub, s: stub.HealthCheck(request, timeout=s))
        return None if response is None else health_to_dict(response)

    def is_gateway_available(self) -> bool:
        """Whether the gateway answers that it is healthy."""
        health = self.health_check()
        return health is not None and health["status"] == "healthy"

    def register_node(
        self,
        node_id: int,
        ip_address: str,
        port: int,
        capabilities: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> RegistrationDict | None:
        """Tell the gateway where this node is, and go on telling it; None: it refused or did not answer."""
        try:
            return self._register_anew(node_id, ip_address, port, capabilities, metadata or {})
        except RaftGossipError as error:
            logger.warning("node %s was not registered: %s", node_id, error)
            return None

    def discover_cluster(
        self,
        node_id: int,
        ip_address: str,
        port: int,
        capabilities: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[bool, ClusterDict]:
        """Register this node; returns whether it may found the cluster, and who is there.

        Raises:
            TransportError: the gateway does not answer.
            RaftGossipError: it refused, e.g. `AlreadyExists`: the node id belongs to another live node.
        """
        result = self._register_anew(node_id, ip_address, port, capabilities, metadata or {})
        return result["is_bootstrap"], cluster_of(result)

    def get_nodes(self, exclude_self: bool = True) -> list[NodeDict]:
        """The active nodes; empty also if the gateway does not answer."""
        request = pb.GetNodesRequest(requesting_node_id=(self.node_id or 0) if exclude_self else 0)
        response: pb.GetNodesResponse | None = self._ask(lambda stub, s: stub.GetNodes(request, timeout=s))
        return [] if response is None else [node_to_dict(node) for node in response.nodes]

    def get_leader(self) -> NodeDict | None:
        """Who was last reported to lead; None: nobody, or the gateway does not answer."""
        request = pb.GetLeaderRequest()
        response: pb.GetLeaderResponse | None = self._ask(lambda stub, s: stub.GetLeader(request, timeout=s))
        return None if response is None else leader_to_dict(response)

    def update_leader(self, leader_id: int) -> bool:
        """Report who leads; False: that node is not registered, or the gateway does not answer."""
        response: pb.UpdateLeaderResponse | None = self._ask(
            lambda stub, s: stub.UpdateLeader(pb.UpdateLeaderRequest(leader_id=leader_id), timeout=s)
        )
        return response is not None and response.status == "updated"

    def heartbeat(self) -> HeartbeatDict | None:
        """Tell that this node lives, and register again if it was forgotten; None: no answer, or never registered."""
        request = self._own_request
        if request is None:
            logger.warning("no heartbeat was sent: the node is not registered; call register_node first")
            return None
        try:
            return self._renew(request)
        except RaftGossipError as error:
            logger.debug("a heartbeat failed: %s", error)
            self._call_back(self.on_heartbeat_failure, str(error))
            return None

    def remove_node(self, node_id: int | None = None) -> bool:
        """Take a node (None: this one) off the list; False: it was not on it, or the gateway does not answer."""
        leaving = self.node_id if node_id is None else node_id
        if leaving == self.node_id:
            self._own_request = None  # else the next heartbeat would bring it back
            self.is_registered = False
        response: pb.RemoveNodeResponse | None = self._ask(
            lambda stub, s: stub.RemoveNode(pb.RemoveNodeRequest(node_id=leaving), timeout=s)
        )
        return response is not None and response.status == "removed"

    def get_stats(self) -> StatsDict | None:
        """The registry in numbers; None: the gateway does not answer."""
        request = pb.GetStatsRequest()
        response: pb.GetStatsResponse | None = self._ask(lambda stub, s: stub.GetStats(request, timeout=s))
        return None if response is None else stats_to_dict(response)

    def shutdown(self) -> None:
        """Stop the heartbeats and close the connection, within a second; the gateway forgets the node after a while.

        To leave at once, call `remove_node` before.
        """
        self._connection.close()
        self._heartbeats.stop(STOP_PATIENCE_S)
        self.is_registered = False

    def _ask(self, send: Send[Answer]) -> Answer | None:
        try:
            return self._connection.call(send)
        except (RaftGossipError, TypeError, ValueError) as error:  # the latter: what no message can carry
            logger.info("the gateway was asked in vain: %s", error)
            return None

    def _register_anew(
        self, node_id: int, ip_address: str, port: int, capabilities: Sequence[str], metadata: Mapping[str, str]
    ) -> RegistrationDict:
        try:
            request = pb.RegisterNodeRequest(
                node_id=node_id, ip_address=ip_address, port=port, capabilities=capabilities, metadata=metadata
            )
        except (TypeError, ValueError) as error:
            refusal = WireError(f"this is no registration: {error}")
            self._note_failure(refusal)
            raise refusal from None
        result = self._register(request)
        with self._lock:
            self.node_id, self._own_request, self.registration = node_id, request, result
            self.is_registered, self.last_error = True, ""
        self._heartbeats.start()
        self._call_back(self.on_registration_success, result)
        return result

    def _register(self, request: pb.RegisterNodeRequest) -> RegistrationDict:
        try:
            response: pb.RegisterNodeResponse = self._connection.call(
                lambda stub, s: stub.RegisterNode(request, timeout=s)
            )
        except RaftGossipError as error:
            self._note_failure(error)
            raise
        return registration_to_dict(response)

    def _renew(self, request: pb.RegisterNodeRequest) -> HeartbeatDict:
        """Send a heartbeat; a node that the gateway does not know registers again."""
        if self.is_registered:
            beat = pb.HeartbeatRequest(node_id=request.node_id)
            response: pb.HeartbeatResponse = self._connection.call(lambda stub, s: stub.Heartbeat(beat, timeout=s))
            if response.status != "not_found":
                return {"status": response.status, "registry_version": response.registry_version}
            self.is_registered = False
            logger.info("the gateway has forgotten node %d; registering again", request.node_id)
        # A node that is not registered must not send heartbeats: they would renew whoever has its id now.
        result = self._register(request)
        with self._lock:
            self.is_registered = self._own_request is request
        self._call_back(self.on_registration_success, result)
        return {"status": "not_found", "registry_version": result["registry_version"]}

    def _beat(self) -> None:
        if self._own_request is not None:
            self.heartbeat()

    def _lost(self, reason: str) -> None:
        self._call_back(self.on_connection_lost, reason)

    def _note_failure(self, error: RaftGossipError) -> None:
        self.last_error = str(error)
        self._call_back(self.on_registration_failure, self.last_error)

    def _call_back(self, callback: Callable[[Argument], object] | None, argument: Argument) -> None:
        """Tell the owner; its errors are its own. After `shutdown` it is not told any more."""
        if callback is None or self._connection.is_closed:
            return
        try:
            callback(argument)
        except Exception:
            logger.exception("a callback of the gateway client failed")


class GRPCGatewayDiscoveryMixin:
    """Lends a client to any class. It has no state but the client, and needs no constructor to be called.

    Without a gateway everything still answers: False, None or empty lists.
    """

    gateway_client: GRPCGatewayClient | None = None

    def initialize_gateway_discovery(
        self,
        gateway_host: str,
        gateway_port: int,
        node_id: int,
        ip_address: str,
        port: int,
        capabilities: Sequence[str],
        metadata: Mapping[str, str] | None = None,
        on_registration_success: Callable[[RegistrationDict], object] | None = None,
        on_registration_failure: Callable[[str], object] | None = None,
    ) -> bool:
        """Register at a gateway and keep the registration alive; False: it refused or did not answer.

        Raises:
            ConfigError: the gateway's address is malformed.
        """
        self.shutdown_gateway_discovery()
        self.gateway_client = GRPCGatewayClient(gateway_host, gateway_port)
        self.gateway_client.on_registration_success = on_registration_success
        self.gateway_client.on_registration_failure = on_registration_failure
        return self.register_with_gateway(node_id, ip_address, port, capabilities, metadata)

    def register_with_gateway(
        self,
        node_id: int,
        ip_address: str,
        port: int,
        capabilities: Sequence[str],
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        """Register again, e.g. elsewhere or after the gateway was away; False: in vain."""
        client = self.gateway_client
        return (
            client is not None and client.register_node(node_id, ip_address, port, capabilities, metadata) is not None
        )

    def is_bootstrap_node(self) -> bool:
        """Whether the gateway said, when this node registered, that it may found the cluster; only a hint."""
        return self.get_discovery_info()["is_bootstrap"]

    def get_cluster_nodes(self) -> list[NodeDict]:
        """The other active nodes."""
        return [] if self.gateway_client is None else self.gateway_client.get_nodes()

    def get_cluster_leader(self) -> NodeDict | None:
        """Who was last reported to lead."""
        return None if self.gateway_client is None else self.gateway_client.get_leader()

    def update_gateway_leader(self, leader_id: int) -> bool:
        """Report who leads."""
        return self.gateway_client is not None and self.gateway_client.update_leader(leader_id)

    def get_discovery_info(self) -> DiscoveryDict:
        """What the gateway said when this node registered, and whether it is registered now."""
        client = self.gateway_client
        answer = None if client is None else client.registration
        cluster: ClusterDict = {"nodes": [], "leader": None, "registry_version": 0}
        return {
            "is_bootstrap": answer is not None and answer["is_bootstrap"],
            "cluster_info": cluster if answer is None else cluster_of(answer),
            "gateway_available": client is not None and client.is_registered,
            "error": "gateway discovery is not initialised" if client is None else client.last_error,
        }

    def shutdown_gateway_discovery(self) -> None:
        """Take this node off the list, if the gateway answers, and end the client."""
        client, self.gateway_client = self.gateway_client, None
        if client is None:
            return
        if client.is_registered:
            client.remove_node()
        client.shutdown()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Register a node at a gateway and print what the gateway says. The gateway forgets the node again "
        "after its timeout, because nobody goes on sending heartbeats.",
        epilog="example: python gateway/grpc_gateway_client.py --gateway-port 8090 --node-id 1 --port 8891",
    )
    parser.add_argument("--gateway-host", default="localhost", help="default: %(default)s")
    parser.add_argument("--gateway-port", type=int, default=8090, help="default: %(default)s")
    parser.add_argument("--node-id", type=int, required=True, help="from 1 on")
    parser.add_argument("--ip", default="127.0.0.1", help="where other nodes reach this one (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8891, help="likewise (default: %(default)s)")
    parser.add_argument("--log-level", type=str.upper, choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="ERROR")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Register a node and print the answers; returns 0, or 2: wrong use, 3: no gateway answered, 1: it refused."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        client = GRPCGatewayClient(arguments.gateway_host, arguments.gateway_port)
        try:
            is_bootstrap, cluster = client.discover_cluster(arguments.node_id, arguments.ip, arguments.port)
            stats = client.get_stats()
        finally:
            client.shutdown()
    except TransportError as error:
        gateway = f"{arguments.gateway_host}:{arguments.gateway_port}"
        print(
            f"raftgossip: no gateway answers at {gateway}; start one, or give another address ({error})",
            file=sys.stderr,
        )
        return 3
    except RaftGossipError as error:
        print(f"raftgossip: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError | WireError) else 1
    leader = cluster["leader"]
    print(f"bootstrap: {is_bootstrap}")
    print(f"other nodes: {len(cluster['nodes'])}")
    print("leader: " + ("none" if leader is None else f"node {leader['node_id']} at {leader['ip_address']}"))
    print("stats: " + ", ".join(f"{name} {value}" for name, value in (stats or {}).items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
