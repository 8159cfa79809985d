"""The gateway as its users meet it: server, client, many nodes, bootstrap, heartbeats, mixin, both command lines.

`python tests/test_grpc_gateway.py` runs all of it, and with the name of a function only that one.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file
    sys.path.insert(0, str(ROOT))

from gateway.clock import monotonic_seconds  # noqa: E402
from gateway.grpc_gateway_client import GRPCGatewayClient, GRPCGatewayDiscoveryMixin  # noqa: E402
from gateway.grpc_gateway_server import GRPCGatewayServer  # noqa: E402
from raftgossip.errors import AlreadyExists, ConfigError, RaftGossipError, TransportError  # noqa: E402
from tests.support.gateway_program import CLIENT, SERVERS, GatewayProcess, run  # noqa: E402
from tests.support.happened import Happened  # noqa: E402

Connect = Callable[[], GRPCGatewayClient]


@pytest.fixture
def server() -> Iterator[GRPCGatewayServer]:
    """A gateway on a free port."""
    gateway = GRPCGatewayServer(port=0)
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.fixture
def connect(server: GRPCGatewayServer) -> Iterator[Connect]:
    """Makes clients of that gateway and ends them afterwards."""
    clients: list[GRPCGatewayClient] = []

    def make() -> GRPCGatewayClient:
        clients.append(GRPCGatewayClient("localhost", server.port))
        return clients[-1]

    yield make
    for client in clients:
        client.shutdown()


@pytest.fixture
def dead_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- server


def test_defaults_of_the_server() -> None:
    gateway = GRPCGatewayServer()
    assert (gateway.host, gateway.port) == ("localhost", 8090)
    assert (gateway.node_timeout, gateway.heartbeat_interval, gateway.max_workers) == (300, 30, 10)


def test_start_and_stop_are_harmless_twice_and_the_port_is_free_afterwards() -> None:
    gateway = GRPCGatewayServer(port=0)
    gateway.stop()
    gateway.start()
    port = gateway.port
    gateway.start()
    assert gateway.port == port != 0
    gateway.stop()
    gateway.stop()
    second = GRPCGatewayServer(port=port)
    second.start()
    assert second.port == port
    second.stop()


def test_a_stopped_gateway_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    gateway = GRPCGatewayServer(port=0)
    gateway.start()
    gateway.stop()
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("gateway")]


def test_a_gateway_that_is_started_again_still_knows_its_nodes(server: GRPCGatewayServer, connect: Connect) -> None:
    connect().register_node(1, "127.0.0.1", 5001)
    server.stop()
    server.start()
    client = GRPCGatewayClient("localhost", server.port)
    assert [node["node_id"] for node in client.get_nodes()] == [1]
    client.shutdown()


def test_a_port_in_use_is_named_even_if_only_one_address_of_the_host_has_it(server: GRPCGatewayServer) -> None:
    with pytest.raises(ConfigError, match=rf"{server.port}.*in use.*choose another port"):
        GRPCGatewayServer(port=server.port).start()
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConfigError, match="in use"):
        GRPCGatewayServer("localhost", other.getsockname()[1]).start()


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"port": 70000}, "port"),
        ({"port": -1}, "port"),
        ({"node_timeout": 0}, "node_timeout"),
        ({"node_timeout": float("nan")}, "node_timeout"),
        ({"heartbeat_interval": -1}, "heartbeat_interval"),
        ({"max_workers": 0}, "max_workers"),
        ({"host": "no such host"}, "host"),
    ],
)
def test_a_wrong_argument_of_the_server_is_named(wrong: dict[str, object], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        GRPCGatewayServer(**wrong)  # type: ignore[arg-type] # wrong on purpose


def test_a_silent_node_is_gone_within_its_timeout_and_a_second_though_nobody_asks() -> None:
    removed = Happened()
    handler = logging.Handler()
    handler.emit = lambda record: removed(record.getMessage()) if "removed" in record.getMessage() else None  # type: ignore[method-assign]
    logger = logging.getLogger("gateway")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    gateway = GRPCGatewayServer(port=0, node_timeout=0.6)
    gateway.start()
    client = GRPCGatewayClient("localhost", gateway.port)
    try:
        client.register_node(1, "127.0.0.1", 5001)
        start = monotonic_seconds()
        client.shutdown()
        removed.wait()
        assert 0.5 <= monotonic_seconds() - start <= 1.6
        assert len(removed.seen) == 1 and "node_id=1" in str(removed.seen[0])
    finally:
        gateway.stop()
        logger.removeHandler(handler)
        logger.setLevel(level)


# --- client


def test_a_registration_is_answered_field_by_field(connect: Connect) -> None:
    first = connect().register_node(1, "127.0.0.1", 5001, ["raft", "gossip"], {"zone": "a"})
    second = connect().register_node(2, "127.0.0.1", 5002, ["raft"])
    assert first is not None and second is not None
    assert first["registry_id"] == second["registry_id"] != ""
    assert {**first, "message": "", "registry_id": ""} == {
        "status": "registered",
        "node_id": 1,
        "is_bootstrap": True,
        "registry_version": 1,
        "nodes": [],
        "leader": None,
        "message": "",
        "cluster_id": "",
        "registry_id": "",
        "total_nodes": 1,
        "heartbeat_interval_ms": 30_000,
        "bootstrap_wait_ms": 0,
    }
    (peer,) = second["nodes"]
    assert peer["join_timestamp"] == peer["last_seen"] > 1.6e9
    assert {**peer, "join_timestamp": 0, "last_seen": 0} == {
        "node_id": 1,
        "ip_address": "127.0.0.1",
        "port": 5001,
        "capabilities": ["raft", "gossip"],
        "status": "active",
        "last_seen": 0,
        "join_timestamp": 0,
        "metadata": {"zone": "a"},
        "identity": "",
    }
    assert (second["is_bootstrap"], second["registry_version"]) == (False, 2)


def test_the_same_node_is_updated_and_another_one_with_its_id_is_refused(connect: Connect) -> None:
    client, intruder = connect(), connect()
    client.register_node(1, "127.0.0.1", 5001)
    again = client.register_node(1, "127.0.0.1", 5001, ["gossip"])
    assert again is not None and again["status"] == "updated"
    failed = Happened()
    intruder.on_registration_failure = failed
    assert intruder.register_node(1, "127.0.0.1", 6666) is None
    assert not intruder.is_registered
    assert [str(text).split(" ")[:4] for text in failed.seen] == [["the", "node", "id", "1"]]
    with pytest.raises(AlreadyExists):
        intruder.discover_cluster(1, "127.0.0.1", 6666)


def test_the_leader_is_nobody_then_who_was_reported_then_nobody_when_it_leaves(connect: Connect) -> None:
    client = connect()
    assert client.get_leader() is None
    assert not client.update_leader(1)
    client.register_node(1, "127.0.0.1", 5001)
    assert client.update_leader(1)
    leader = client.get_leader()
    assert leader is not None and leader["node_id"] == 1
    other = connect().register_node(2, "127.0.0.1", 5002)
    assert other is not None and other["leader"] is not None and other["leader"]["port"] == 5001
    assert client.remove_node(1)
    assert client.get_leader() is None
    assert not client.remove_node(1)


def test_stats_and_health_of_a_scripted_run(connect: Connect) -> None:
    client = connect()
    for node_id in (1, 2, 3):
        connect().register_node(node_id, "127.0.0.1", 5000 + node_id)
    client.update_leader(2)
    client.remove_node(3)
    stats, health = client.get_stats(), client.health_check()
    assert stats is not None and health is not None
    assert 0 <= stats["uptime"] < 60
    assert {**stats, "uptime": 0, "registry_id": "", "settings": {}} == {
        "total_nodes": 2,
        "active_nodes": 2,
        "leader_id": 2,
        "registry_version": 5,
        "bootstrap_initiated": True,
        "uptime": 0,
        "cluster_id": "",
        "registry_id": "",
        "suspected_nodes": 0,
        "num_watchers": 0,
        "settings": {},
        "gateways": [],
    }
    assert health["status"] == "healthy" and health["timestamp"] > 1.6e9 and health["version"]
    assert client.is_gateway_available()


def test_defaults_of_the_client() -> None:
    client = GRPCGatewayClient("localhost", 8090)
    assert (client.heartbeat_interval, client.is_registered, client.node_id) == (30.0, False, None)
    for name in ("registration_success", "registration_failure", "heartbeat_failure", "connection_lost"):
        assert getattr(client, f"on_{name}") is None
    client.shutdown()


def test_a_dead_gateway_is_answered_with_nothing_and_raises_only_in_discover_cluster(dead_port: int) -> None:
    client, lost = GRPCGatewayClient("127.0.0.1", dead_port, max_retry_attempts=1), Happened()
    client.on_connection_lost = lost
    assert client.health_check() is None and client.get_leader() is None and client.get_stats() is None
    assert client.register_node(1, "127.0.0.1", 5001) is None and client.heartbeat() is None
    assert client.get_nodes() == []
    assert not (client.update_leader(1) or client.remove_node(1) or client.is_gateway_available())
    with pytest.raises(TransportError):
        client.discover_cluster(1, "127.0.0.1", 5001)
    assert lost.seen == []  # there never was a connection
    client.shutdown()


def test_arguments_that_no_message_can_carry_are_refused_like_all_others(connect: Connect) -> None:
    client, failed = connect(), Happened()
    client.on_registration_failure = failed
    assert client.register_node(2**40, "127.0.0.1", 5001) is None
    assert not client.update_leader(2**40)
    assert len(failed.seen) == 1
    with pytest.raises(RaftGossipError):
        client.discover_cluster(1, "127.0.0.1", 2**40)


def test_a_watcher_hears_of_every_change_within_a_second(connect: Connect) -> None:
    seen, node = Happened(), connect()
    node.register_node(1, "127.0.0.1", 5001)
    connect().watch_nodes(seen)
    seen.wait(2)
    node.update_leader(1, term=3)
    seen.wait(3, 1.0)
    node.remove_node()
    seen.wait(5, 1.0)
    kinds = [(event["kind"], event["node_id"], event["term"]) for event in seen.seen]  # type: ignore[index]
    assert kinds[:3] == [("reset", 0, 0), ("joined", 1, 0), ("leader", 1, 3)]
    assert sorted(kinds[3:]) == [("leader", 0, 0), ("left", 1, 0)]


def test_a_lower_term_than_the_known_one_is_refused_and_none_is_accepted_as_before(connect: Connect) -> None:
    client = connect()
    for node_id in (1, 2):
        connect().register_node(node_id, "127.0.0.1", 5000 + node_id)
    assert client.update_leader(1, term=7) and not client.update_leader(2, term=6)
    leader = client.get_leader()
    assert leader is not None and (leader["node_id"], leader["term"]) == (1, 7) and leader["age_ms"] < 60_000
    assert client.update_leader(2)


# --- many nodes and bootstrap


def test_every_node_sees_all_others_and_not_itself(connect: Connect) -> None:
    clients = {node_id: connect() for node_id in range(1, 9)}
    for node_id, client in clients.items():
        client.register_node(node_id, "127.0.0.1", 5000 + node_id)
    for node_id, client in clients.items():
        assert [node["node_id"] for node in client.get_nodes()] == [other for other in clients if other != node_id]
        assert len(client.get_nodes(exclude_self=False)) == len(clients)


def test_of_twenty_nodes_that_register_at_once_exactly_one_is_bootstrap(connect: Connect) -> None:
    def discover(node_id: int) -> bool:
        return connect().discover_cluster(node_id, "127.0.0.1", 5000 + node_id, ["raft"])[0]

    with ThreadPoolExecutor(20) as threads:
        assert sum(threads.map(discover, range(1, 21))) == 1


def test_32_threads_may_share_one_client(connect: Connect) -> None:
    client = connect()
    client.register_node(1, "127.0.0.1", 5001)

    def use(number: int) -> bool:
        return client.heartbeat() is not None and client.update_leader(1) and client.get_nodes() == []

    with ThreadPoolExecutor(32) as threads:
        assert all(threads.map(use, range(320)))


# --- heartbeats and callbacks


def test_heartbeats_keep_a_node_alive_and_a_forgotten_node_registers_again() -> None:
    gateway = GRPCGatewayServer(port=0, node_timeout=1.0)
    gateway.start()
    client, other = GRPCGatewayClient("localhost", gateway.port), GRPCGatewayClient("localhost", gateway.port)
    registered = Happened()
    client.on_registration_success = registered
    client.heartbeat_interval = 0.1
    client.register_node(1, "127.0.0.1", 5001)
    outlives = threading.Event()
    assert not outlives.wait(1.5)  # longer than the timeout: only heartbeats can keep it
    assert [node["node_id"] for node in other.get_nodes()] == [1]
    assert len(registered.seen) == 1
    assert other.remove_node(1)
    registered.wait(2)
    assert [node["node_id"] for node in other.get_nodes()] == [1]
    client.shutdown()
    other.shutdown()
    gateway.stop()


def test_a_node_registers_again_by_itself_when_the_gateway_comes_back_empty() -> None:
    gateway = GRPCGatewayServer(port=0)
    gateway.start()
    client = GRPCGatewayClient("localhost", gateway.port, max_retry_attempts=1)
    registered, missed, lost = Happened(), Happened(), Happened()
    client.on_registration_success, client.on_heartbeat_failure, client.on_connection_lost = registered, missed, lost
    client.register_node(1, "127.0.0.1", 5001, metadata={"zone": "a"})
    fresh = GRPCGatewayServer(port=gateway.port)
    gateway.stop()
    client.heartbeat_interval = 0.1
    missed.wait(3)
    assert len(lost.seen) == 1
    fresh.start()
    registered.wait(2)
    assert client.get_nodes(exclude_self=False)[0]["metadata"] == {"zone": "a"}
    fresh.stop()
    missed.wait(len(missed.seen) + 1)
    assert len(lost.seen) == 2
    client.shutdown()


def test_a_node_that_left_is_not_brought_back_by_its_heartbeats(connect: Connect) -> None:
    client = connect()
    client.heartbeat_interval = 0.05
    client.register_node(1, "127.0.0.1", 5001)
    assert client.remove_node() and not client.is_registered
    client._beat()
    assert client.get_nodes(exclude_self=False) == []
    assert client.heartbeat() is None


def test_a_callback_that_raises_hurts_nobody(connect: Connect) -> None:
    def complain(_: object) -> None:
        raise RuntimeError("my own fault")

    client = connect()
    client.on_registration_success = client.on_registration_failure = complain
    assert client.register_node(1, "127.0.0.1", 5001) is not None
    assert client.register_node(0, "127.0.0.1", 5001) is None
    assert client.discover_cluster(1, "127.0.0.1", 5001)[1]["nodes"] == []


def test_a_callback_may_shut_its_client_down(server: GRPCGatewayServer) -> None:
    client, done = GRPCGatewayClient("localhost", server.port, max_retry_attempts=1), Happened()
    client.register_node(1, "127.0.0.1", 5001)

    def give_up(_: object) -> None:
        client.shutdown()
        done("given up")

    client.on_heartbeat_failure = give_up
    server.stop()
    client.heartbeat_interval = 0.05
    done.wait()
    client.shutdown()


# --- mixin


class MyNode(GRPCGatewayDiscoveryMixin):
    """A user's class, as in the documentation."""

    def __init__(self, node_id: int, gateway_port: int) -> None:
        super().__init__()
        self.started = self.initialize_gateway_discovery(
            gateway_host="localhost",
            gateway_port=gateway_port,
            node_id=node_id,
            ip_address="127.0.0.1",
            port=5000 + node_id,
            capabilities=["raft", "gossip"],
        )


def test_the_mixin_lends_discovery_to_any_class(server: GRPCGatewayServer, connect: Connect) -> None:
    first, second = MyNode(1, server.port), MyNode(2, server.port)
    assert first.started and second.started
    assert (first.is_bootstrap_node(), second.is_bootstrap_node()) == (True, False)
    assert [node["node_id"] for node in second.get_cluster_nodes()] == [1]
    assert first.get_cluster_leader() is None
    assert second.update_gateway_leader(2)
    leader = first.get_cluster_leader()
    assert leader is not None and leader["node_id"] == 2
    info = second.get_discovery_info()
    assert info["gateway_available"] and not info["error"]
    assert [node["node_id"] for node in info["cluster_info"]["nodes"]] == [1]
    assert second.register_with_gateway(2, "127.0.0.1", 5002, ["raft"])
    second.shutdown_gateway_discovery()
    first.shutdown_gateway_discovery()
    first.shutdown_gateway_discovery()
    assert connect().get_nodes() == []


def test_the_mixin_works_without_a_gateway(dead_port: int) -> None:
    node = MyNode(1, dead_port)
    assert not node.started and not node.is_bootstrap_node()
    assert node.get_cluster_nodes() == [] and node.get_cluster_leader() is None
    assert not node.update_gateway_leader(1) and not node.register_with_gateway(1, "127.0.0.1", 5001, [])
    info = node.get_discovery_info()
    assert not info["gateway_available"] and "refused" in info["error"]
    node.shutdown_gateway_discovery()
    assert node.get_cluster_nodes() == [] and not node.update_gateway_leader(1)
    assert node.get_discovery_info()["cluster_info"]["nodes"] == []


# --- command lines; what they do with bad input is in tests/gateway/test_programs.py


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", SERVERS)
def test_the_server_program_says_where_it_listens_and_stops_cleanly(command: list[str], number: signal.Signals) -> None:
    with GatewayProcess(command) as process:
        assert process.first_line == f"gateway listening on localhost:{process.port}\n"
        code, errors = process.end(number)
    assert code == 0 and "Traceback" not in errors and "WARNING" not in errors


@pytest.mark.slow
def test_the_client_program_prints_what_it_learned() -> None:
    with GatewayProcess(SERVERS[0]) as process:
        first = run(*CLIENT, "--gateway-port", process.port, "--node-id", "1", "--port", "5001")
        second = run(*CLIENT, "--gateway-port", process.port, "--node-id", "2", "--ip", "127.0.0.1", "--port", "5002")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.splitlines()[:3] == ["bootstrap: True", "other nodes: 0", "leader: none"]
    assert second.stdout.splitlines()[:3] == ["bootstrap: False", "other nodes: 1", "leader: none"]
    assert second.stdout.splitlines()[3].startswith("stats: total_nodes 2, active_nodes 2, ")


if __name__ == "__main__":
    chosen = [f"{__file__}::{name}" for name in sys.argv[1:]] or [__file__]
    sys.exit(pytest.main(["-v", "--rootdir", str(ROOT), *chosen]))
