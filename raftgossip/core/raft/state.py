"""The variables of Figure 2 (Ongaro & Ousterhout 2014) in one dataclass, and what always holds for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from raftgossip.core.raft.log import Log
from raftgossip.core.raft.message import Configuration
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

    Invariants: term >= the log's last term; applied <= committed <= last; a leader or candidate voted for itself; a
    leader names itself as leader and is a voter.
    """

    node_id: NodeId
    log: Log
    """Durable: saved before it is spoken of."""
    term: Term = Term(0)
    """Durable: the latest term this node has seen."""
    voted_for: NodeId | None = None
    """Durable: who got this node's vote in `term`."""
    commit_index: LogIndex = LogIndex(0)
    """The newest entry known to be committed. Saved along with entries; see `HardState.commit_index` for why."""
    applied_index: LogIndex = LogIndex(0)
    """The newest entry that the state machine has taken."""
    configuration: Configuration = field(default_factory=lambda: Configuration(()))
    """The newest committed configuration: the one that decides. Empty: this node was never let in."""
    role: Role = Role.FOLLOWER
    leader: NodeId | None = None
    """Who leads `term`, as far as known."""
    leader_contact_ms: int | None = None
    """When the leader of `term` was last heard; None: not since the last timeout or change of term."""
    now_ms: int = 0

    @property
    def is_voter(self) -> bool:
        """Whether this node may stand, as far as it knows."""
        return self.node_id in self.configuration.voters

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
        assert self.applied_index <= self.commit_index <= self.log.last_index
        if self.role in (Role.CANDIDATE, Role.LEADER):
            assert self.voted_for == self.node_id
            assert self.is_voter
        assert (self.role is Role.LEADER) == (self.leader == self.node_id)
