"""A run goes on while its gateway dies and comes back, and never does a second cluster come of it.

Real processes, kill -9 at seeded random moments, the gateway's disk lost every other time; newcomers come while it has
just started and knows nobody. `scripts/test --long -k gateway -s` runs the 50 restarts of the published figure and
prints what happened; the normal suite runs 5.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from raftgossip.errors import TransportError
from tests.support.live_gateway import LiveGateway, cluster_id_of
from tests.support.processes import NodeProcess, wait_for

SIZE = 1_000
HEARTBEAT_MS = 5_000
"""The list must be whole again within two of them; peers that notice a restart by themselves need a second or two."""
SETTINGS: dict[str, object] = {
    "num_epochs": 0,
    "min_participants": 2,
    "train_deadline_ms": 5_000,
    "exchange_deadline_ms": 5_000,
    "min_epoch_ms": 200,
    "gateway_heartbeat_ms": HEARTBEAT_MS,
}
NUM_MEMBERS = 3


class Run:
    """Three members that found each other by the gateway, and a newcomer now and then."""

    def __init__(self, folder: Path, gateway: LiveGateway) -> None:
        self.gateway = gateway
        self._folder = folder
        self._num_newcomers = 0
        self.members: list[NodeProcess] = []
        self.cluster_id = ""

    def start_node(self, node_id: int) -> NodeProcess:
        settings = {**SETTINGS, "gateway": [self.gateway.address]}
        return NodeProcess(node_id, self._folder, {"size": SIZE}, settings).start()

    def start(self) -> None:
        for node_id in range(1, NUM_MEMBERS + 1):
            self.members.append(self.start_node(node_id))
        (self.cluster_id,) = {cluster_id_of(member) for member in self.members}
        wait_for(lambda: self.last_closed() >= 2, 30, "second epoch")

    def stop(self) -> None:
        for member in self.members:
            member.kill()

    def last_closed(self) -> int:
        status = self.members[0].status()
        return status.last_closed_epoch if status is not None else 0

    def ids(self) -> set[int]:
        return {member.node_id for member in self.members}

    def add_newcomer(self) -> NodeProcess:
        """It asks the gateway, whether or not that is there."""
        self._num_newcomers += 1
        newcomer = self.start_node(100 + self._num_newcomers)
        self.members.append(newcomer)
        return newcomer

    def let_go(self, newcomer: NodeProcess) -> None:
        """It leaves for good."""

        def is_told_to_leave() -> bool:
            try:
                return bool(newcomer.operator.leave())
            except TransportError:
                return False  # it has not seen itself in the roster yet

        wait_for(is_told_to_leave, 10, f"node {newcomer.node_id} that leaves", every_s=0.1)
        newcomer.stop()
        self.members.remove(newcomer)

    def check(self) -> int:
        """All nodes tell one history of one cluster in which no epoch is missing, failed or repeated; its length."""
        assert {cluster_id_of(member) for member in self.members} == {self.cluster_id}
        told = [
            [(record.epoch, record.outcome, record.model_digest) for record in node.epochs()] for node in self.members
        ]
        for history in told:
            assert [epoch for epoch, *_ in history] == list(range(1, len(history) + 1))
            assert {outcome for _, outcome, _ in history} <= {"closed"}
        shortest = min(map(len, told))
        assert all(history[:shortest] == told[0][:shortest] for history in told)
        return len(told[0])


def run_restarts(folder: Path, num_restarts: int, seed: int) -> None:
    rng = random.Random(seed)
    with LiveGateway("1", folder).start("--new") as gateway:
        run = Run(folder, gateway)
        try:
            run.start()
            gateway.wait_until_it_lists(run.ids(), run.cluster_id, 5)
            for number in range(1, num_restarts + 1):
                print(f"{number}/{num_restarts}: {restart_once(run, rng, number)}", flush=True)
            wait_for(lambda newest=run.last_closed(): run.last_closed() > newest, 20, "epoch after the last restart")
            print(f"{run.check()} epochs, all closed, in one cluster")
        finally:
            run.stop()


def restart_once(run: Run, rng: random.Random, number: int) -> str:
    """Kill the gateway and start it again; returns what happened."""
    gateway, before = run.gateway, run.last_closed()
    time.sleep(rng.uniform(0, 0.5))  # the random moment is the point
    gateway.kill()
    loses_disk, has_newcomer = rng.random() < 0.5, number % 4 == 2
    if loses_disk:
        gateway.lose_disk()
    newcomer = run.add_newcomer() if has_newcomer and rng.random() < 0.5 else None
    time.sleep(rng.uniform(0, 0.5))
    gateway.start()
    if has_newcomer and newcomer is None:
        newcomer = run.add_newcomer()  # it may well be the first that the gateway hears of
    took_s = gateway.wait_until_it_lists(run.ids(), run.cluster_id, 2 * HEARTBEAT_MS / 1000)
    story = f"{'without' if loses_disk else 'with'} its disk, whole again after {took_s:.1f} s"
    if newcomer is not None:
        assert cluster_id_of(newcomer) == run.cluster_id
        run.check()
        run.let_go(newcomer)
        gateway.wait_until_it_lists(run.ids(), run.cluster_id, 5)
        story += f", node {newcomer.node_id} came and went"
    assert wait_for(gateway.leader, 5, "leader at the gateway") in run.ids()
    wait_for(lambda: run.last_closed() > before, 20, "epoch since the restart")
    return story


@pytest.mark.slow
def test_a_gateway_that_dies_five_times_costs_no_epoch_and_makes_no_second_cluster(tmp_path: Path) -> None:
    run_restarts(tmp_path, num_restarts=5, seed=3)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_gateway_that_dies_fifty_times_costs_no_epoch_and_makes_no_second_cluster(tmp_path: Path) -> None:
    run_restarts(tmp_path, num_restarts=50, seed=4)
