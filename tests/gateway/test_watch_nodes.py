"""WatchNodes over real connections: what is pushed, how fast, how it is resumed, and who is sent away."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from gateway.clock import monotonic_seconds
from gateway.grpc_gateway_server import GRPCGatewayServer
from raftgossip.trust.identity import Role
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.keys import now_s
from tests.support.trusted_gateway import dial, make_federation, outcome, register, running, send, watch


@pytest.fixture
def max_watchers() -> int:
    """Unless a test says otherwise."""
    return 2


@pytest.fixture
def server(max_watchers: int) -> Iterator[GRPCGatewayServer]:
    """In the open."""
    with running(max_watchers=max_watchers) as gateway:
        yield gateway


@pytest.fixture
def channel(server: GRPCGatewayServer) -> Iterator[grpc.Channel]:
    """A connection to it."""
    with dial(server.port, None) as connected:
        yield connected


def told(event: pb.NodeEvent) -> tuple[str, int]:
    """What an event says, in short."""
    return event.kind, event.node_id


def wait_for_watchers(channel: grpc.Channel, number: int) -> None:
    """Ask on and on until the gateway has noticed that streams have ended; fails after ten seconds."""
    deadline_s = monotonic_seconds() + 10
    while pb.GetStatsResponse.FromString(send(channel, "GetStats")).num_watchers != number:
        assert monotonic_seconds() < deadline_s


def test_joins_leaves_and_leaders_are_pushed_within_a_second(channel: grpc.Channel) -> None:
    stream = watch(channel)
    assert next(stream).kind == "reset"
    happenings = [
        (("joined", 7), lambda: register(channel, 7, 6007)),
        (("leader", 7), lambda: send(channel, "UpdateLeader", pb.UpdateLeaderRequest(leader_id=7, term=3))),
        (("updated", 7), lambda: register(channel, 7, 6007, capabilities=["gpu"])),
        (("joined", 8), lambda: register(channel, 8)),
        (("left", 8), lambda: send(channel, "RemoveNode", pb.RemoveNodeRequest(node_id=8))),
    ]
    for expected, make_happen in happenings:
        start = monotonic_seconds()
        make_happen()
        event = next(stream)
        assert told(event) == expected
        assert monotonic_seconds() - start < 1.0
        assert (event.HasField("node"), event.node.port) == (
            (False, 0) if event.kind == "left" else (True, 6007 if event.node_id == 7 else 5000)
        )
        assert event.term == (3 if event.kind == "leader" else 0)
    stream.cancel()


def test_silent_nodes_are_pushed_as_suspected_then_as_left() -> None:
    with running(node_timeout=0.6) as server, dial(server.port, None) as channel:
        register(channel, 1)
        stream = watch(channel)
        assert [told(next(stream)) for _ in range(4)] == [("reset", 0), ("joined", 1), ("suspected", 1), ("left", 1)]
        stream.cancel()


def test_a_watcher_resumes_where_it_was_and_hears_only_what_came_in_between(channel: grpc.Channel) -> None:
    first = register(channel, 1)
    stream = watch(channel)
    assert [told(next(stream)) for _ in range(2)] == [("reset", 0), ("joined", 1)]
    stream.cancel()
    register(channel, 2)
    send(channel, "RemoveNode", pb.RemoveNodeRequest(node_id=1))
    again = watch(channel, first.registry_version, first.registry_id)
    assert [told(next(again)) for _ in range(2)] == [("joined", 2), ("left", 1)]
    again.cancel()


def test_a_watcher_of_another_registry_begins_with_a_reset(channel: grpc.Channel) -> None:
    register(channel, 1)
    stream = watch(channel, 1, "of another gateway")
    assert next(stream).kind == "reset"
    stream.cancel()


@pytest.mark.parametrize("max_watchers", [1000])  # a place is free again only when the break was noticed
def test_streams_that_break_under_concurrent_changes_lose_and_repeat_nothing(
    server: GRPCGatewayServer, channel: grpc.Channel
) -> None:
    rng = random.Random(5)
    done = threading.Event()

    def change() -> None:
        with dial(server.port, None) as own:
            for number in range(300):
                node_id = rng.randrange(1, 20)
                if rng.random() < 0.6:
                    register(own, node_id, 5000, capabilities=[str(number)], metadata={"owner": str(node_id)})
                else:
                    send(own, "RemoveNode", pb.RemoveNodeRequest(node_id=node_id))
            register(own, 999)
        done.set()

    thread = threading.Thread(target=change)
    thread.start()
    mirror: dict[int, pb.NodeInfo] = {}
    heard: list[int] = []
    version, registry_id, is_over, num_streams = 0, "", False, 0
    while not is_over:
        stream = watch(channel, version, registry_id)
        num_streams += 1
        for _ in range(rng.randrange(1, 4)):
            event = next(stream)
            version, registry_id = event.registry_version, event.registry_id
            if event.kind == "reset":
                mirror, heard, version = {}, [], 0
                continue
            heard.append(version)
            if event.kind == "left":
                mirror.pop(event.node_id, None)  # it may have come and gone between two looks
            else:
                mirror[event.node_id] = event.node
            is_over = event.node_id == 999
            if is_over:
                break
        stream.cancel()
    thread.join()
    assert done.is_set() and num_streams > 2
    assert heard == sorted(set(heard))
    listed = pb.GetNodesResponse.FromString(send(channel, "GetNodes")).nodes
    assert {node.node_id: node.capabilities for node in listed} == {
        node_id: node.capabilities for node_id, node in mirror.items()
    }


def test_one_watcher_too_many_is_told_to_ask_instead_and_a_place_that_is_left_is_free(channel: grpc.Channel) -> None:
    streams = [watch(channel) for _ in range(2)]
    for stream in streams:
        next(stream)
    third = watch(channel)
    with pytest.raises(grpc.RpcError) as caught:
        next(third)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "2 callers watch the list already" in (caught.value.details() or "")
    stats = pb.GetStatsResponse.FromString(send(channel, "GetStats"))
    assert stats.num_watchers == 2
    streams[0].cancel()
    wait_for_watchers(channel, 1)
    fourth = watch(channel)
    assert next(fourth).kind == "reset"
    for stream in (streams[1], fourth):
        stream.cancel()


def test_watchers_end_promptly_when_the_gateway_stops() -> None:
    with running() as server, dial(server.port, None) as channel:
        stream = watch(channel)
        next(stream)
        start = monotonic_seconds()
        server.stop()
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert monotonic_seconds() - start < 2.0
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_watcher_that_does_not_read_holds_up_nobody_and_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.grpc_watch.PATIENCE_S", 0.5)
    monkeypatch.setattr("gateway.grpc_running.FILES_S", 0.1)
    small = (("grpc.http2.lookahead_bytes", 65_535), ("grpc.http2.bdp_probe", 0))
    with (
        running() as server,
        dial(server.port, None) as channel,
        grpc.insecure_channel(f"127.0.0.1:{server.port}", options=small) as lazy,
    ):
        for node_id in range(1, 41):
            register(channel, node_id, metadata={f"m{number}": "x" * 1000 for number in range(20)})
        slow = watch(lazy)
        next(slow)  # and never again: the rest fills the connection's window
        quick = watch(channel)
        assert [next(quick).kind for _ in range(41)] == ["reset", *["joined"] * 40]
        register(channel, 99)
        assert told(next(quick)) == ("joined", 99)
        quick.cancel()
        wait_for_watchers(channel, 0)
        with pytest.raises(grpc.RpcError) as caught:
            for _ in slow:
                pass
        assert caught.value.code() is grpc.StatusCode.CANCELLED


def test_a_watcher_whose_certificate_is_revoked_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.grpc_watch.RECHECK_S", 0.2)
    monkeypatch.setattr("gateway.grpc_running.FILES_S", 0.2)
    keys = make_federation(tmp_path)
    with running(keys=keys) as server, dial(server.port, keys.credentials(Role.PEER, "1")) as channel:
        stream = watch(channel)
        next(stream)
        keys.revoke(Role.PEER, "1", now_s())
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert outcome(channel, "HealthCheck") == "UNAUTHENTICATED"
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "revoked" in (caught.value.details() or "")
