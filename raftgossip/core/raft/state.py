"""The variables of Figure 2 (Ongaro & Ousterhout 2014) in one dataclass, and what always holds for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from raftgossip.core.raft.log import Log
from raftgossip.core.raft.message import Configuration, Entry, EntryKind, Snapshot
from raftgossip.ids import LogIndex, NodeId, Term


class Role(Enum):
    """What a node does at the moment (Figure 4), with the pre-vote of thesis section 9.6."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    """Asks whether it could win; its term has not moved. To the outside it is still a follower."""
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(slots=True)
class RaftState:
    """One node's variables; the leader's own are in `replication.Leadership`.

    Invariants: term >= the log's last term; compacted <= snapshot <= applied <= committed <= last; a leader or
    candidate voted for itself; a leader names itself as leader and is a voter.
    """

    node_id: NodeId
    log: Log
    """Durable: saved before it is spoken of."""
    term: Term = Term(0)
    """Durable: the latest term this node has seen."""
    voted_for: NodeId | None = None
    """Durable: who got this node's vote in `term`."""
    elected_term: Term = Term(0)
    """The newest term in which another node voted for this one: so it was durable when that was asked."""
    commit_index: LogIndex = LogIndex(0)
    """The newest entry known to be committed. Saved along with entries; see `HardState.commit_index` for why."""
    applied_index: LogIndex = LogIndex(0)
    """The newest entry that the state machine has taken."""
    snapshot: Snapshot | None = None
    """The newest one of this node; what the log has lost stands in it."""
    configurations: list[tuple[LogIndex, Configuration]] = field(default_factory=list)
    """The configuration of the snapshot and all behind it in the log, by index."""
    role: Role = Role.FOLLOWER
    leader: NodeId | None = None
    """Who leads `term`, as far as known."""
    leader_contact_ms: int | None = None
    """When the leader of `term` was last heard; None: not since the last timeout or change of term."""
    now_ms: int = 0

    @property
    def configuration(self) -> Configuration:
        """The newest configuration in the log, committed or not: the one that decides. Empty: never let in."""
        return self.configurations[-1][1] if self.configurations else Configuration(())

    @property
    def committed_configuration(self) -> Configuration:
        """The newest one that is known to be committed."""
        return self.configuration_at(self.commit_index)

    @property
    def is_voter(self) -> bool:
        """Whether this node may stand, as far as it knows.

        Also while its removal is not committed: the others may need it to get that far (thesis section 4.2.2).
        """
        return self.node_id in self.configuration.deciders or self.node_id in self.committed_configuration.deciders

    @property
    def has_pending_change(self) -> bool:
        """Whether a configuration stands in the log that is not committed yet, or is joint."""
        if not self.configurations:
            return False
        index, newest = self.configurations[-1]
        return index > self.commit_index or bool(newest.outgoing)

    @property
    def snapshot_index(self) -> LogIndex:
        """The newest entry that the snapshot covers; 0: there is none."""
        return self.snapshot.last_index if self.snapshot is not None else LogIndex(0)

    def configuration_at(self, index: LogIndex) -> Configuration:
        """The newest configuration at or before `index`, which the snapshot does not cover beyond."""
        known = (each for at, each in reversed(self.configurations) if at <= index)
        return next(known, Configuration(()))

    def append(self, entry: Entry) -> None:
        """Put an entry at the log's end; a configuration decides from now on."""
        self.log.append(entry)
        if entry.kind is EntryKind.CONFIGURATION:
            self.configurations.append((entry.index, Configuration.decode(entry.data)))

    def truncate_from(self, index: LogIndex) -> None:
        """Drop the entry at `index` and all behind it; the configuration before them decides again."""
        self.log.truncate_from(index)
        while self.configurations and self.configurations[-1][0] >= index:
            self.configurations.pop()

    def take_snapshot(self, snapshot: Snapshot, base_index: LogIndex) -> None:
        """Keep this node's own snapshot of what it applied, and forget the entries up to `base_index`."""
        self.snapshot = snapshot
        self.configurations = [
            (snapshot.last_index, snapshot.configuration),
            *(each for each in self.configurations if each[0] > snapshot.last_index),
        ]
        if base_index > self.log.base_index:
            self.log.compact(base_index)

    def install_snapshot(self, snapshot: Snapshot) -> None:
        """Put a received snapshot in place of everything: the log does not hold its last entry."""
        self.snapshot = snapshot
        self.log.reset(snapshot.last_index, snapshot.last_term)
        self.configurations = [(snapshot.last_index, snapshot.configuration)]
        self.commit_index = self.applied_index = snapshot.last_index

    @property
    def shown_role(self) -> str:
        """The role as facts and status name it."""
        if self.role in (Role.FOLLOWER, Role.PRE_CANDIDATE):
            return "follower" if self.is_voter else "learner"
        return str(self.role.value)

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        self.log.check_invariants()
        assert self.term >= self.log.last_term
        assert self.snapshot_index <= self.applied_index <= self.commit_index <= self.log.last_index
        assert self.log.base_index <= self.snapshot_index
        if self.role in (Role.CANDIDATE, Role.LEADER):
            assert self.voted_for == self.node_id
            assert self.is_voter
        assert (self.role is Role.LEADER) == (self.leader == self.node_id)
