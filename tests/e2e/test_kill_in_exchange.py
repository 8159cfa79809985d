"""Whoever dies inside an exchange, every epoch that closes is exactly the mean of those whom it names.

Real processes, real sockets, kill -9 at random moments. `scripts/test --long -k exchange -s` runs the 20 kills of the
published figure and prints what happened; the normal suite runs 3.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.support.processes import Cluster, NodeProcess, relative_difference, wait_for
from tests.support.target_task import expected_mean

SIZE = 1_000_000
TOLERANCE = 1e-6
"""float32 rounds at 6e-8; a few roundings per element remain after three steps of averaging."""


def is_exchanging(node: NodeProcess) -> bool:
    """Whether it is inside an exchange now."""
    status = node.status()
    return status is not None and status.phase == "exchanging"


def has_closed(node: NodeProcess) -> bool:
    """Whether it knows of a closed epoch."""
    status = node.status()
    return status is not None and status.last_closed_epoch > 0


def check_newest_epochs(nodes: list[NodeProcess], first_epoch: int) -> int:
    """Compare the models that these nodes hold of the epochs from `first_epoch` on; returns how many were compared."""
    num_compared = 0
    for node in nodes:
        records = node.epochs()
        assert [record.epoch for record in records] == list(range(1, len(records) + 1))
        for record in records[first_epoch - 1 :]:
            if record.outcome != "closed":
                continue
            held = {digest.node_id: digest.digest for digest in record.digests}
            model = node.model(held[node.node_id]) if node.node_id in held else None
            if model is not None:
                expected = expected_mean((contributor - 1 for contributor in record.contributors), SIZE)
                assert relative_difference(model, expected) <= TOLERANCE, (node.node_id, record.epoch)
                num_compared += 1
    return num_compared


def kill_and_check(cluster: Cluster, rng: random.Random) -> str:
    """One kill inside an exchange; the victim comes back and takes part again."""
    victim = rng.choice(cluster.nodes)
    survivors = cluster.others(victim)
    wait_for(lambda: is_exchanging(victim), 30, f"exchange at node {victim.node_id}", every_s=0.002)
    time.sleep(rng.uniform(0, 0.03))  # the random moment is the point
    status = victim.status()
    epoch = max(1, status.open_epoch if status is not None else 1)
    victim.kill()

    def closed_without_victim() -> list[int] | None:
        records = survivors[0].epochs()
        done = [r.epoch for r in records if r.outcome == "closed" and victim.node_id not in r.contributors]
        return [number for number in done if number >= epoch] or None

    closed = wait_for(closed_without_victim, 30, "epoch closed by the survivors")

    def num_compared() -> int:
        number = check_newest_epochs(survivors, epoch)
        return number if number >= len(survivors) else 0  # a survivor may be about to learn that the epoch is closed

    compared = wait_for(num_compared, 10, "model at each survivor")
    victim.start()

    def is_back() -> bool:
        records = survivors[0].epochs()
        return bool(records) and records[-1].outcome == "closed" and victim.node_id in records[-1].contributors

    wait_for(is_back, 30, f"epoch with node {victim.node_id} again")
    check_newest_epochs([victim], epoch)
    return f"killed node {victim.node_id} in epoch {epoch}: first closed without it {closed[0]}, {compared} models"


def run_kills(folder: Path, num_kills: int, seed: int) -> None:
    rng = random.Random(seed)
    settings = {
        "num_epochs": 0,
        "min_participants": 2,
        "train_deadline_ms": 5_000,
        "exchange_deadline_ms": 5_000,
        "min_epoch_ms": 300,
        "keep_models": 30,
    }
    with Cluster(4, folder, {"size": SIZE}, **settings) as cluster:
        wait_for(lambda: has_closed(cluster.nodes[3]), 60, "first epoch")
        for number in range(1, num_kills + 1):
            print(f"{number}/{num_kills}: {kill_and_check(cluster, rng)}", flush=True)


@pytest.mark.slow
def test_survivors_of_a_death_in_the_exchange_hold_exactly_their_own_mean(tmp_path: Path) -> None:
    run_kills(tmp_path, num_kills=3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_twenty_deaths_in_the_exchange_leave_no_survivor_with_another_model(tmp_path: Path) -> None:
    run_kills(tmp_path, num_kills=20, seed=2)
