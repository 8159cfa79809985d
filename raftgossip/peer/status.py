"""What a node tells operators about itself: ledger, Raft and round put into one view."""

from __future__ import annotations

from raftgossip.core.epoch.command import RosterEntry
from raftgossip.core.epoch.ledger import LedgerView
from raftgossip.core.raft.message import Configuration
from raftgossip.core.raft.status import FollowerStatus, RaftStatus
from raftgossip.ids import NodeId
from raftgossip.peer.round import Round
from raftgossip.runtime.service import PeerRow, StatusView
from raftgossip.trust.identity import name_in_owner


def status_of(cluster_id: str, view: LedgerView, raft: RaftStatus, work: Round, uptime_ms: int) -> StatusView:
    """A member's view."""
    followers = {follower.node_id: follower for follower in raft.followers}
    return StatusView(
        cluster_id=cluster_id,
        node_id=raft.node_id,
        role=raft.role,
        term=raft.term,
        leader=raft.leader,
        commit_index=raft.commit_index,
        applied_index=raft.applied_index,
        last_index=raft.last_index,
        peers=tuple(_row(entry, raft, followers.get(entry.node_id)) for entry in view.roster),
        specification=view.specification,
        open_epoch=view.open_epoch,
        last_closed_epoch=view.last_closed.epoch if view.last_closed else 0,
        model_digest=work.model_digest,
        phase=work.phase,
        metrics=work.metrics,
        message=work.message,
        uptime_ms=uptime_ms,
        run_finished=view.run_finished,
        first_index=raft.first_index,
        snapshot_index=raft.snapshot_index,
        outgoing=raft.configuration.outgoing,
    )


def status_outside(node_id: NodeId) -> StatusView:
    """The view of a node that belongs to no cluster yet."""
    return StatusView(
        cluster_id="",
        node_id=node_id,
        role="joining",
        term=0,
        leader=None,
        commit_index=0,
        applied_index=0,
        last_index=0,
        peers=(),
        specification=None,
        open_epoch=None,
        last_closed_epoch=0,
        model_digest=b"",
        phase="joining",
        metrics=(),
        message="looking for a cluster",
        uptime_ms=0,
        run_finished=False,
    )


def _row(entry: RosterEntry, raft: RaftStatus, follower: FollowerStatus | None) -> PeerRow:
    is_self = entry.node_id == raft.node_id
    match_index = raft.last_index if is_self else follower.match_index if follower is not None else 0
    return PeerRow(
        node_id=entry.node_id,
        address=entry.address,
        role=_role(entry.node_id, raft.configuration),
        responsive=is_self or (follower is not None and follower.responsive),
        match_index=match_index,
        incarnation=entry.incarnation,
        metadata=entry.metadata,
        flow=follower.flow if follower is not None else "",
        identity=name_in_owner(entry.owner),
    )


def _role(node_id: NodeId, configuration: Configuration) -> str:
    if node_id in configuration.voters:
        return "voter"
    return "learner" if node_id in configuration.learners else "joining"
