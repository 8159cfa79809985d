"""The client's connection: deadlines, retries, redialling, one TCP connection."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from gateway.clock import monotonic_seconds
from gateway.grpc_connection import FIRST_PAUSE_S
from gateway.grpc_gateway_client import GRPCGatewayClient
from gateway.grpc_gateway_server import GRPCGatewayServer
from raftgossip.errors import ConfigError, TransportError
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.fake_gateway import BlackHole, ScriptedGateway

HEALTHY = pb.HealthCheckResponse(status="healthy").SerializeToString()


def failing_until(success: int, code: grpc.StatusCode) -> Callable[[str, int], bytes | grpc.StatusCode]:
    """Refuses the calls before the given one."""
    return lambda _, position: HEALTHY if position >= success else code


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_a_request_that_may_succeed_later_is_sent_again(code: grpc.StatusCode) -> None:
    with ScriptedGateway(failing_until(3, code)) as gateway:
        client = GRPCGatewayClient("127.0.0.1", gateway.port)
        assert client.is_gateway_available()
        client.shutdown()
        assert len(gateway.calls) == 3


def test_a_request_that_was_refused_is_not_sent_again() -> None:
    with ScriptedGateway(failing_until(3, grpc.StatusCode.INVALID_ARGUMENT)) as gateway:
        client = GRPCGatewayClient("127.0.0.1", gateway.port)
        assert not client.is_gateway_available()
        client.shutdown()
        assert len(gateway.calls) == 1


@pytest.mark.parametrize("max_attempts", [1, 2])
def test_a_request_is_sent_no_more_than_max_retry_attempts_times(max_attempts: int) -> None:
    with ScriptedGateway(failing_until(9, grpc.StatusCode.UNAVAILABLE)) as gateway:
        client = GRPCGatewayClient("127.0.0.1", gateway.port, max_retry_attempts=max_attempts)
        assert client.health_check() is None
        client.shutdown()
        assert len(gateway.calls) == max_attempts


def test_pauses_between_attempts_double_and_have_jitter_from_the_given_generator() -> None:
    with ScriptedGateway(failing_until(9, grpc.StatusCode.UNAVAILABLE)) as gateway:
        client = GRPCGatewayClient("127.0.0.1", gateway.port, rng=random.Random(7))
        client.health_check()
        client.shutdown()
        times = [call.at_s for call in gateway.calls]
    rng = random.Random(7)
    expected = [FIRST_PAUSE_S * 2**attempt * rng.uniform(0.5, 1.0) for attempt in range(2)]
    assert [later - earlier >= pause for earlier, later, pause in zip(times, times[1:], expected, strict=False)] == [
        True,
        True,
    ]
    assert times[2] - times[0] < sum(expected) + 1.0


def test_every_operation_ends_in_time_against_a_gateway_that_never_answers() -> None:
    def timed(operation: Callable[[], object]) -> tuple[object, float]:
        start = monotonic_seconds()
        return operation(), monotonic_seconds() - start

    with BlackHole() as hole:
        client = GRPCGatewayClient("127.0.0.1", hole.port, timeout=0.8)
        operations: list[Callable[[], object]] = [
            client.health_check,
            client.is_gateway_available,
            lambda: client.register_node(1, "127.0.0.1", 5001),
            client.get_nodes,
            client.get_leader,
            lambda: client.update_leader(1),
            lambda: client.remove_node(1),
            client.get_stats,
        ]
        with ThreadPoolExecutor(len(operations)) as threads:
            outcomes = list(threads.map(timed, operations))
        client.shutdown()
    assert [answer for answer, _ in outcomes] == [None, False, None, [], None, False, False, None]
    assert max(seconds for _, seconds in outcomes) <= 0.8 + 0.5


def test_an_attempt_that_a_dead_connection_swallowed_is_repeated_on_a_new_one() -> None:
    with ThreadPoolExecutor(1) as thread, BlackHole() as hole:
        client = GRPCGatewayClient("127.0.0.1", hole.port, timeout=4.0)
        answer = thread.submit(client.is_gateway_available)
        dead = hole.accept(5)
        hole.__exit__()
        server = GRPCGatewayServer("127.0.0.1", hole.port)
        server.start()
        assert answer.result()
        dead.close()
        client.shutdown()
        server.stop()


def test_a_client_answers_again_when_its_gateway_comes_back_at_the_same_port() -> None:
    server = GRPCGatewayServer(port=0)
    server.start()
    client = GRPCGatewayClient("localhost", server.port)
    assert client.is_gateway_available()
    again = GRPCGatewayServer(port=server.port)
    server.stop()
    assert not client.is_gateway_available()
    again.start()
    assert client.is_gateway_available()
    client.shutdown()
    again.stop()


def test_a_thousand_calls_from_32_threads_share_one_tcp_connection() -> None:
    with ScriptedGateway(lambda *_: HEALTHY) as gateway:
        client = GRPCGatewayClient("127.0.0.1", gateway.port)
        client.health_check()
        with ThreadPoolExecutor(32) as threads:
            answers = list(threads.map(lambda _: client.is_gateway_available(), range(999)))
        client.shutdown()
        assert all(answers) and len(gateway.calls) == 1000
        assert len({call.peer for call in gateway.calls}) == 1


def test_shutdown_ends_calls_and_pauses_that_run() -> None:
    with BlackHole() as hole, ThreadPoolExecutor(1) as thread:
        client = GRPCGatewayClient("127.0.0.1", hole.port, timeout=60)
        answer = thread.submit(client.health_check)
        with hole.accept(5):
            start = monotonic_seconds()
            client.shutdown()
            assert answer.result() is None
            assert monotonic_seconds() - start <= 1.0


def test_after_shutdown_everything_is_answered_at_once_and_discover_cluster_says_why() -> None:
    client = GRPCGatewayClient("127.0.0.1", 1)
    client.shutdown()
    client.shutdown()
    assert client.health_check() is None
    with pytest.raises(TransportError, match="closed"):
        client.discover_cluster(1, "127.0.0.1", 5001)


def test_beats_come_at_the_interval_and_stop_with_the_client() -> None:
    registered = pb.RegisterNodeResponse(status="registered", node_id=1).SerializeToString()
    acknowledged = pb.HeartbeatResponse(status="acknowledged").SerializeToString()
    with ScriptedGateway(lambda method, _: registered if method == "RegisterNode" else acknowledged) as gateway:
        client = GRPCGatewayClient("127.0.0.1", gateway.port)
        assert client.heartbeat_interval == 30.0
        client.register_node(1, "127.0.0.1", 5001)
        client.heartbeat_interval = 0.2
        beats = [call.at_s for call in gateway.wait_for_calls(12, 10)[1:]]
        start = monotonic_seconds()
        client.shutdown()
        assert monotonic_seconds() - start <= 1.0
        num_calls = len(gateway.calls)
        assert (beats[-1] - beats[0]) / (len(beats) - 1) == pytest.approx(0.2, rel=0.1)
        assert not [thread for thread in threading.enumerate() if thread.name == "gateway-heartbeats"]
        assert len(gateway.calls) == num_calls


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": 0.0}, {"timeout": float("nan")}, {"max_retry_attempts": 0}, {"gateway_port": 0}, {"gateway_host": ""}],
)
def test_a_wrong_argument_is_named(wrong: dict[str, object]) -> None:
    arguments: dict[str, object] = {"gateway_host": "localhost", "gateway_port": 8090, **wrong}
    with pytest.raises(ConfigError, match=next(iter(wrong)).removeprefix("gateway_")):
        GRPCGatewayClient(**arguments)  # type: ignore[arg-type] # one of them is wrong on purpose


def test_a_heartbeat_interval_must_be_positive() -> None:
    client = GRPCGatewayClient("localhost", 8090)
    with pytest.raises(ConfigError, match="heartbeat_interval"):
        client.heartbeat_interval = 0
    client.shutdown()
