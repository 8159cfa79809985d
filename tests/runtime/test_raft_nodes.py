"""Core, driver, host and a real file together: three nodes commit, read, hand over, restart, and bear a slow disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import AppendRequest
from raftgossip.errors import NotLeader
from raftgossip.ids import LogIndex, NodeId
from tests.support.raft_trio import SlowStore, Trio, with_trio

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
PATIENT = RaftConfig(heartbeat_ms=50, election_min_ms=5_000, election_max_ms=10_000)
"""Nobody stands by itself, however busy the machine is."""
LONG_MS = 20_000


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[dict[NodeId, SlowStore]]:
    opened = {node_id: SlowStore(tmp_path / f"{node_id}.sqlite") for node_id in (ONE, TWO, THREE)}
    yield opened
    for store in opened.values():
        store.close()


def test_a_leader_whose_save_hangs_stays_leader_and_its_followers_go_on(stores: dict[NodeId, SlowStore]) -> None:
    async def story(trio: Trio) -> None:
        leader = await trio.elect(ONE)
        await leader.host.propose(b"first", LONG_MS)
        term = leader.raft.status().term
        stores[ONE].open.clear()
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(leader.host.propose(b"second", LONG_MS))
            await trio.until(lambda: trio.nodes[TWO].machine.commands == [b"first", b"second"])
            before = len(trio.sent)
            await trio.until(lambda: num_heartbeats(trio, before) >= 10)
            assert not asked.done(), "it is committed, but the leader answers in the order of its disk"
            stores[ONE].open.set()
        assert asked.result().result == 2
        assert (leader.raft.status().role, leader.raft.status().term) == ("leader", term)

    try:
        with_trio(story, stores, PATIENT)
    finally:
        stores[ONE].open.set()


def num_heartbeats(trio: Trio, start: int) -> int:
    """How many the leader sent since."""
    since = trio.sent[start:]
    return sum(isinstance(message.body, AppendRequest) and not message.body.entries for message in since)


def test_concurrent_proposals_are_applied_everywhere_in_one_order_and_are_on_all_disks(
    stores: dict[NodeId, SlowStore],
) -> None:
    async def story(trio: Trio) -> None:
        leader = await trio.elect(TWO)

        async def propose(client: int) -> list[int]:
            return [(await leader.host.propose(b"%d/%d" % (client, place), LONG_MS)).index for place in range(10)]

        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(propose(client)) for client in range(16)]
        for client in clients:
            assert client.result() == sorted(client.result()), "its own commands keep their order"
        assert len({index for client in clients for index in client.result()}) == 160
        await trio.until(lambda: all(len(node.machine.commands) == 160 for node in trio.nodes.values()))

    trio = with_trio(story, stores, PATIENT)

    assert len({tuple(node.machine.commands) for node in trio.nodes.values()}) == 1
    assert len({store.load().entries for store in stores.values()}) == 1


def test_a_read_at_a_follower_sees_what_was_confirmed_before_it(stores: dict[NodeId, SlowStore]) -> None:
    async def story(trio: Trio) -> None:
        leader = await trio.elect(ONE)
        follower = trio.nodes[THREE]
        for place in range(1, 6):
            index = (await leader.host.propose(b"%d" % place, LONG_MS)).index
            assert await follower.host.read(LONG_MS) >= index
            assert len(follower.machine.commands) == place

    with_trio(story, stores, PATIENT)


def test_the_leadership_goes_where_it_is_sent_and_the_old_leader_refuses(stores: dict[NodeId, SlowStore]) -> None:
    async def story(trio: Trio) -> None:
        leader = await trio.elect(ONE)
        await leader.host.propose(b"first", LONG_MS)
        await leader.host.transfer(THREE, LONG_MS)
        with pytest.raises(NotLeader):
            await leader.host.propose(b"second", LONG_MS)
        await trio.until(lambda: trio.nodes[THREE].raft.status().role == "leader")
        assert (await trio.nodes[THREE].host.propose(b"second", LONG_MS)).result == 2

    with_trio(story, stores, PATIENT)


def test_a_follower_that_was_away_gets_a_snapshot_and_a_restart_begins_with_it(stores: dict[NodeId, SlowStore]) -> None:
    compacting = RaftConfig(
        heartbeat_ms=50, election_min_ms=1_000, election_max_ms=10_000, snapshot_entries=20, snapshot_trailing=5
    )
    commands = [b"%d" % place for place in range(100)]

    async def fall_behind(trio: Trio) -> None:
        leader = await trio.elect(ONE)
        await leader.host.propose(commands[0], LONG_MS)
        trio.cut = {THREE}
        for command in commands[1:]:
            await leader.host.propose(command, LONG_MS)
        await trio.until(lambda: leader.raft.status().snapshot_index > 80)
        trio.cut = set()
        await trio.until(lambda: trio.nodes[THREE].machine.commands == commands)
        assert trio.nodes[THREE].host.applied_at_ms(LogIndex(15)) == 0, "the snapshot covers it"

    with_trio(fall_behind, stores, compacting)

    async def restart(trio: Trio) -> None:
        assert all(node.raft.status().snapshot_index >= 40 for node in trio.nodes.values())
        leader = await trio.elect(THREE)
        assert (await leader.host.propose(b"last", LONG_MS)).result == 101
        await trio.until(lambda: all(node.machine.commands == [*commands, b"last"] for node in trio.nodes.values()))

    with_trio(restart, stores, compacting)
