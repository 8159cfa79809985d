"""A node knows when it was taken out of the roster, and wakes whoever waits for a change."""

from __future__ import annotations

import asyncio

from raftgossip.core.epoch.command import AddPeer, Command, RemovePeer
from raftgossip.core.epoch.ledger import Ledger
from raftgossip.ids import Address, Incarnation, NodeId
from raftgossip.peer.identity import Identity
from raftgossip.peer.standing import Standing

ME = NodeId(2)
REMOVED = RemovePeer(ME)


def added(incarnation: str, node_id: int = ME) -> AddPeer:
    return AddPeer(NodeId(node_id), Address("h", node_id), Incarnation(incarnation), (), "mine")


def standing_after(*commands: Command) -> Standing:
    """Of the life `now`, told of each command as it is applied."""
    ledger = Ledger()
    standing = Standing(Identity(ME, "mine", Incarnation("now"), "c1"), ledger.view)
    for index, command in enumerate(commands, start=1):
        ledger.apply(index, command)
        standing.note_roster()
    return standing


def test_only_this_life_of_a_node_counts_as_announced() -> None:
    assert standing_after(added("now")).is_announced()
    assert not standing_after(added("before")).is_announced()
    assert not standing_after(added("now", node_id=3)).is_announced()


def test_a_node_that_was_in_the_roster_and_is_no_more_is_dismissed() -> None:
    assert standing_after(added("now"), REMOVED).is_dismissed


def test_a_node_that_is_not_in_yet_is_not_dismissed_by_what_happened_to_its_earlier_life() -> None:
    assert not standing_after().is_dismissed
    assert not standing_after(added("before"), REMOVED).is_dismissed
    assert not standing_after(added("before"), REMOVED, added("now")).is_dismissed


def test_a_removal_of_another_node_dismisses_nobody() -> None:
    assert not standing_after(added("now"), added("x", node_id=3), RemovePeer(NodeId(3))).is_dismissed


def test_who_waits_is_woken_by_a_change_and_goes_on_when_it_holds() -> None:
    async def story() -> list[str]:
        standing, told = standing_after(), []
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:

            async def wait() -> None:
                await standing.until(lambda: standing.leader == 3)
                told.append("seen")

            group.create_task(wait())
            await asyncio.sleep(0)
            standing.pulse()
            await asyncio.sleep(0)
            told.append("not yet")
            standing.leader = NodeId(3)
            standing.pulse()
        return told

    assert asyncio.run(story()) == ["not yet", "seen"]


def test_who_waits_for_what_does_not_come_is_told_so() -> None:
    assert not asyncio.run(standing_after().until_or_timeout(lambda: False, 0.01))
    assert asyncio.run(standing_after().until_or_timeout(lambda: True, 0.01))
