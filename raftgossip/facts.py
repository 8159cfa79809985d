"""Frozen records of what became true. Cores emit them; who listens is not known here."""

from __future__ import annotations

from dataclasses import dataclass

from raftgossip.ids import Epoch, LogIndex, NodeId, Term


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """This node's Raft role: `follower`, `candidate`, `leader` or `learner`."""

    node_id: NodeId
    role: str
    term: Term


@dataclass(frozen=True, slots=True)
class LeaderKnown:
    """Who leads `term` as far as this node knows; None after the leader was lost."""

    leader: NodeId | None
    term: Term


@dataclass(frozen=True, slots=True)
class PeerUnresponsive:
    """Emitted at the leader: `node_id` has not acknowledged anything for the configured time."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class PeerResponsive:
    """Emitted at the leader: `node_id` acknowledges again, or for the first time in this leadership."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class PeerCaughtUp:
    """Emitted at the leader: the learner `node_id` holds the log nearly to its end and can become a voter."""

    node_id: NodeId
    match_index: LogIndex


@dataclass(frozen=True, slots=True)
class ConfigurationChanged:
    """The Raft configuration that stands at `index` of the log is committed."""

    voters: tuple[NodeId, ...]
    learners: tuple[NodeId, ...]
    index: LogIndex
    outgoing: tuple[NodeId, ...] = ()
    """Not empty: it is joint, and the leader will end that by itself."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run specification is in the ledger; epochs may open."""

    index: LogIndex


@dataclass(frozen=True, slots=True)
class RosterChanged:
    """A peer was added to, changed in, or removed from the ledger's roster."""

    node_id: NodeId
    present: bool


@dataclass(frozen=True, slots=True)
class EpochOpened:
    """An epoch opened, or (attempt > 1) its exchange must be run again by the named participants."""

    epoch: Epoch
    attempt: int
    participants: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class EpochClosed:
    """An epoch ended with `outcome` `closed` or `failed`; only a closed one counts."""

    epoch: Epoch
    attempt: int
    outcome: str
    contributors: tuple[NodeId, ...]
    model_digest: bytes


@dataclass(frozen=True, slots=True)
class RemoteRefused:
    """Something that a remote peer sent was refused and dropped."""

    node_id: NodeId | None
    reason: str


@dataclass(frozen=True, slots=True)
class Listening:
    """This node accepts calls; others dial it at `address` (host:port)."""

    node_id: NodeId
    address: str


@dataclass(frozen=True, slots=True)
class ClusterEntered:
    """This node belongs to a cluster: it `founded` it, was let `in`, or came `back` with its state."""

    node_id: NodeId
    cluster_id: str
    how: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that an operator should read: what happens, and what to do if it goes on."""

    text: str


LedgerFact = RunStarted | RosterChanged | EpochOpened | EpochClosed
RaftFact = RoleChanged | LeaderKnown | PeerUnresponsive | PeerResponsive | PeerCaughtUp | ConfigurationChanged
PeerFact = Listening | ClusterEntered | Notice | RemoteRefused
Fact = LedgerFact | RaftFact | PeerFact
