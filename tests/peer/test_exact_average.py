"""A closed `fedavg` epoch is the sample-weighted mean of its contributors, for any number of peers.

Real peers with real sockets, all in one process; what each of them trains to is known, so numpy can say what the mean
must be.
"""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from raftgossip import Peer
from raftgossip.facts import Fact, Listening
from tests.support.processes import relative_difference
from tests.support.target_task import TargetTask, expected_mean

SIZE = 50_000
TOLERANCE = 1e-6
"""float32 rounds at 6e-8; a few roundings per element remain after the steps of averaging."""


async def run_together(num_peers: int, num_epochs: int, **settings: object) -> list[Peer]:
    """Run `num_peers` until `num_epochs` are closed; node 1 founds and the others are told its address."""
    shared: dict[str, object] = {
        "num_epochs": num_epochs,
        "min_participants": num_peers,
        "exit_when_finished": True,
        "train_deadline_ms": 20_000,
        "exchange_deadline_ms": 20_000,
        **settings,
    }
    founder = Peer(TargetTask(0, SIZE), node_id=1, found=True, **shared)
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_fact(fact: Fact) -> None:
        if isinstance(fact, Listening):
            listening.set_result(fact.address)

    founder.subscribe(on_fact)
    peers = [founder]
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        group.create_task(founder.run_async())
        address = await listening
        for shard in range(1, num_peers):
            peers.append(Peer(TargetTask(shard, SIZE), node_id=shard + 1, peers=[address], **shared))
            group.create_task(peers[-1].run_async())
    return peers


def check(peers: list[Peer]) -> None:
    expected = expected_mean(range(len(peers)), SIZE)
    models: list[np.ndarray] = []
    for peer in peers:
        assert peer.node is not None and peer.node.round.model is not None
        models.append(peer.node.round.model)
        assert relative_difference(models[-1], expected) <= TOLERANCE
    last = peers[0].node.view().last_closed if peers[0].node is not None else None
    assert last is not None and last.contributors == tuple(range(1, len(peers) + 1))


@pytest.mark.parametrize("num_peers", [2, 3, 4, 5, 7])
def test_fedavg_closes_with_the_weighted_mean_of_its_contributors(num_peers: int) -> None:
    check(asyncio.run(run_together(num_peers, num_epochs=2)))


@pytest.mark.parametrize("topology", ["full", "exponential"])
def test_every_exact_topology_gives_the_same_mean(topology: str) -> None:
    check(asyncio.run(run_together(3, num_epochs=1, topology=topology)))
