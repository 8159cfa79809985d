"""What a node says of itself: copies for operators."""

from __future__ import annotations

from dataclasses import dataclass

from raftgossip.core.raft.message import Configuration
from raftgossip.core.raft.replication import Leadership
from raftgossip.core.raft.state import RaftState
from raftgossip.ids import LogIndex, NodeId, Term


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """One other node, as the leader sees it."""

    node_id: NodeId
    match_index: LogIndex
    responsive: bool
    """False also before its first answer in this leadership."""
    flow: str
    """`probe`, `replicate` or `snapshot`."""


@dataclass(frozen=True, slots=True)
class RaftStatus:
    """What is true now."""

    node_id: NodeId
    role: str
    """`follower`, `candidate`, `leader` or `learner`."""
    term: Term
    leader: NodeId | None
    commit_index: LogIndex
    applied_index: LogIndex
    first_index: LogIndex
    """The oldest entry that is kept."""
    last_index: LogIndex
    snapshot_index: LogIndex
    """The newest entry that the snapshot covers; 0: there is none."""
    configuration: Configuration
    followers: tuple[FollowerStatus, ...]
    """Empty except at the leader."""


def status_of(state: RaftState, leadership: Leadership | None) -> RaftStatus:
    """The status of a node."""
    followers = leadership.followers if leadership is not None else {}
    return RaftStatus(
        node_id=state.node_id,
        role=state.shown_role,
        term=state.term,
        leader=state.leader,
        commit_index=state.commit_index,
        applied_index=state.applied_index,
        first_index=LogIndex(state.log.base_index + 1),
        last_index=state.log.last_index,
        snapshot_index=state.snapshot_index,
        configuration=state.configuration,
        followers=tuple(
            FollowerStatus(node_id, progress.match_index, progress.responsive is True, progress.flow.value)
            for node_id, progress in followers.items()
        ),
    )
