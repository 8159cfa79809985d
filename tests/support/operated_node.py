"""A node's operations over fakes: a real ledger, and Raft as the test wants it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from raftgossip.core.epoch.command import AddPeer, Command, RemovePeer, StartRun
from raftgossip.core.epoch.config import EpochConfig
from raftgossip.core.epoch.ledger import Applied, Ledger
from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import Configuration, Entry
from raftgossip.core.raft.status import FollowerStatus, RaftStatus
from raftgossip.facts import ConfigurationChanged, LeaderKnown, RoleChanged
from raftgossip.ids import Address, Incarnation, LogIndex, NodeId, Term
from raftgossip.peer.identity import Identity
from raftgossip.peer.operations import Operations
from raftgossip.peer.standing import Standing
from raftgossip.runtime.raft_host import Outcome
from raftgossip.runtime.service import ProposeAnswer
from tests.support.golden import SPECIFICATION

ME = NodeId(1)


@dataclass
class FakeClock:
    """Moves when told."""

    ms: int = 0

    def now_ms(self) -> int:
        return self.ms

    def wall_ms(self) -> int:
        return self.ms


@dataclass
class FakeLinks:
    """Remembers addresses."""

    addresses: dict[NodeId, Address] = field(default_factory=dict)

    def set_address(self, node_id: NodeId, address: Address) -> None:
        self.addresses[node_id] = address

    def address_of(self, node_id: NodeId) -> Address | None:
        return self.addresses.get(node_id)


class OperatedNode:
    """Node 1 of a cluster of 1, 2 and 3; it leads, and all of them vote.

    What it proposes is applied at once. Who leaves the roster leaves the configuration, as the coordinator does it.
    `is_cut_off`: nothing is confirmed any more.
    """

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.links = FakeLinks()
        self.ledger = Ledger()
        self.standing = Standing(Identity(ME, "owner 1", Incarnation("a1"), "c1"), lambda: self.ledger.view())
        self.is_cut_off = False
        self.on_transfer: Callable[[NodeId | None], None] = lambda target: self.lead(target or NodeId(2))
        self.transfers: list[tuple[NodeId | None, int]] = []
        self.reads: list[int] = []
        self.stored: list[Entry] = []
        self.raft = RaftStatus(
            node_id=ME,
            role="leader",
            term=Term(3),
            leader=ME,
            commit_index=LogIndex(100),
            applied_index=LogIndex(100),
            first_index=LogIndex(1),
            last_index=LogIndex(100),
            snapshot_index=LogIndex(0),
            configuration=Configuration(()),
            followers=(),
        )
        self._index = 0
        for command in (StartRun(SPECIFICATION, b""), *(self.member(number) for number in (1, 2, 3))):
            assert self._apply(command).accepted
        self.configure(Configuration((ME, NodeId(2), NodeId(3))))
        self.standing.set_role(RoleChanged(ME, "leader", Term(3)))
        self.standing.set_leader(LeaderKnown(ME, Term(3)))
        parts: Any = SimpleNamespace(
            clock=self.clock,
            links=self.links,
            credentials=None,
            config=SimpleNamespace(raft=RaftConfig(), epoch=EpochConfig(max_voters=3)),
            ask=SimpleNamespace(address=Address("127.0.0.1", 7001)),
        )
        self.operations = Operations(parts, self.standing, cast(Any, self), cast(Any, self), cast(Any, self))

    @staticmethod
    def member(number: int) -> AddPeer:
        """A node that came by itself."""
        address = Address("127.0.0.1", 7000 + number)
        return AddPeer(NodeId(number), address, Incarnation(f"a{number}"), (), f"owner {number}")

    # --- what happens to it

    def configure(self, configuration: Configuration) -> None:
        """This configuration is committed."""
        self.raft = replace(self.raft, configuration=configuration)
        self.standing.set_configuration(
            ConfigurationChanged(configuration.voters, configuration.learners, LogIndex(9), configuration.outgoing)
        )
        self.standing.pulse()

    def lead(self, leader: NodeId) -> None:
        """`leader` leads from now on, in the next term."""
        self.raft = replace(self.raft, leader=leader, term=Term(self.raft.term + 1))
        self.standing.set_role(RoleChanged(ME, "leader" if leader == ME else "follower", self.raft.term))
        self.standing.set_leader(LeaderKnown(leader, self.raft.term))
        self.standing.pulse()

    def follow_learner(self, node_id: NodeId, match_index: int, *, responsive: bool = True) -> None:
        """The leader has a learner that is so far."""
        current = self.raft.configuration
        self.configure(Configuration(current.voters, (node_id,)))
        follower = FollowerStatus(node_id, LogIndex(match_index), responsive, "replicate")
        self.raft = replace(self.raft, followers=(follower,))

    def follow_voters(self, responsive: dict[NodeId, bool]) -> None:
        """The other voters answer the leader, or not."""
        followers = [FollowerStatus(node, LogIndex(100), answers, "replicate") for node, answers in responsive.items()]
        self.raft = replace(self.raft, followers=tuple(followers))

    # --- as RaftNode, as RaftHost, as Proposer

    def status(self) -> RaftStatus:
        return self.raft

    def entries(self, first: LogIndex, last: LogIndex) -> list[Entry]:
        return [entry for entry in self.stored if first <= entry.index <= last]

    def applied_at_ms(self, index: LogIndex) -> int:
        return 1000 * index

    async def read(self, timeout_ms: int) -> LogIndex:
        self.reads.append(timeout_ms)
        return LogIndex(100)

    async def transfer(self, target: NodeId | None, timeout_ms: int) -> None:
        self.transfers.append((target, timeout_ms))
        self.on_transfer(target)

    async def change_configuration(self, configuration: Configuration, timeout_ms: int) -> Outcome:
        self.configure(configuration)
        return Outcome(9, Applied(True, ""))

    async def propose(self, command: Command, wanted: Callable[[], bool]) -> ProposeAnswer | None:
        if self.is_cut_off:
            while wanted():
                self.clock.ms += 500
            return None
        result = self._apply(command)
        if isinstance(command, RemovePeer) and result.accepted:
            current = self.raft.configuration
            without = Configuration(
                tuple(node for node in current.voters if node != command.node_id),
                tuple(node for node in current.learners if node != command.node_id),
            )
            self.configure(without)
        return ProposeAnswer(self._index, result.accepted, result.reason)

    def _apply(self, command: Command) -> Applied:
        self._index += 1
        result, _ = self.ledger.apply(self._index, command)
        self.standing.note_roster()
        self.standing.pulse()
        return result
