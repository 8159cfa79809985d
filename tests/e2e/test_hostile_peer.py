"""A peer whose updates are wrong is refused by its neighbours and dropped; the epoch closes with the others' mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.processes import NodeProcess, relative_difference, wait_for
from tests.support.target_task import expected_mean

SIZE = 300_000
SETTINGS: dict[str, object] = {
    "num_epochs": 0,
    "min_participants": 2,
    "train_deadline_ms": 10_000,
    "exchange_deadline_ms": 10_000,
    "min_epoch_ms": 200,
    "keep_models": 200,
    "topology": "full",  # so that everybody meets the liar
}
LIES = ("not finite", "truncated", "oversized", "more elements", "other range", "other schema", "other hash")


@pytest.mark.slow
def test_an_update_that_is_wrong_costs_its_sender_the_epoch_and_nobody_else(tmp_path: Path) -> None:
    first = NodeProcess(1, tmp_path, {"size": SIZE}, {**SETTINGS, "found": True})
    nodes = [first]
    try:
        peers = [first.start().address]
        nodes.append(NodeProcess(2, tmp_path, {"size": SIZE}, {**SETTINGS, "peers": peers}).start())
        nodes.append(NodeProcess(3, tmp_path, {"size": SIZE, "lies": LIES}, {**SETTINGS, "peers": peers}).start())

        def every_lie_was_told() -> list[pb.EpochRecord] | None:
            status = first.status()
            records = first.epochs() if status is not None and status.cluster_id else []
            planned = [record for record in records if list(record.participants) == [1, 2, 3]]
            return planned if {record.epoch % len(LIES) for record in planned} == set(range(len(LIES))) else None

        for record in wait_for(every_lie_was_told, 60, "epoch of each lie"):
            what = LIES[record.epoch % len(LIES)]
            assert record.outcome == "closed" and record.attempt > 1, what
            assert list(record.contributors) == [1, 2], what
            for node in nodes[:2]:
                model = node.model({held.node_id: held.digest for held in record.digests}[node.node_id])
                assert model is not None, what
                assert relative_difference(model, expected_mean([0, 1], SIZE)) <= 1e-6, what
        assert all(node.status() is not None for node in nodes), "nobody crashed"
    finally:
        for node in nodes:
            node.kill()
