"""Talks to gateways from any program: register, renew, list, leave; and a mixin that lends this to any class.

Nothing here raises but constructors, `discover_cluster` and iterators: gateways that are gone are answered with None,
False or an empty list, because a node must go on without them. Run as a program, it registers a node and prints what it
learned.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

if not __package__:  # entered as a file of this folder, not as a part of the package
    import checkout_path  # type: ignore[import-not-found]  # noqa: F401

from gateway.answers import (
    ChangesDict,
    ClusterDict,
    DiscoveryDict,
    HealthDict,
    HeartbeatDict,
    LeaderDict,
    NodeDict,
    NodeEventDict,
    RegistrationDict,
    StatsDict,
    changes_to_dict,
    cluster_of,
    empty_cluster,
    health_to_dict,
    leader_to_dict,
    node_to_dict,
    stats_to_dict,
)
from gateway.client_arguments import explain, gateway_addresses, parse, registration_to_proto, report
from gateway.client_keys import ClientKeys, Keys
from gateway.clock import monotonic_seconds
from gateway.grpc_connection import GatewayConnection, Send
from gateway.heartbeats import Heartbeats
from gateway.node_watch import NodeWatch
from gateway.registering import StandingRegistration
from raftgossip.errors import ConfigError, RaftGossipError, TransportError
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

STOP_PATIENCE_S = 0.8
"""`shutdown` waits so long for a heartbeat that runs, which it has cancelled."""

logger = logging.getLogger(__name__)
Argument = TypeVar("Argument")
Answer = TypeVar("Answer")


class GRPCGatewayClient:
    """One node's connection to its gateways; any number of threads may share it.

    After a registration it sends heartbeats by itself until `shutdown`, and registers again where the gateway has
    forgotten the node or another gateway took over. The callbacks run in the thread where the event was noticed; what
    they raise is only logged.
    """

    def __init__(
        self,
        gateway_host: str | Sequence[str] = (),
        gateway_port: int = 8090,
        timeout: float = 10.0,
        max_retry_attempts: int = 3,
        rng: random.Random | None = None,
        *,
        gateways: Sequence[str] = (),
        keys: Keys = None,
    ) -> None:
        """Dials when first used.

        Args:
            gateway_host: where the gateway listens; or several gateways, each as `host` or `host:port`.
            gateway_port: of those that are given without one.
            timeout: seconds after which every operation has ended, with all retries at all gateways.
            max_retry_attempts: how often a request is sent at most to one gateway; pauses between grow from 0.2 s to
                10 s, or are as long as a busy gateway asks for.
            rng: draws the jitter of the pauses; None: one of its own.
            gateways: further ones. Without any at all, it is the one at localhost.
            keys: path of the key folder, or credentials; None: gateways are spoken to in the open. A client that
                registers speaks as that peer, one that only reads as whoever may.

        Raises:
            ConfigError: an argument is out of its range, or no keys are there.
        """
        self.node_id: int | None = None
        self.last_error = ""
        """Why the last registration failed; empty: it did not."""
        self.on_registration_success: Callable[[RegistrationDict], object] | None = None
        self.on_registration_failure: Callable[[str], object] | None = None
        self.on_heartbeat_failure: Callable[[str], object] | None = None
        """Called once for each heartbeat that was not acknowledged."""
        self.on_connection_lost: Callable[[str], object] | None = None
        """Called once each time that a gateway which answered before does so no more, though another may."""
        self._keys = ClientKeys(keys)
        self._heartbeats = Heartbeats(self._beat, 30.0)
        self._watches: list[NodeWatch] = []
        self._connection = GatewayConnection(
            gateway_addresses(gateway_host, gateway_port, gateways),
            timeout,
            max_retry_attempts,
            rng or random.Random(),
            self._keys.current,
            self._lost,
            self._heartbeats.hurry,
        )
        self._standing = StandingRegistration(self._connection, self._failed)

    @property
    def is_registered(self) -> bool:
        """Whether a gateway has this node on its list, as far as is known here."""
        return self._standing.is_valid

    @property
    def registration(self) -> RegistrationDict | None:
        """The answer to the last registration that was asked for (not to those that heartbeats repeat)."""
        return self._standing.answer

    @property
    def cluster_id(self) -> str:
        """The cluster that this node belongs to; heartbeats tell it, so that gateways never found a second one. May be
        set at any time."""
        return self._standing.cluster_id

    @cluster_id.setter
    def cluster_id(self, cluster_id: str) -> None:
        self._standing.cluster_id = cluster_id

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between heartbeats; may be set at any time."""
        return self._heartbeats.interval

    @heartbeat_interval.setter
    def heartbeat_interval(self, seconds: float) -> None:
        self._heartbeats.interval = seconds

    @property
    def current_gateway(self) -> str:
        """Which gateway calls go to now, as host:port."""
        return str(self._connection.current)

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
        *,
        cluster_id: str = "",
        can_wait: bool = False,
    ) -> RegistrationDict | None:
        """Tell the gateway where this node is, and go on telling it; None: it refused or did not answer.

        Args:
            node_id: this node, from 1 on.
            ip_address: where other nodes reach it.
            port: likewise.
            capabilities: what it can do, for other nodes to see.
            metadata: likewise; an `owner` in it is a secret that keeps others from taking the node id.
            cluster_id: the cluster that it belongs to; empty: none, or the one that was given before.
            can_wait: the gateway may have it wait before it names a bootstrap; whoever says so registers again after
                the answer's `bootstrap_wait_ms`, unless that is 0.
        """
        try:
            return self._register(node_id, ip_address, port, capabilities, metadata, cluster_id, can_wait)
        except TransportError as error:  # the connection has warned, once
            logger.info("node %s was not registered: %s", node_id, error)
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
        *,
        cluster_id: str = "",
        can_wait: bool = False,
    ) -> tuple[bool, ClusterDict]:
        """Register this node, as `register_node` does; returns whether it may found the cluster, and who is there.

        Raises:
            TransportError: no gateway answers.
            RaftGossipError: it was refused, e.g. `AlreadyExists`: the node id belongs to another live node.
        """
        result = self._register(node_id, ip_address, port, capabilities, metadata, cluster_id, can_wait)
        return result["is_bootstrap"], cluster_of(result)

    def get_nodes(self, exclude_self: bool = True) -> list[NodeDict]:
        """All active nodes; empty also if the gateway does not answer."""
        try:
            pages = self._pages(pb.GetNodesRequest(requesting_node_id=self._asker(exclude_self)))
            return [node_to_dict(node) for page in pages for node in page.nodes]
        except RaftGossipError as error:
            logger.info("the gateway was asked in vain: %s", error)
            return []

    def iter_nodes(self, page_size: int = 500, exclude_self: bool = True) -> Iterator[NodeDict]:
        """All active nodes by id, asked for in pages of so many: for clusters too large to hold at once.

        Raises:
            ConfigError: `page_size` is not positive.
            RaftGossipError: the rest cannot be had: no gateway answers, or it refused.
        """
        if page_size < 1:
            raise ConfigError(f"page_size is {page_size}; it must be at least 1")
        request = pb.GetNodesRequest(requesting_node_id=self._asker(exclude_self), limit=page_size)
        return (node_to_dict(node) for page in self._pages(request) for node in page.nodes)

    def get_changes(self, since_version: int, registry_id: str) -> ChangesDict | None:
        """What changed since a version that the registry with this id was at, this node excepted; None: the gateway
        does not answer. Where it cannot tell any more, or knows no changes, it lists everybody: see `is_delta`. Ask
        again from the version that it answers.
        """
        try:
            request = pb.GetNodesRequest(
                requesting_node_id=self._asker(True), since_version=since_version, registry_id=registry_id
            )
            return changes_to_dict(list(self._pages(request)))
        except (RaftGossipError, TypeError, ValueError) as error:
            logger.info("the gateway was asked in vain: %s", error)
            return None

    def watch_nodes(self, callback: Callable[[NodeEventDict], object] | None = None) -> NodeWatch:
        """Follow the list: an iterator of its changes, which waits for the next one; it goes on over lost connections
        and other gateways, without loss or repetition. With a `callback`, that is called with each, in a thread of its
        own. Ends with `close` of the result, or `shutdown`.
        """
        watch = NodeWatch(self._connection, self._watches)
        if callback is not None:
            watch.call(lambda event: self._call_back(callback, event))
        return watch

    def get_leader(self) -> LeaderDict | None:
        """Who was last reported to lead; None: nobody, or the gateway does not answer."""
        request = pb.GetLeaderRequest()
        response: pb.GetLeaderResponse | None = self._ask(lambda stub, s: stub.GetLeader(request, timeout=s))
        return None if response is None else leader_to_dict(response)

    def update_leader(self, leader_id: int, term: int = 0) -> bool:
        """Report who leads since which Raft term (0: unknown); False: that node is not registered, a later term is
        known, only the leader itself may say so, or the gateway does not answer."""
        response: pb.UpdateLeaderResponse | None = self._ask(
            lambda stub, s: stub.UpdateLeader(pb.UpdateLeaderRequest(leader_id=leader_id, term=term), timeout=s)
        )
        return response is not None and response.status == "updated"

    def heartbeat(self) -> HeartbeatDict | None:
        """Tell that this node lives, and register again if it was forgotten; None: no answer, or never registered."""
        try:
            renewal = self._standing.renew()
        except RaftGossipError as error:
            logger.debug("a heartbeat failed: %s", error)
            self._call_back(self.on_heartbeat_failure, str(error))
            return None
        if renewal is None:
            logger.warning("no heartbeat was sent: the node is not registered; call register_node first")
            return None
        answer, registration = renewal
        if registration is not None:
            self._call_back(self.on_registration_success, registration)
        return answer

    def remove_node(self, node_id: int | None = None) -> bool:
        """Take a node (None: this one) off the list; False: it was not on it, or the gateway does not answer."""
        leaving = self.node_id if node_id is None else node_id
        if leaving == self.node_id:
            self._standing.forget()
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
        """Stop the heartbeats and watches and close the connection, within a second; the gateway forgets the node after
        a while.

        To leave at once, call `remove_node` before.
        """
        self._connection.close()
        for watch in tuple(self._watches):
            watch.close()
        self._heartbeats.stop(STOP_PATIENCE_S)
        self._standing.is_valid = False

    def _ask(self, send: Send[Answer]) -> Answer | None:
        try:
            return self._connection.call(send)
        except (RaftGossipError, TypeError, ValueError) as error:  # the latter: what no message can carry
            logger.info("the gateway was asked in vain: %s", error)
            return None

    def _asker(self, exclude_self: bool) -> int:
        return (self.node_id or 0) if exclude_self else 0

    def _pages(self, request: pb.GetNodesRequest) -> Iterator[pb.GetNodesResponse]:
        """Page after page; without a `limit` as large as the gateway makes them, all in the time of one operation."""
        deadline = monotonic_seconds() + self._connection.timeout
        while True:
            within = None if request.limit else deadline - monotonic_seconds()
            page: pb.GetNodesResponse = self._connection.call(lambda stub, s: stub.GetNodes(request, timeout=s), within)
            yield page
            if page.next_after_node_id <= request.after_node_id:  # 0: this was the last one
                return
            request.after_node_id = page.next_after_node_id

    def _register(
        self,
        node_id: int,
        ip_address: str,
        port: int,
        capabilities: Sequence[str],
        metadata: Mapping[str, str] | None,
        cluster_id: str,
        can_wait: bool,
    ) -> RegistrationDict:
        try:
            request = registration_to_proto(node_id, ip_address, port, capabilities, metadata, cluster_id, can_wait)
            self._keys.speak_for(node_id)
        except RaftGossipError as error:
            self._failed(str(error))
            raise
        result = self._standing.ask(request)
        self.node_id, self.last_error = node_id, ""
        self._heartbeats.start()
        self._call_back(self.on_registration_success, result)
        return result

    def _beat(self) -> None:
        if self._standing.is_wanted:
            self.heartbeat()

    def _lost(self, reason: str) -> None:
        self._call_back(self.on_connection_lost, reason)

    def _failed(self, reason: str) -> None:
        self.last_error = reason
        self._call_back(self.on_registration_failure, reason)

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
        gateway_host: str | Sequence[str],
        gateway_port: int,
        node_id: int,
        ip_address: str,
        port: int,
        capabilities: Sequence[str],
        metadata: Mapping[str, str] | None = None,
        on_registration_success: Callable[[RegistrationDict], object] | None = None,
        on_registration_failure: Callable[[str], object] | None = None,
        *,
        gateways: Sequence[str] = (),
        keys: Keys = None,
        cluster_id: str = "",
        can_wait: bool = False,
    ) -> bool:
        """Register at a gateway and keep the registration alive; False: it refused or did not answer.

        The arguments are those of `GRPCGatewayClient` and its `register_node`.

        Raises:
            ConfigError: a gateway's address is malformed, or no keys are there.
        """
        self.shutdown_gateway_discovery()
        self.gateway_client = GRPCGatewayClient(gateway_host, gateway_port, gateways=gateways, keys=keys)
        self.gateway_client.on_registration_success = on_registration_success
        self.gateway_client.on_registration_failure = on_registration_failure
        return self.register_with_gateway(
            node_id, ip_address, port, capabilities, metadata, cluster_id=cluster_id, can_wait=can_wait
        )

    def register_with_gateway(
        self,
        node_id: int,
        ip_address: str,
        port: int,
        capabilities: Sequence[str],
        metadata: Mapping[str, str] | None = None,
        *,
        cluster_id: str = "",
        can_wait: bool = False,
    ) -> bool:
        """Register again, e.g. elsewhere or after the gateway was away; False: in vain."""
        client = self.gateway_client
        if client is None:
            return False
        answer = client.register_node(
            node_id, ip_address, port, capabilities, metadata, cluster_id=cluster_id, can_wait=can_wait
        )
        return answer is not None

    def is_bootstrap_node(self) -> bool:
        """Whether the gateway said, when this node registered, that it may found the cluster; only a hint."""
        return self.get_discovery_info()["is_bootstrap"]

    def get_cluster_nodes(self) -> list[NodeDict]:
        """The other active nodes."""
        return [] if self.gateway_client is None else self.gateway_client.get_nodes()

    def get_cluster_leader(self) -> LeaderDict | None:
        """Who was last reported to lead."""
        return None if self.gateway_client is None else self.gateway_client.get_leader()

    def update_gateway_leader(self, leader_id: int, term: int = 0) -> bool:
        """Report who leads since which Raft term (0: unknown)."""
        return self.gateway_client is not None and self.gateway_client.update_leader(leader_id, term)

    def get_discovery_info(self) -> DiscoveryDict:
        """What the gateway said when this node registered, and whether it is registered now."""
        client = self.gateway_client
        answer = None if client is None else client.registration
        return {
            "is_bootstrap": answer is not None and answer["is_bootstrap"],
            "cluster_info": empty_cluster() if answer is None else cluster_of(answer),
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


def main(argv: Sequence[str] | None = None) -> int:
    """Register a node and print the answers; returns 0, or 2: wrong use, 3: no gateway answered, 1: it refused."""
    arguments = parse(argv)
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        client = GRPCGatewayClient(arguments.gateways, arguments.gateway_port, keys=arguments.keys)
        try:
            is_bootstrap, cluster = client.discover_cluster(arguments.node_id, arguments.ip, arguments.port)
            stats = client.get_stats()
        finally:
            client.shutdown()
    except RaftGossipError as error:
        text, code = explain(error, arguments)
        print(f"raftgossip: {text}", file=sys.stderr)
        return code
    print(report(is_bootstrap, cluster, stats))
    return 0


if __name__ == "__main__":
    sys.exit(main())
