"""What a cluster goes through: its leader dies, a dead peer returns, the leader is stopped, everybody dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.processes import Cluster, NodeProcess, relative_difference, wait_for
from tests.support.target_task import expected_mean

SIZE = 100_000
SETTINGS: dict[str, object] = {
    "num_epochs": 0,
    "min_participants": 2,
    "train_deadline_ms": 5_000,
    "exchange_deadline_ms": 5_000,
    "min_epoch_ms": 200,
    "keep_models": 20,
}


def last_closed(node: NodeProcess) -> int:
    """The newest closed epoch that it knows of; 0: none, or it does not answer."""
    status = node.status()
    return status.last_closed_epoch if status is not None else 0


def wait_for_epoch(nodes: list[NodeProcess], epoch: int) -> None:
    """Until all of these nodes know that this epoch, or a later one, is closed."""
    wait_for(lambda: all(last_closed(node) >= epoch for node in nodes), 40, f"epoch {epoch} at all")


def history(node: NodeProcess) -> list[tuple[int, str, bytes, int]]:
    """What the ledger says about each ended epoch: number, outcome, digest, place in the log."""
    return [(record.epoch, record.outcome, record.model_digest, record.log_index) for record in node.epochs()]


def check_history(nodes: list[NodeProcess], before: list[tuple[int, str, bytes, int]]) -> None:
    """Every epoch is there once, nothing that was ended has changed, and all nodes tell the same."""
    histories = [history(node) for node in nodes]
    for told in histories:
        assert [epoch for epoch, *_ in told] == list(range(1, len(told) + 1))
        assert told[: len(before)] == before
    shortest = min(map(len, histories))
    assert all(told[:shortest] == histories[0][:shortest] for told in histories)


def check_models(nodes: list[NodeProcess]) -> None:
    """The newest closed epoch to which all of these nodes contributed is the same mean at each of them."""
    ids = {node.node_id for node in nodes}

    def shared_record() -> pb.EpochRecord | None:
        records = [record for record in nodes[0].epochs() if ids <= set(record.contributors)]
        return records[-1] if records else None

    record = wait_for(shared_record, 30, f"epoch with the nodes {sorted(ids)}")
    wait_for_epoch(nodes, record.epoch)
    expected = expected_mean([node_id - 1 for node_id in record.contributors], SIZE)
    for node in nodes:
        model = node.model({held.node_id: held.digest for held in record.digests}[node.node_id])
        assert model is not None and relative_difference(model, expected) <= 1e-6


@pytest.mark.slow
def test_a_dead_leader_is_replaced_and_comes_back_without_an_epoch_lost_or_repeated(tmp_path: Path) -> None:
    with Cluster(3, tmp_path, {"size": SIZE}, **SETTINGS) as cluster:
        wait_for_epoch(cluster.nodes, 2)
        leader = cluster.leader()
        survivors = cluster.others(leader)
        before = history(survivors[0])

        leader.kill()
        wait_for_epoch(survivors, len(before) + 3)
        check_history(survivors, before)
        assert cluster_leader_id(survivors) != leader.node_id

        leader.start()
        wait_for_epoch(cluster.nodes, len(before) + 5)
        check_models(cluster.nodes)
        check_history(cluster.nodes, before)


@pytest.mark.slow
def test_a_stopped_leader_hands_over_and_ends_without_a_complaint(tmp_path: Path) -> None:
    with Cluster(3, tmp_path, {"size": SIZE}, **SETTINGS) as cluster:
        wait_for_epoch(cluster.nodes, 1)
        leader = cluster.leader()
        survivors = cluster.others(leader)
        term = wait_for(leader.status, 5, "status").term

        assert leader.stop() == 0
        assert leader.log.read_text() == ""
        wait_for(lambda: cluster_leader_id(survivors) not in (0, leader.node_id), 10, "successor")
        status = wait_for(survivors[0].status, 5, "status")
        assert status.term == term + 1, "one election, and no timeout before it"
        before = history(survivors[0])
        wait_for_epoch(survivors, len(before) + 2)
        check_history(survivors, before)


@pytest.mark.slow
def test_a_cluster_that_was_killed_whole_goes_on_after_the_last_closed_epoch(tmp_path: Path) -> None:
    with Cluster(3, tmp_path, {"size": SIZE}, **SETTINGS) as cluster:
        wait_for_epoch(cluster.nodes, 3)
        before = history(cluster.nodes[0])
        for node in cluster.nodes:
            node.kill()

        for node in cluster.nodes:
            node.start(at_same_address=True)
        wait_for_epoch(cluster.nodes, len(before) + 3)
        check_history(cluster.nodes, before)
        check_models(cluster.nodes)


def cluster_leader_id(nodes: list[NodeProcess]) -> int:
    """Whom these nodes take for the leader, if they agree; else 0."""
    leaders = {status.leader for node in nodes if (status := node.status()) is not None}
    return leaders.pop() if len(leaders) == 1 else 0
