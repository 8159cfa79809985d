"""A voter dies for longer than `promote_after_ms`: a learner votes in its place, and it learns when it comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Cluster, NodeProcess, wait_for

SETTINGS: dict[str, object] = {
    "num_epochs": 0,
    "min_participants": 2,
    "train_deadline_ms": 5_000,
    "exchange_deadline_ms": 5_000,
    "min_epoch_ms": 200,
    "epoch": {"max_voters": 3, "promote_after_ms": 3_000},
}


def roles(asked: NodeProcess) -> dict[int, str]:
    """Every member's role, as one of them knows it; empty: no answer now."""
    status = asked.status()
    return {} if status is None else {peer.node_id: peer.role for peer in status.peers}


def wait_for_roles(asked: NodeProcess, expected: dict[int, str]) -> None:
    """Until the members have exactly these roles, and `raftgossip members` says so."""
    wait_for(lambda: roles(asked) == expected, 30, f"members with the roles {expected}", every_s=0.05)
    command = [sys.executable, "-m", "raftgossip.cli.main", "members", "--node", asked.address, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert {member["node_id"]: member["role"] for member in json.loads(done.stdout)["members"]} == expected


def wait_for_epochs(node: NodeProcess, num_more: int, *, with_node: int | None = None) -> None:
    """Until so many more epochs closed, each with a contribution of `with_node`, if one is named."""

    def closed() -> int:
        records = [record for record in node.epochs() if record.outcome == "closed"]
        return sum(with_node in record.contributors for record in records) if with_node is not None else len(records)

    target = closed() + num_more
    wait_for(lambda: closed() >= target, 30, f"{num_more} more epochs")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_learner_votes_in_the_place_of_a_lost_voter_which_learns_when_it_returns(tmp_path: Path) -> None:
    with Cluster(4, tmp_path, {"size": 1_000}, **SETTINGS) as cluster:
        # Nodes come one after the other, but the last two may catch up in either order.
        wait_for(lambda: sorted(roles(cluster.nodes[0]).values()) == ["learner", *["voter"] * 3], 30, "three voters")
        before = roles(cluster.nodes[0])
        (learner,) = (node_id for node_id, role in before.items() if role == "learner")
        leader = cluster.leader()
        lost = next(node for node in cluster.others(leader) if before[node.node_id] == "voter")

        lost.kill()
        wait_for_roles(leader, {**before, learner: "voter", lost.node_id: "learner"})
        wait_for_epochs(leader, 3)

        lost.start()
        wait_for_epochs(leader, 3, with_node=lost.node_id)
        assert roles(leader) == {**before, learner: "voter", lost.node_id: "learner"}, "there is no room for a fourth"

        # The one that took the place counts: without it and the leader's vote nothing would be decided.
        other = next(node for node in cluster.nodes if node not in (leader, lost) and node.node_id != learner)
        other.kill()
        wait_for_roles(leader, {**before, learner: "voter", other.node_id: "learner"})
        wait_for_epochs(leader, 3, with_node=lost.node_id)
