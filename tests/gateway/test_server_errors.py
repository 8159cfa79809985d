"""The error contract: every code that the gateway may answer with, provoked; and what strangers cannot make it do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from gateway import grpc_calls
from gateway.grpc_gateway_server import GRPCGatewayServer
from gateway.grpc_running import MAX_METADATA_BYTES
from gateway.registry import Registry
from raftgossip.errors import StorageFull
from raftgossip.trust.identity import Role
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.status import RETRY_KEY
from tests.support.trusted_gateway import (
    dial,
    failure,
    make_federation,
    outcome,
    refusal,
    register,
    registration,
    running,
    send,
    watch,
)


@pytest.fixture
def server() -> Iterator[GRPCGatewayServer]:
    """In the open, with room for two nodes."""
    with running(max_nodes=2) as gateway:
        yield gateway


@pytest.fixture
def channel(server: GRPCGatewayServer) -> Iterator[grpc.Channel]:
    """A connection to it."""
    with dial(server.port, None) as connected:
        yield connected


def test_every_code_of_the_contract_can_be_provoked(channel: grpc.Channel) -> None:
    assert refusal(channel, "RegisterNode", b"\xff") == (
        "INVALID_ARGUMENT",
        "the request is not a RegisterNodeRequest",
    )
    register(channel, 1)
    assert refusal(channel, "RegisterNode", registration(1, port=6000))[0] == "ALREADY_EXISTS"
    register(channel, 2)
    assert refusal(channel, "RegisterNode", registration(3))[0] == "RESOURCE_EXHAUSTED"
    send(channel, "UpdateLeader", pb.UpdateLeaderRequest(leader_id=1, term=5))
    code, sentence = refusal(channel, "UpdateLeader", pb.UpdateLeaderRequest(leader_id=2, term=4))
    assert code == "FAILED_PRECONDITION" and "term" in sentence
    assert refusal(channel, "PublishRevocations")[0] == "FAILED_PRECONDITION"
    assert refusal(channel, "/grpc.health.v1.Health/Check", b"\x0a\x04nope")[0] == "NOT_FOUND"
    assert refusal(channel, "Configure", pb.ConfigureRequest(settings={"port": "1"}))[0] == "INVALID_ARGUMENT"


def test_an_unknown_method_is_unimplemented_and_the_sentence_names_the_known_ones(channel: grpc.Channel) -> None:
    code, sentence = refusal(channel, "/GatewayService/Format")
    assert code == "UNIMPLEMENTED"
    assert sentence.startswith("the gateway has no method /GatewayService/Format; it has ")
    assert "/GatewayService/Heartbeat" in sentence


def test_a_very_long_method_name_is_cut(channel: grpc.Channel) -> None:
    assert len(refusal(channel, "/" + "x" * 3000)[1]) < 1000


def test_a_bug_is_internal_and_says_nothing_of_our_insides(
    channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(Registry, "heartbeat", broken)
    code, sentence = refusal(channel, "Heartbeat", pb.HeartbeatRequest(node_id=1))
    assert (code, sentence) == ("INTERNAL", "the gateway failed; its log says why")
    assert "secret detail" in caplog.text


def test_a_full_disk_is_an_exhausted_resource_and_nothing_is_named_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageFull("no room for registry.sqlite")

    with running(data_dir=tmp_path, rebuild_grace=0) as server, dial(server.port, None) as channel:
        with monkeypatch.context() as patched:
            patched.setattr("gateway.registry_store.RegistryStore.save", full)
            assert refusal(channel, "RegisterNode", registration(1)) == (
                "RESOURCE_EXHAUSTED",
                "no room for registry.sqlite",
            )
            assert outcome(channel, "GetNodes", b"") == "OK"
        assert register(channel, 1).is_bootstrap


def test_a_refusal_of_a_caller_in_a_hurry_says_when_to_come_again() -> None:
    with running(rate_per_s=0.04, burst=1) as server, dial(server.port, None) as channel:
        codes = [outcome(channel, "HealthCheck") for _ in range(25)]
        error = failure(lambda: send(channel, "HealthCheck"))
    assert codes == ["OK"] * 25  # an address may call as often as so many nodes
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "calls too often" in (error.details() or "")
    trailing = {item.key: item.value for item in error.trailing_metadata() or ()}
    assert 1000 <= int(trailing[RETRY_KEY]) <= 2000


def test_metadata_of_a_call_beyond_the_limit_is_refused(channel: grpc.Channel) -> None:
    send(channel, "HealthCheck", b"", ("note", "x" * (MAX_METADATA_BYTES // 2)))
    assert refusal(channel, "HealthCheck", b"", ("note", "x" * MAX_METADATA_BYTES))[0] == "RESOURCE_EXHAUSTED"


def test_a_call_without_a_request_is_an_invalid_argument(channel: grpc.Channel) -> None:
    error = failure(lambda: channel.stream_unary("/GatewayService/Heartbeat")(iter(()), timeout=5))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "the call brought no HeartbeatRequest"


def test_a_call_whose_request_never_comes_is_cut_off_and_holds_no_thread(
    channel: grpc.Channel, server: GRPCGatewayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_calls, "MESSAGE_PATIENCE_S", 0.0)
    monkeypatch.setattr("gateway.grpc_running.FILES_S", 0.1)
    never = threading.Event()

    def wait() -> Iterator[bytes]:
        never.wait(20)
        yield from ()

    call = channel.stream_unary("/GatewayService/Heartbeat").future(wait(), timeout=20)
    try:
        with pytest.raises(grpc.RpcError) as caught:
            call.result(timeout=8)
    finally:
        never.set()
    assert caught.value.code() is grpc.StatusCode.CANCELLED
    assert outcome(channel, "HealthCheck") == "OK"


def test_callers_who_say_nothing_cannot_take_all_threads() -> None:
    with running(max_workers=2) as server, dial(server.port, None) as silent, dial(server.port, None) as honest:
        never = threading.Event()

        def wait() -> Iterator[bytes]:
            never.wait(20)
            yield b""

        calls = [silent.stream_unary("/GatewayService/HealthCheck").future(wait(), timeout=20) for _ in range(8)]
        honest.unary_unary("/GatewayService/HealthCheck")(b"", timeout=8)
        never.set()
        assert all(call.result() for call in calls)


def test_a_call_that_asks_for_an_hour_is_answered_at_once(channel: grpc.Channel) -> None:
    assert channel.unary_unary("/GatewayService/HealthCheck")(b"", timeout=3600)


def test_a_burst_of_calls_on_one_new_connection_waits_and_is_answered(channel: grpc.Channel) -> None:
    calls = [channel.unary_unary("/GatewayService/HealthCheck").future(b"", timeout=20) for _ in range(600)]
    assert all(call.result() for call in calls)


def test_more_calls_than_the_gateway_takes_at_once_are_refused_and_it_goes_on() -> None:
    with running(max_calls=1, max_watchers=1) as server, dial(server.port, None) as channel:
        streams = [watch(channel), channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20)]
        for stream in streams:
            next(stream)
        assert outcome(channel, "HealthCheck") == "RESOURCE_EXHAUSTED"
        for stream in streams:
            stream.cancel()
        assert "OK" in (outcome(channel, "HealthCheck") for _ in range(10_000))  # as soon as they are counted down


@pytest.mark.slow
def test_four_hundred_half_open_sockets_keep_no_honest_node_out(tmp_path: Path) -> None:
    keys = make_federation(tmp_path)
    with running(keys=keys) as server:
        sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(400)]
        try:
            with dial(server.port, keys.credentials(Role.PEER, "1")) as channel:
                call = channel.unary_unary("/GatewayService/RegisterNode")
                call(registration(1).SerializeToString(), timeout=5, wait_for_ready=True)
        finally:
            for each in sockets:
                each.close()


def test_one_abuser_in_a_closed_loop_is_slowed_down_and_refused(tmp_path: Path) -> None:
    keys = make_federation(tmp_path)
    with (
        running(keys=keys, rate_per_s=50, burst=20) as server,
        dial(server.port, keys.credentials(Role.PEER, "1")) as abuser,
        dial(server.port, keys.credentials(Role.PEER, "2")) as honest,
        ThreadPoolExecutor(64) as threads,
    ):
        calls = [threads.submit(outcome, abuser, "HealthCheck") for _ in range(128)]
        answers = [outcome(honest, "HealthCheck") for _ in range(20)]
        codes = [call.result() for call in calls]
    assert answers == ["OK"] * 20
    assert codes.count("RESOURCE_EXHAUSTED") >= 40
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
