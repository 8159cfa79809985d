"""A gateway that stops and comes back: what it remembers with a data directory, and what it does without."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.grpc_gateway_server import GRPCGatewayServer
from raftgossip.errors import ConfigError
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.gateway_program import SERVERS, GatewayProcess
from tests.support.trusted_gateway import dial, register, running, send, watch


def stats(channel: object) -> pb.GetStatsResponse:
    """The gateway in numbers."""
    return pb.GetStatsResponse.FromString(send(channel, "GetStats"))  # type: ignore[arg-type]  # a channel


def test_with_a_data_directory_a_new_gateway_serves_the_same_registry(tmp_path: Path) -> None:
    with running(data_dir=tmp_path, rebuild_grace=0) as first, dial(first.port, None) as channel:
        register(channel, 1)
        answer = register(channel, 2, 5002, metadata={"owner": "s", "site": "a"}, cluster_id="c1")
        send(channel, "UpdateLeader", pb.UpdateLeaderRequest(leader_id=2, term=4))
    with running(data_dir=tmp_path) as second, dial(second.port, None) as channel:
        now = stats(channel)
        assert (now.total_nodes, now.leader_id, now.cluster_id) == (2, 2, "c1")
        assert now.registry_id == answer.registry_id
        assert now.registry_version > answer.registry_version
        nodes = pb.GetNodesResponse.FromString(send(channel, "GetNodes")).nodes
        assert [(node.node_id, node.port, dict(node.metadata)) for node in nodes] == [
            (1, 5000, {}),
            (2, 5002, {"site": "a"}),
        ]
        assert not register(channel, 3, 5003).is_bootstrap


def test_a_bootstrap_is_on_disk_before_it_is_named(tmp_path: Path) -> None:
    process = GatewayProcess(SERVERS[1], "--data-dir", str(tmp_path), "--new")
    with process, dial(int(process.port), None) as channel:
        assert register(channel, 1, can_wait=True).is_bootstrap  # then it is killed, with nothing in between
    with running(data_dir=tmp_path) as second, dial(second.port, None) as channel:
        assert not register(channel, 2, 5002, can_wait=True).is_bootstrap


def test_without_memory_a_node_that_can_wait_is_told_to_and_one_that_cannot_is_answered(tmp_path: Path) -> None:
    with running(rebuild_grace=60) as server, dial(server.port, None) as channel:
        answer = register(channel, 1, can_wait=True)
        assert not answer.is_bootstrap and 59_000 < answer.bootstrap_wait_ms <= 60_000
        assert register(channel, 2).is_bootstrap
    with running(rebuild_grace=0) as server, dial(server.port, None) as channel:
        answer = register(channel, 1, can_wait=True)
        assert answer.is_bootstrap and answer.bootstrap_wait_ms == 0


def test_a_watcher_resumes_at_a_gateway_that_was_restarted_with_its_disk(tmp_path: Path) -> None:
    with running(data_dir=tmp_path) as first, dial(first.port, None) as channel:
        answer = register(channel, 1)
    with running(data_dir=tmp_path) as second, dial(second.port, None) as channel:
        stream = watch(channel, answer.registry_version, answer.registry_id)
        register(channel, 2)
        seen = {(event.kind, event.node_id) for event in (next(stream), next(stream))}
        stream.cancel()
        assert seen <= {("joined", 2), ("suspected", 1), ("updated", 1), ("joined", 1), ("reset", 0)}


def test_the_same_server_object_keeps_its_nodes_over_a_stop_even_without_a_disk() -> None:
    server = GRPCGatewayServer("127.0.0.1", 0)
    for expected in (1, 2):
        server.start()
        with dial(server.port, None) as channel:
            register(channel, expected)
            assert stats(channel).total_nodes == expected
        server.stop()


def test_two_gateways_cannot_share_a_data_directory(tmp_path: Path) -> None:
    with running(data_dir=tmp_path):
        second = GRPCGatewayServer("127.0.0.1", 0, data_dir=tmp_path)
        with pytest.raises(ConfigError, match=r"registry\.sqlite"):
            second.start()


def test_a_port_in_use_leaves_the_data_directory_free(tmp_path: Path) -> None:
    with running() as other:
        blocked = GRPCGatewayServer("127.0.0.1", other.port, data_dir=tmp_path)
        with pytest.raises(ConfigError, match="cannot listen"):
            blocked.start()
    with running(data_dir=tmp_path) as server, dial(server.port, None) as channel:
        register(channel, 1)


def test_lists_can_be_read_in_pages_and_by_what_has_changed() -> None:
    with running(rate_per_s=1e6, burst=1e6) as server, dial(server.port, None) as channel:
        for node_id in range(1, 8):
            last = register(channel, node_id, 5000 + node_id)

        def get(**fields: object) -> pb.GetNodesResponse:
            request = pb.GetNodesRequest(**fields)  # type: ignore[arg-type]  # protobuf checks them itself
            return pb.GetNodesResponse.FromString(send(channel, "GetNodes", request))

        pages, after = [], 0
        while True:
            page = get(limit=3, after_node_id=after, requesting_node_id=4)
            pages.append([node.node_id for node in page.nodes])
            assert page.total_nodes == 7
            after = page.next_after_node_id
            if not after:
                break
        assert pages == [[1, 2, 3], [5, 6, 7]]
        send(channel, "RemoveNode", pb.RemoveNodeRequest(node_id=2))
        register(channel, 9, 5009)
        delta = get(since_version=last.registry_version, registry_id=last.registry_id)
        assert (delta.is_delta, [node.node_id for node in delta.nodes], list(delta.removed)) == (True, [9], [2])
        first = get(since_version=last.registry_version, registry_id=last.registry_id, limit=1)
        assert ([node.node_id for node in first.nodes], list(first.removed)) == ([], [2])
        rest = get(since_version=first.registry_version, registry_id=first.registry_id)
        assert [node.node_id for node in rest.nodes] == [9]
        assert not get(since_version=last.registry_version, registry_id="another").is_delta


def test_a_registration_in_a_large_cluster_answers_with_a_sample_and_the_leader() -> None:
    with running(rate_per_s=1e6, burst=1e6) as server, dial(server.port, None) as channel:
        for node_id in range(1, 101):
            register(channel, node_id, 5000 + node_id)
        send(channel, "UpdateLeader", pb.UpdateLeaderRequest(leader_id=7, term=1))
        answer = register(channel, 200, cluster_id="c")
    assert len(answer.nodes) == 64
    assert (answer.total_nodes, answer.leader.node_id, answer.cluster_id) == (101, 7, "c")
