"""How a member stays known: registered at once and again, the leader told with its term, the others remembered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from raftgossip.core.epoch.command import AddPeer
from raftgossip.core.epoch.ledger import Ledger
from raftgossip.errors import AlreadyExists, Busy, CommandRefused, StorageError, TransportError
from raftgossip.facts import LeaderKnown, Notice, RoleChanged
from raftgossip.ids import Address, Incarnation, NodeId, Term
from raftgossip.peer import presence
from raftgossip.peer.identity import Identity
from raftgossip.peer.presence import Presence
from raftgossip.peer.standing import Standing
from raftgossip.runtime.service import Hints, JoinAnswer, JoinAsk
from tests.support.founding_world import ListedPeers, address_of, ask_of

ME = NodeId(4)


class Member:
    """Node 4 of cluster c1, with one source unless told otherwise."""

    def __init__(self, *discoveries: ListedPeers, heartbeat_ms: int = 60_000) -> None:
        self.gateway = discoveries[0] if discoveries else ListedPeers(Hints(False, (), "c1"))
        self.ledger = Ledger()
        self.told: list[str] = []
        self.moved: dict[NodeId, Address] = {}
        self.standing = Standing(Identity(ME, "o", Incarnation("a"), "c1"), lambda: self.ledger.view())
        parts: Any = SimpleNamespace(
            config=SimpleNamespace(gateway_heartbeat_ms=heartbeat_ms),
            ask=ask_of(ME),
            discoveries=discoveries or (self.gateway,),
            credentials=None,
            links=SimpleNamespace(set_address=self.moved.__setitem__),
            emit=lambda fact: self.told.append(fact.text) if isinstance(fact, Notice) else None,
        )
        self.presence = Presence(parts, self.standing, self._join, lambda: True)

    async def _join(self, ask: JoinAsk) -> JoinAnswer:
        raise AssertionError("nobody announces here")

    def add(self, number: int, address: Address | None = None) -> None:
        """A peer comes into the roster, or moves."""
        where = address or address_of(number)
        self.ledger.apply(number, AddPeer(NodeId(number), where, Incarnation("a"), (), f"owner {number}"))
        self.standing.pulse()

    def lead(self, term: int) -> None:
        self.standing.set_role(RoleChanged(ME, "leader", Term(term)))
        self.standing.set_leader(LeaderKnown(ME, Term(term)))
        self.standing.pulse()

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.presence.renew())
            yield
            task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until it holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the fakes have no event for each thing
            await asyncio.sleep(0.001)


def test_a_member_registers_at_once_so_that_the_gateway_learns_of_the_cluster() -> None:
    async def main() -> None:
        member = Member()
        async with member.renewing():
            await until(lambda: bool(member.gateway.registered))
        assert member.gateway.registered == [(ME, address_of(4), "o", "c1")]
        assert member.gateway.renewed == []

    asyncio.run(main())


def test_it_beats_with_its_cluster_and_registers_again_when_it_was_forgotten() -> None:
    async def main() -> None:
        member = Member(heartbeat_ms=5)
        gateway = member.gateway
        async with member.renewing():
            await until(lambda: len(gateway.renewed) > 2)
            assert len(gateway.registered) == 1 and set(gateway.renewed) == {(ME, "c1")}
            gateway.is_known = False
            await until(lambda: len(gateway.registered) == 2)

    asyncio.run(main())


def test_a_source_that_was_lost_hears_of_the_node_at_once() -> None:
    async def main() -> None:
        member = Member()
        gateway = member.gateway
        async with member.renewing():
            await until(lambda: bool(gateway.registered))
            gateway.is_known = False
            gateway.loss.set()
            await until(lambda: len(gateway.registered) == 2)
            assert len(gateway.renewed) == 1

    asyncio.run(main())


def test_a_source_that_is_lost_all_the_time_is_not_asked_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOST_PAUSE_S", 30.0)

    async def main() -> None:
        member = Member()
        async with member.renewing():
            await until(lambda: bool(member.gateway.registered))
            for _ in range(20):
                member.gateway.loss.set()
                await asyncio.sleep(0)
        assert len(member.gateway.renewed) <= 1

    asyncio.run(main())


def test_a_new_leader_says_so_at_once_with_its_term() -> None:
    async def main() -> None:
        member = Member()
        async with member.renewing():
            await until(lambda: bool(member.gateway.registered))
            assert member.gateway.leaders == []
            member.lead(3)
            await until(lambda: bool(member.gateway.leaders))
            member.lead(5)
            await until(lambda: len(member.gateway.leaders) == 2)
        assert member.gateway.leaders == [(ME, 3), (ME, 5)]

    asyncio.run(main())


def test_a_leader_of_an_older_term_makes_no_fuss() -> None:
    async def main() -> None:
        member = Member()
        member.gateway.report_errors = [CommandRefused("node 2 leads term 9")]
        member.lead(3)
        async with member.renewing():
            await until(lambda: not member.gateway.report_errors)
        assert member.told == []

    asyncio.run(main())


def test_a_silent_source_is_told_once_and_costs_the_others_nothing() -> None:
    async def main() -> None:
        silent = ListedPeers(TransportError("refused"), name="gateway a:1")
        other = ListedPeers(Hints(False, (), "c1"), name="gateway b:1")
        member = Member(silent, other, heartbeat_ms=5)
        async with member.renewing():
            await until(lambda: len(silent.registered) > 3 and len(other.renewed) > 3)
            assert member.told == ["gateway a:1 is silent; the run goes on without it (refused)"]
            silent.answers = [Hints(False, (), "c1")]
            await until(lambda: bool(silent.renewed))
            silent.errors = [TransportError("gone again")]
            await until(lambda: len(member.told) == 2)

    asyncio.run(main())


def test_a_source_that_refuses_the_node_is_told_so_and_the_run_goes_on() -> None:
    async def main() -> None:
        member = Member(ListedPeers(AlreadyExists("the id is taken"), name="gateway a:1"))
        async with member.renewing():
            await until(lambda: bool(member.told))
        assert member.told == ["gateway a:1 refuses this node; the run goes on without it (the id is taken)"]

    asyncio.run(main())


def test_a_busy_source_is_asked_again_when_it_says_so() -> None:
    async def main() -> None:
        member = Member(ListedPeers(Busy("later", 1), Hints(False, (), "c1")))
        async with member.renewing():
            await until(lambda: len(member.gateway.registered) == 2)
        assert member.told == []

    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(presence, "BUSY_S", 0.001)
        asyncio.run(main())


def test_hints_that_nobody_may_dial_are_told_once() -> None:
    async def main() -> None:
        lying = Hints(False, ((NodeId(9), Address("169.254.169.254", 80)),), "c1")
        member = Member(ListedPeers(lying), heartbeat_ms=5)
        async with member.renewing():
            await until(lambda: bool(member.gateway.registered))
            member.gateway.is_known = False
            await until(lambda: len(member.gateway.registered) == 2)
        assert len(member.told) == 1 and "169.254.169.254:80 is not dialled" in member.told[0]

    asyncio.run(main())


def test_where_the_others_are_is_remembered_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "REMEMBER_PAUSE_S", 0.01)

    async def main() -> None:
        member = Member()
        remembered = member.gateway.remembered
        for number in (1, 4):
            member.add(number)
        async with member.renewing():
            await until(lambda: bool(remembered))
            assert remembered[-1] == ((NodeId(1), address_of(1)),), "itself is nobody to look for"
            for _ in range(5):
                member.standing.pulse()
                await asyncio.sleep(0.003)
            assert len(remembered) == 1
            member.add(2)
            member.add(1, Address("10.7.7.7", 7001))
            await until(lambda: remembered[-1][:1] == ((NodeId(1), Address("10.7.7.7", 7001)),))
        assert remembered[-1][1:] == ((NodeId(2), address_of(2)),)

    asyncio.run(main())


def test_a_disk_that_fails_ends_the_node() -> None:
    class BrokenDisk(ListedPeers):
        async def remember(self, peers: object) -> None:
            raise StorageError("the disk is full")

    async def main() -> None:
        member = Member(BrokenDisk(Hints(False, ())))
        member.add(1)
        async with asyncio.timeout(5):
            await member.presence.renew()

    with pytest.raises(ExceptionGroup) as failed:
        asyncio.run(main())
    assert failed.group_contains(StorageError)


def test_who_was_taken_out_leaves_every_list() -> None:
    async def main() -> None:
        member = Member()
        member.standing.is_dismissed = True
        presence_without = Presence(member.presence._parts, member.standing, member._join, lambda: False)
        async with asyncio.timeout(5):
            await presence_without.depart()
        assert member.gateway.has_left and member.standing.has_left

    asyncio.run(main())
