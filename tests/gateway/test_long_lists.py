"""Lists that take more than a page: what is read of them, in which order, and how little at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from gateway.change_log import ChangeLog, Entry
from gateway.grpc_gateway_server import GRPCGatewayServer
from gateway.grpc_gateway_service import PAGE
from gateway.long_reads import BURST
from raftgossip.ids import NodeId
from raftgossip.trust.identity import Role
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.registry_builders import node
from tests.support.trusted_gateway import dial, failure, make_federation, refusal, register, running, send, watch

NUM_NODES = 2 * PAGE + 7


@pytest.fixture
def server() -> Iterator[GRPCGatewayServer]:
    """In the open, with a long list."""
    with running() as gateway:
        fill(gateway)
        yield gateway


@pytest.fixture
def channel(server: GRPCGatewayServer) -> Iterator[grpc.Channel]:
    """A connection to it."""
    with dial(server.port, None) as connected:
        yield connected


def fill(server: GRPCGatewayServer) -> None:
    """Let the nodes register without any calls."""
    assert server._running is not None
    with server._running._shared.operation() as (registry, now):
        for node_id in range(1, NUM_NODES + 1):
            registry.register(node(node_id), now)


def get(channel: grpc.Channel, **fields: object) -> pb.GetNodesResponse:
    """Some or all of the nodes."""
    request = pb.GetNodesRequest(**fields)  # type: ignore[arg-type]  # protobuf checks them itself
    return pb.GetNodesResponse.FromString(send(channel, "GetNodes", request))


def test_all_nodes_fit_into_one_answer_of_many_pages(channel: grpc.Channel) -> None:
    answer = get(channel, requesting_node_id=5)
    assert [each.node_id for each in answer.nodes] == [each for each in range(1, NUM_NODES + 1) if each != 5]
    assert (answer.next_after_node_id, answer.total_nodes, answer.is_delta) == (0, NUM_NODES, False)


def test_a_list_that_does_not_fit_goes_on_behind_the_last_node(
    channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.node_messages.MAX_LIST_BYTES", 40_000)
    found: list[int] = []
    after = 0
    while True:
        answer = get(channel, after_node_id=after)
        assert answer.ByteSize() < 41_000
        found += [each.node_id for each in answer.nodes]
        after = answer.next_after_node_id
        if not after:
            break
    assert found == list(range(1, NUM_NODES + 1))


def test_changes_of_many_pages_are_one_answer_and_with_a_limit_several(channel: grpc.Channel) -> None:
    first = get(channel, limit=1)
    since = first.registry_version - NUM_NODES + 1  # all but the first
    send(channel, "RemoveNode", pb.RemoveNodeRequest(node_id=NUM_NODES))
    whole = get(channel, since_version=since, registry_id=first.registry_id, requesting_node_id=9)
    assert whole.is_delta
    assert [each.node_id for each in whole.nodes] == [each for each in range(2, NUM_NODES) if each != 9]
    assert list(whole.removed) == [NUM_NODES]
    assert not get(channel, since_version=whole.registry_version, registry_id=first.registry_id).nodes
    part = get(channel, since_version=since, registry_id=first.registry_id, limit=3)
    assert [each.node_id for each in part.nodes] == [2, 3, 4]
    part = get(channel, since_version=part.registry_version, registry_id=first.registry_id, limit=3)
    assert [each.node_id for each in part.nodes] == [5, 6, 7]


def test_a_limit_is_met_though_the_first_change_is_of_the_leader_or_of_the_asker(channel: grpc.Channel) -> None:
    first = get(channel, limit=1)
    send(channel, "UpdateLeader", pb.UpdateLeaderRequest(leader_id=1, term=1))
    register(channel, NUM_NODES + 1)
    register(channel, NUM_NODES + 2)
    known = {"since_version": first.registry_version, "registry_id": first.registry_id}
    answer = get(channel, limit=1, requesting_node_id=NUM_NODES + 1, **known)
    assert [each.node_id for each in answer.nodes] == [NUM_NODES + 2]


def test_changes_that_do_not_fit_are_told_the_next_time(channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.grpc_gateway_service.MAX_LIST_BYTES", 20_000)
    first = get(channel, limit=1)
    since = first.registry_version - NUM_NODES + 1
    found: list[int] = []
    while True:
        answer = get(channel, since_version=since, registry_id=first.registry_id)
        if not answer.nodes:
            break
        assert answer.ByteSize() < 21_000
        found += [each.node_id for each in answer.nodes]
        since = answer.registry_version
    assert found == list(range(2, NUM_NODES + 1))


def test_a_follower_hears_a_long_list_once_and_then_what_changes(channel: grpc.Channel) -> None:
    stream = watch(channel)
    assert next(stream).kind == "reset"
    assert [next(stream).node_id for _ in range(NUM_NODES)] == list(range(1, NUM_NODES + 1))
    register(channel, NUM_NODES + 1)
    assert next(stream).node_id == NUM_NODES + 1
    stream.cancel()


@pytest.mark.parametrize(("version", "registry_id"), [(0, ""), (1, "another"), (1, None)])
def test_who_begins_anew_too_often_is_sent_away_whatever_it_says_it_knows(
    tmp_path: Path, version: int, registry_id: str | None
) -> None:
    keys = make_federation(tmp_path)
    with running(keys=keys) as server, dial(server.port, keys.credentials(Role.OBSERVER, "olga")) as channel:
        fill(server)
        own_id = get(channel, limit=1).registry_id
        for _ in range(int(BURST)):
            stream = watch(channel, version, own_id if registry_id is None else registry_id)
            next(stream)
            stream.cancel()
        error = failure(lambda: next(watch(channel, version, own_id if registry_id is None else registry_id)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refusal(channel, "GetNodes")[0] == "RESOURCE_EXHAUSTED"
        assert len(get(channel, limit=PAGE).nodes) == PAGE


def test_a_log_is_read_in_parts_of_any_size() -> None:
    log = ChangeLog()
    for key in (1, 2, 3, 4, 2):
        log.touch(NodeId(key))
    log.drop(NodeId(3))
    told, step = list[Entry](), 0
    while part := log.since(step, 1):
        told += part
        step = part[-1].step
        log.check_invariants()
    assert told == [Entry(1, NodeId(1), 1), Entry(4, NodeId(4), 4), Entry(5, NodeId(2), 2), Entry(6, NodeId(3), 0)]
    assert log.since(0) == told
    assert [log.num_since(step) for step in (0, 1, 4, 6)] == [4, 3, 2, 0]
    assert log.everything(2) == told[:2]


def test_who_reads_everything_goes_on_with_it_but_hears_of_no_earlier_departure() -> None:
    log = ChangeLog()
    for key in (1, 2, 3):
        log.touch(NodeId(key))
    log.drop(NodeId(2))
    begun = log.step
    log.drop(NodeId(1))
    assert log.since(1, None, begun) == [Entry(3, NodeId(3), 3), Entry(5, NodeId(1), 0)]
    assert log.since(1, None, begun + 2) is None
