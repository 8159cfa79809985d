"""Peers whose log is compacted again and again: they restart from a snapshot, and a newcomer gets one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.test_cluster_life import SIZE, check_history, check_models, history, wait_for_epoch
from tests.support.processes import Cluster, NodeProcess, wait_for

SETTINGS: dict[str, object] = {
    "num_epochs": 0,
    "min_participants": 2,
    "train_deadline_ms": 5_000,
    "exchange_deadline_ms": 5_000,
    "min_epoch_ms": 200,
    "keep_models": 20,
    "raft": {"snapshot_entries": 20, "snapshot_trailing": 5},
}


def has_compacted(node: NodeProcess) -> bool:
    """Whether its first entries are only in its snapshot."""
    status = node.status()
    return status is not None and status.first_index > 10


@pytest.mark.slow
def test_a_cluster_that_was_killed_whole_goes_on_from_its_snapshots(tmp_path: Path) -> None:
    with Cluster(3, tmp_path, {"size": SIZE}, **SETTINGS) as cluster:
        wait_for(lambda: all(map(has_compacted, cluster.nodes)), 40, "compacted log at all", every_s=0.1)
        before = history(cluster.nodes[0])
        for node in cluster.nodes:
            node.kill()

        for node in cluster.nodes:
            node.start(at_same_address=True)
            wait_for(lambda: has_compacted(node), 5, "snapshot at its start")  # noqa: B023 - called at once
        wait_for_epoch(cluster.nodes, len(before) + 3)
        check_history(cluster.nodes, before)
        check_models(cluster.nodes)


@pytest.mark.slow
def test_a_newcomer_that_needs_what_is_compacted_gets_a_snapshot_and_all_that_was_before(tmp_path: Path) -> None:
    with Cluster(2, tmp_path, {"size": SIZE}, **SETTINGS) as cluster:
        first = cluster.nodes[0]
        wait_for(lambda: has_compacted(first), 40, "compacted log", every_s=0.1)
        before = history(first)

        newcomer = NodeProcess(3, tmp_path, {"size": SIZE}, {**SETTINGS, "peers": [first.address]})
        cluster.nodes.append(newcomer.start())
        wait_for_epoch(cluster.nodes, len(before) + 3)
        log = newcomer.operator.log(1, 0)
        assert log.entries[0].index == log.first_index > 1, "it never had the first ones"
        check_history(cluster.nodes, before)
        check_models(cluster.nodes)
