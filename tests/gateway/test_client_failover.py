"""Several gateways: who is asked, who takes over, and that a node registers where it is not known yet."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from gateway.clock import monotonic_seconds
from gateway.grpc_connection import GatewayConnection
from gateway.grpc_gateway_client import GRPCGatewayClient
from raftgossip.errors import Busy, CommandRefused, ConfigError
from raftgossip.ids import Address
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.fake_gateway import Answered, BlackHole, ScriptedGateway
from tests.support.happened import Happened

HEALTHY = pb.HealthCheckResponse(status="healthy").SerializeToString()


def healthy(_method: str, _position: int) -> Answered:
    """Answers whatever it is asked."""
    return HEALTHY


def registrar(registry_id: str, *, knows_nobody: bool = False) -> Callable[[str, int], Answered]:
    """A gateway that registers, and acknowledges heartbeats."""

    def answer(method: str, _position: int) -> Answered:
        match method:
            case "RegisterNode":
                return pb.RegisterNodeResponse(
                    status="registered", node_id=1, registry_id=registry_id
                ).SerializeToString()
            case "Heartbeat":
                status = "not_found" if knows_nobody else "acknowledged"
                return pb.HeartbeatResponse(status=status, registry_id=registry_id).SerializeToString()
            case _:
                return HEALTHY

    return answer


@pytest.fixture
def dead() -> str:
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


# --- arguments


def test_gateways_are_given_as_a_host_as_a_list_or_by_keyword() -> None:
    cases: list[tuple[GRPCGatewayClient, list[str]]] = [
        (GRPCGatewayClient(), ["localhost:8090"]),
        (GRPCGatewayClient("::1", 9000), ["[::1]:9000"]),
        (GRPCGatewayClient("a:7000", 9000), ["a:7000"]),
        (GRPCGatewayClient(["a", "b:7000", "a:9000"], 9000), ["a:9000", "b:7000"]),
        (GRPCGatewayClient(gateways=["a", "b:7000"]), ["a:8090", "b:7000"]),
        (GRPCGatewayClient("a", 9000, gateways=["b"]), ["a:9000", "b:9000"]),
    ]
    for client, expected in cases:
        assert [str(address) for address in client._connection.gateways] == expected
        client.shutdown()


@pytest.mark.parametrize(
    ("hosts", "more", "text"),
    [
        (["a", "b:0"], [], "port 0"),
        (["http://a:8090"], [], "begins with http"),
        ([f"host{number}" for number in range(17)], [], "at most 16"),
        ("a", "b:8090", "give a list"),
    ],
)
def test_a_malformed_list_of_gateways_is_named(hosts: list[str], more: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        GRPCGatewayClient(hosts, gateways=more)


# --- who is asked


def test_the_next_gateway_takes_over_and_is_asked_first_from_then_on(dead: str) -> None:
    with ScriptedGateway(healthy) as gateway:
        client = GRPCGatewayClient([dead, gateway.address])
        assert client.is_gateway_available() and client.current_gateway == gateway.address
        start = monotonic_seconds()
        assert all(client.is_gateway_available() for _ in range(20))
        assert monotonic_seconds() - start < 1.0
        client.shutdown()
        assert len(gateway.calls) == 21


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_a_gateway_that_cannot_answer_is_passed_over_without_a_pause(code: grpc.StatusCode) -> None:
    with ScriptedGateway(lambda *_: code) as first, ScriptedGateway(healthy) as second:
        client = GRPCGatewayClient([first.address, second.address])
        assert client.is_gateway_available()
        client.shutdown()
        assert second.calls[0].at_s - first.calls[0].at_s < 0.1


def test_a_gateway_that_refuses_has_answered_and_no_other_is_asked() -> None:
    refusal = CommandRefused("term 3 is below the known term 7")
    with ScriptedGateway(lambda *_: refusal) as first, ScriptedGateway(healthy) as second:
        client = GRPCGatewayClient([first.address, second.address])
        assert not client.update_leader(1, term=3)
        client.shutdown()
        assert pb.UpdateLeaderRequest.FromString(first.calls[0].request) == pb.UpdateLeaderRequest(leader_id=1, term=3)
        assert (len(first.calls), len(second.calls)) == (1, 0)


def test_after_the_last_gateway_the_first_is_asked_again(dead: str) -> None:
    def busy_then_gone(_method: str, position: int) -> Answered:
        return HEALTHY if position == 1 else grpc.StatusCode.UNAVAILABLE

    with ScriptedGateway(healthy) as first, ScriptedGateway(busy_then_gone) as second:
        client = GRPCGatewayClient([first.address, dead, second.address])
        client._connection._position = 2
        assert client.is_gateway_available() and client.is_gateway_available()
        assert client.current_gateway == first.address
        client.shutdown()
        assert (len(first.calls), len(second.calls)) == (1, 2)


def test_a_swallowed_request_leaves_time_for_the_other_gateways() -> None:
    with BlackHole() as first, BlackHole() as second, ScriptedGateway(healthy) as third:
        client = GRPCGatewayClient([first.address, second.address, third.address], timeout=2.0)
        start = monotonic_seconds()
        assert client.is_gateway_available()
        assert monotonic_seconds() - start <= 1.2
        client.shutdown()


def test_three_gateways_that_never_answer_take_no_longer_than_one() -> None:
    def timed(operation: Callable[[], object]) -> tuple[object, float]:
        start = monotonic_seconds()
        return operation(), monotonic_seconds() - start

    with BlackHole() as one, BlackHole() as two, BlackHole() as three, ThreadPoolExecutor(9) as threads:
        client = GRPCGatewayClient([one.address, two.address, three.address], timeout=0.8)
        operations: list[Callable[[], object]] = [
            client.health_check,
            client.is_gateway_available,
            lambda: client.register_node(1, "127.0.0.1", 5001),
            client.get_nodes,
            client.get_leader,
            lambda: client.update_leader(1),
            lambda: client.remove_node(1),
            client.get_stats,
            lambda: client.get_changes(1, "r"),
        ]
        outcomes = list(threads.map(timed, operations))
        client.shutdown()
    assert [answer for answer, _ in outcomes] == [None, False, None, [], None, False, False, None, None]
    assert max(seconds for _, seconds in outcomes) <= 0.8 + 0.5


def test_each_address_of_a_name_is_tried() -> None:
    class NameWithAddresses(Address):
        """A host with an A record for each address, without a name server."""

        def __str__(self) -> str:
            return f"ipv4:{hole.address},{gateway.address}"

    with BlackHole() as hole, ScriptedGateway(healthy) as gateway, contextlib.ExitStack() as stack:
        connection = GatewayConnection([NameWithAddresses("name", 1)], 3.0, 1, random.Random(1))
        stack.callback(connection.close)
        answer = connection.call(lambda stub, s: stub.HealthCheck(pb.HealthCheckRequest(), timeout=s))
        assert answer.status == "healthy"


# --- pauses


def test_a_busy_gateways_wish_is_obeyed() -> None:
    def busy_once(_method: str, position: int) -> Answered:
        return HEALTHY if position > 1 else Busy("too often", 700)

    with ScriptedGateway(busy_once) as gateway:
        client = GRPCGatewayClient(gateway.address)
        assert client.is_gateway_available()
        client.shutdown()
        assert 0.7 <= gateway.calls[1].at_s - gateway.calls[0].at_s <= 1.2


def test_a_busy_gateway_that_wants_more_time_than_there_is_is_not_waited_for() -> None:
    with ScriptedGateway(lambda *_: Busy("too often", 30_000)) as gateway:
        client = GRPCGatewayClient(gateway.address, timeout=2.0)
        start = monotonic_seconds()
        assert client.health_check() is None
        assert monotonic_seconds() - start <= 0.5
        client.shutdown()


# --- what is told


def test_a_loss_is_told_once_though_another_gateway_takes_over(caplog: pytest.LogCaptureFixture, dead: str) -> None:
    lost = Happened()
    second = ScriptedGateway(healthy)
    with ScriptedGateway(healthy) as first:
        client = GRPCGatewayClient([first.address, dead, second.address], max_retry_attempts=1)
        client.on_connection_lost = lost
        assert client.is_gateway_available()
    with second:
        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(lambda _: client.is_gateway_available(), range(64)))
        assert len(lost.seen) == 1
    for _ in range(3):
        assert not client.is_gateway_available()
    assert len(lost.seen) == 2
    client.shutdown()
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 2
    assert f"{first.address} does not answer, {second.address} does" in warned[0]
    assert f"{first.address}, {dead}, {second.address} does not answer; going on without it" in warned[1]


def test_an_older_call_that_ends_late_hides_no_loss() -> None:
    arrived, release = threading.Event(), threading.Event()

    def slow_then_partly_gone(method: str, position: int) -> Answered:
        if method == "GetStats":
            return grpc.StatusCode.UNAVAILABLE
        if position == 2:
            arrived.set()
            release.wait(10)
        return HEALTHY

    lost = Happened()
    with ScriptedGateway(slow_then_partly_gone) as first, ThreadPoolExecutor(1) as thread:
        with ScriptedGateway(healthy) as second:
            client = GRPCGatewayClient([first.address, second.address])
            client.on_connection_lost = lost
            assert client.is_gateway_available()
            older = thread.submit(client.is_gateway_available)
            assert arrived.wait(10)
            assert client.get_stats() is not None and client.current_gateway == second.address
            release.set()
            assert older.result() and client.current_gateway == second.address
            assert len(lost.seen) == 1
        assert client.is_gateway_available() and client.current_gateway == first.address
        client.shutdown()
        assert len(lost.seen) == 2


def test_silence_from_the_beginning_is_warned_of_once_and_no_loss(caplog: pytest.LogCaptureFixture, dead: str) -> None:
    client, lost = GRPCGatewayClient(dead, max_retry_attempts=1), Happened()
    client.on_connection_lost = lost
    for _ in range(3):
        assert client.register_node(1, "127.0.0.1", 5001) is None and client.get_nodes() == []
    client.shutdown()
    assert lost.seen == []
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


# --- registration


def test_a_node_registers_by_itself_at_the_gateway_that_takes_over() -> None:
    with ScriptedGateway(registrar("two")) as second:
        with ScriptedGateway(registrar("one")) as first:
            client = GRPCGatewayClient([first.address, second.address])
            registered = Happened()
            client.on_registration_success = registered
            client.register_node(1, "127.0.0.1", 5001, ["raft"], cluster_id="c1")
        # Heartbeats are half a minute apart; that another gateway took over is noticed by any call.
        client.get_stats()
        registered.wait(2)
        (request,) = (call.request for call in second.wait_for_calls(2, 5) if call.method == "RegisterNode")
        client.shutdown()
    again = pb.RegisterNodeRequest.FromString(request)
    assert (again.node_id, again.port, list(again.capabilities), again.cluster_id) == (1, 5001, ["raft"], "c1")


def test_a_node_registers_again_when_the_gateways_memory_is_another_one() -> None:
    def replaced(method: str, position: int) -> Answered:
        return registrar("new" if method == "Heartbeat" or position > 1 else "old")(method, position)

    with ScriptedGateway(replaced) as gateway:
        client = GRPCGatewayClient(gateway.address)
        client.register_node(1, "127.0.0.1", 5001)
        first, second = client.heartbeat(), client.heartbeat()
        assert first is not None and second is not None
        assert (first["status"], first["registry_id"]) == ("acknowledged", "new")
        assert client.is_registered
        client.shutdown()
        methods = [call.method for call in gateway.calls]
        assert methods == ["RegisterNode", "Heartbeat", "RegisterNode", "Heartbeat"]


def test_a_gateway_without_registry_ids_is_believed_as_before() -> None:
    with ScriptedGateway(registrar("")) as gateway:
        client = GRPCGatewayClient(gateway.address)
        client.register_node(1, "127.0.0.1", 5001)
        assert client.heartbeat() == {"status": "acknowledged", "registry_version": 0, "registry_id": ""}
        client.shutdown()
        assert [call.method for call in gateway.calls] == ["RegisterNode", "Heartbeat"]


def test_registrations_and_heartbeats_tell_the_cluster_and_only_who_can_wait_says_so() -> None:
    with ScriptedGateway(registrar("r", knows_nobody=True)) as gateway:
        client = GRPCGatewayClient(gateway.address)
        client.register_node(1, "127.0.0.1", 5001)
        client.register_node(1, "127.0.0.1", 5001, can_wait=True)
        client.cluster_id = "c7"
        client.heartbeat()
        client.shutdown()
        told = [
            (request.cluster_id, request.can_wait)
            for request in (
                pb.RegisterNodeRequest.FromString(call.request)
                for call in gateway.calls
                if call.method == "RegisterNode"
            )
        ]
        beats = [
            pb.HeartbeatRequest.FromString(call.request).cluster_id
            for call in gateway.calls
            if call.method == "Heartbeat"
        ]
    assert told == [("", False), ("", True), ("c7", True)]
    assert beats == ["c7"]


def test_how_long_to_wait_for_a_bootstrap_is_handed_on() -> None:
    answer = pb.RegisterNodeResponse(status="registered", node_id=1, bootstrap_wait_ms=4_000, total_nodes=3)
    with ScriptedGateway(lambda *_: answer.SerializeToString()) as gateway:
        client = GRPCGatewayClient(gateway.address)
        result = client.register_node(1, "127.0.0.1", 5001, can_wait=True)
        client.shutdown()
    assert result is not None
    assert (result["is_bootstrap"], result["bootstrap_wait_ms"], result["total_nodes"]) == (False, 4_000, 3)
