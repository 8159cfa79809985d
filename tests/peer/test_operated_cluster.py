"""Real peers with real sockets, operated through any of them as an operator does it.

One cluster lives through it all, since forming one takes longer than what is asked of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest

from raftgossip import Peer
from raftgossip.cli.leader_hint import at_leader
from raftgossip.errors import CommandRefused, NotFound
from raftgossip.facts import ConfigurationChanged, Fact, Listening, RosterChanged
from raftgossip.ids import Address, NodeId
from raftgossip.runtime.grpc_operator import OperatorClient
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.target_task import TargetTask

SETTINGS: dict[str, object] = {"num_epochs": 0, "min_participants": 1, "min_epoch_ms": 300}
T = TypeVar("T")


class Cluster:
    """Peers in this process; the first one founds."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self.peers: dict[int, Peer] = {}
        self.lives: dict[int, asyncio.Task[None]] = {}
        self.addresses: dict[int, str] = {}
        self.configurations: dict[int, ConfigurationChanged] = {}
        self.removed: set[int] = set()
        self._news = asyncio.Event()

    async def start(self, number: int) -> None:
        """Returns when it listens."""
        known = {"found": True} if number == 1 else {"peers": [self.addresses[1]]}
        peer = self.peers[number] = Peer(TargetTask(number - 1, 1_000), node_id=number, **known, **SETTINGS)

        def on_fact(fact: Fact) -> None:
            match fact:
                case Listening():
                    self.addresses[number] = fact.address
                case ConfigurationChanged():
                    self.configurations[number] = fact
                case RosterChanged(present=False):
                    self.removed.add(fact.node_id)
            self._news.set()

        peer.subscribe(on_fact)
        self.lives[number] = self._group.create_task(peer.run_async())
        await self.until(lambda: number in self.addresses)

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Return when a fact has made it true."""
        while not predicate():
            await self._news.wait()
            self._news.clear()

    async def ask(self, number: int, act: Callable[[OperatorClient], T]) -> T:
        """Ask one peer, which may send the asker on to the leader."""
        return await asyncio.to_thread(at_leader, self.addresses[number], None, act)

    async def ask_only(self, number: int, act: Callable[[OperatorClient], T]) -> T:
        """Ask one peer."""

        def work() -> T:
            client = OperatorClient(Address.parse(self.addresses[number]))
            try:
                return act(client)
            finally:
                client.close()

        return await asyncio.to_thread(work)


def rows(status: pb.StatusResponse) -> dict[int, pb.PeerStatus]:
    return {peer.node_id: peer for peer in status.peers}


@pytest.mark.slow
def test_a_cluster_is_operated_through_any_of_its_peers() -> None:
    async def story() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            cluster = Cluster(group)
            for number in (1, 2, 3):
                await cluster.start(number)
            try:
                await cluster.until(lambda: all(_voters(cluster, number) == (1, 2, 3) for number in (1, 2, 3)))
                await leadership_is_transferred(cluster)
                await the_log_is_shown(cluster)
                await a_member_is_awaited_and_comes(cluster)
                await the_leader_is_removed(cluster)
                await impossible_changes_are_refused(cluster)
            finally:
                for peer in cluster.peers.values():
                    peer.request_stop()

    asyncio.run(story())


def _voters(cluster: Cluster, number: int) -> tuple[NodeId, ...]:
    known = cluster.configurations.get(number)
    return known.voters if known is not None and not known.outgoing else ()


async def leadership_is_transferred(cluster: Cluster) -> None:
    """To node 3, asked of node 2; a linearizable answer of node 2 knows it at once."""
    answer = await cluster.ask(2, lambda client: client.transfer_leadership(NodeId(3)))
    assert answer.leader == 3
    status = await cluster.ask_only(2, lambda client: client.status_of_now())
    assert (status.leader, status.term) == (3, answer.term)

    status = await cluster.ask_only(3, lambda client: client.status_of_now())
    assert status.role == "leader"
    assert {peer.role for peer in status.peers} == {"voter"}
    assert status.first_index == 1 and status.snapshot_index == 0 and not status.outgoing


async def the_log_is_shown(cluster: Cluster) -> None:
    """At a follower, from the first entry to the last."""
    log = await cluster.ask_only(1, lambda client: client.log(1, 0))
    assert [entry.index for entry in log.entries] == list(range(1, len(log.entries) + 1))
    summaries = [entry.summary for entry in log.entries]
    assert summaries[0] == "voters 1"
    assert "StartRun TargetTask" in summaries and "OpenEpoch 1" in summaries
    assert f"AddPeer 3 at {cluster.addresses[3]}" in summaries
    assert {entry.kind for entry in log.entries} == {"command", "noop", "configuration"}
    assert all(entry.applied_at_ms > 0 for entry in log.entries if 1 < entry.index <= log.applied_index)


async def a_member_is_awaited_and_comes(cluster: Cluster) -> None:
    """Node 4 is added before it is started."""
    sentence = await cluster.ask(1, lambda client: client.add_member(NodeId(4), Address("127.0.0.1", 9)))
    assert "node 4" in sentence
    status = await cluster.ask_only(1, lambda client: client.status_of_now())
    assert (rows(status)[4].incarnation, rows(status)[4].port) == ("", 9)

    await cluster.start(4)
    await cluster.until(lambda: 4 in _voters(cluster, 4))
    status = await cluster.ask_only(4, lambda client: client.status_of_now())
    assert rows(status)[4].incarnation != ""
    assert f"{rows(status)[4].host}:{rows(status)[4].port}" == cluster.addresses[4]


async def the_leader_is_removed(cluster: Cluster) -> None:
    """Node 3, which leads: it hands over, the next leader takes it out, and it ends."""
    sentence = await cluster.ask(2, lambda client: client.remove_member(NodeId(3)))
    assert sentence == "node 3 is out of the cluster; the voters are 1, 2, 4"
    await cluster.lives[3]
    status = await cluster.ask_only(1, lambda client: client.status_of_now())
    assert set(rows(status)) == {1, 2, 4} and status.leader in (1, 2, 4)
    again = await cluster.ask(1, lambda client: client.remove_member(NodeId(3)))
    assert again == sentence


async def impossible_changes_are_refused(cluster: Cluster) -> None:
    """With the leader's reason, whoever was asked."""
    with pytest.raises(NotFound, match="node 9 does not belong"):
        await cluster.ask(1, lambda client: client.remove_member(NodeId(9)))
    with pytest.raises(CommandRefused, match="votes already"):
        await cluster.ask(2, lambda client: client.promote_member(NodeId(1)))
    with pytest.raises(NotFound, match="node 9 is not in the roster"):
        await cluster.ask(4, lambda client: client.transfer_leadership(NodeId(9)))


@pytest.mark.slow
def test_a_peer_that_leaves_ends_and_the_others_go_on() -> None:
    async def story() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            cluster = Cluster(group)
            for number in (1, 2):
                await cluster.start(number)
            try:
                await cluster.until(lambda: all(_voters(cluster, number) == (1, 2) for number in (1, 2)))
                said = await cluster.ask_only(1, lambda client: client.leave())
                assert said == "node 1 left the cluster"
                await cluster.lives[1]
                status = await cluster.ask_only(2, lambda client: client.status_of_now())
                assert (status.role, [peer.node_id for peer in status.peers]) == ("leader", [2])
                with pytest.raises(CommandRefused, match="last node"):
                    await cluster.ask_only(2, lambda client: client.leave())
            finally:
                for peer in cluster.peers.values():
                    peer.request_stop()

    asyncio.run(story())
