"""What a peer answers, as plain documents: the very ones that `--json` prints. Digests are hex, absent values null."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypedDict

from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb


class MemberDocument(TypedDict):
    """One peer of the roster. What stands behind `is_leader` up to `flow` is null unless the leader was asked: it alone
    knows. `lag`: how many of the leader's entries it is not known to hold."""

    node_id: int
    address: str
    role: str
    is_leader: bool
    responsive: bool | None
    match_index: int | None
    lag: int | None
    flow: str | None
    incarnation: str
    metadata: dict[str, str]


class RosterDocument(TypedDict):
    """Who belongs to the cluster. `leader_asked`: as in `StatusDocument`."""

    cluster_id: str
    leader: int | None
    leader_asked: int | None
    members: list[MemberDocument]


class RunDocument(TypedDict):
    """What is trained, as it stands in the ledger."""

    task: str
    algorithm: str
    topology: str
    num_epochs: int
    min_participants: int
    seed: int
    local_passes: int
    train_deadline_ms: int
    exchange_deadline_ms: int
    min_epoch_ms: int
    max_attempts: int
    schema_digest: str
    num_elements: int


class OpenEpochDocument(TypedDict):
    """The epoch that runs now."""

    epoch: int
    attempt: int
    participants: list[int]


class StatusDocument(TypedDict):
    """What one peer knows now. `leader_asked`: the leader that told what it alone knows of the others; null: nobody."""

    version: str
    cluster_id: str
    node_id: int
    role: str
    term: int
    leader: int | None
    commit_index: int
    applied_index: int
    last_index: int
    first_index: int
    snapshot_index: int
    outgoing: list[int]
    run: RunDocument | None
    run_finished: bool
    open_epoch: OpenEpochDocument | None
    last_closed_epoch: int
    model_digest: str | None
    phase: str
    metrics: dict[str, float | None]
    message: str
    uptime_ms: int
    leader_asked: int | None
    peers: list[MemberDocument]


class EpochDocument(TypedDict):
    """One ended epoch. `closed_at_ms`: the leader's wall clock, for display."""

    epoch: int
    attempt: int
    outcome: str
    participants: list[int]
    contributors: list[int]
    model_digest: str | None
    digests: dict[str, str]
    metrics: dict[str, float | None]
    bytes_sent: int
    leader: int
    closed_at_ms: int
    reason: str
    log_index: int


class LogEntryDocument(TypedDict):
    """One entry of a peer's log. `applied_at_ms`: that peer's wall clock; null: not applied since it started."""

    index: int
    term: int
    kind: str
    data_bytes: int
    applied_at_ms: int | None
    summary: str


class LogDocument(TypedDict):
    """A part of a peer's log, and how far it reaches. What stands before `first_index` is in the snapshot."""

    first_index: int
    last_index: int
    commit_index: int
    applied_index: int
    entries: list[LogEntryDocument]


def status_document(status: pb.StatusResponse) -> StatusDocument:
    """The answer to `Status`."""
    opened: OpenEpochDocument | None = None
    if status.open_epoch:
        opened = {
            "epoch": status.open_epoch,
            "attempt": status.open_attempt,
            "participants": list(status.open_participants),
        }
    return {
        "version": status.version,
        "cluster_id": status.cluster_id,
        "node_id": status.node_id,
        "role": status.role,
        "term": status.term,
        "leader": status.leader or None,
        "commit_index": status.commit_index,
        "applied_index": status.applied_index,
        "last_index": status.last_index,
        "first_index": status.first_index,
        "snapshot_index": status.snapshot_index,
        "outgoing": list(status.outgoing),
        "run": run_document(status.specification) if status.HasField("specification") else None,
        "run_finished": status.run_finished,
        "open_epoch": opened,
        "last_closed_epoch": status.last_closed_epoch,
        "model_digest": status.model_digest.hex() or None,
        "phase": status.phase,
        "metrics": _metrics(status.metrics),
        "message": status.message,
        "uptime_ms": status.uptime_ms,
        "leader_asked": status.node_id if status.role == "leader" else None,
        "peers": member_documents(status),
    }


def run_document(run: pb.RunSpecification) -> RunDocument:
    """The run's specification."""
    return {
        "task": run.task,
        "algorithm": run.algorithm,
        "topology": run.topology,
        "num_epochs": run.num_epochs,
        "min_participants": run.min_participants,
        "seed": run.seed,
        "local_passes": run.local_passes,
        "train_deadline_ms": run.train_deadline_ms,
        "exchange_deadline_ms": run.exchange_deadline_ms,
        "min_epoch_ms": run.min_epoch_ms,
        "max_attempts": run.max_attempts,
        "schema_digest": run.schema_digest.hex(),
        "num_elements": run.num_elements,
    }


def member_documents(status: pb.StatusResponse) -> list[MemberDocument]:
    """The roster, by node id."""
    leads = status.role == "leader"
    return [
        {
            "node_id": peer.node_id,
            "address": f"[{peer.host}]:{peer.port}" if ":" in peer.host else f"{peer.host}:{peer.port}",
            "role": peer.role,
            "is_leader": peer.node_id == status.leader,
            "responsive": peer.responsive if leads else None,
            "match_index": peer.match_index if leads else None,
            "lag": max(0, status.last_index - peer.match_index) if leads else None,
            "flow": peer.flow or None if leads else None,
            "incarnation": peer.incarnation,
            "metadata": dict(sorted(peer.metadata.items())),
        }
        for peer in sorted(status.peers, key=lambda peer: peer.node_id)
    ]


def epoch_document(record: pb.EpochRecord) -> EpochDocument:
    """One record of `FetchEpochs`."""
    return {
        "epoch": record.epoch,
        "attempt": record.attempt,
        "outcome": record.outcome,
        "participants": list(record.participants),
        "contributors": list(record.contributors),
        "model_digest": record.model_digest.hex() or None,
        "digests": {str(held.node_id): held.digest.hex() for held in record.digests},
        "metrics": _metrics(record.metrics),
        "bytes_sent": record.bytes_sent,
        "leader": record.leader,
        "closed_at_ms": record.closed_at_ms,
        "reason": record.reason,
        "log_index": record.log_index,
    }


def log_document(response: pb.FetchLogResponse) -> LogDocument:
    """The answer to `FetchLog`."""
    return {
        "first_index": response.first_index,
        "last_index": response.last_index,
        "commit_index": response.commit_index,
        "applied_index": response.applied_index,
        "entries": [
            {
                "index": entry.index,
                "term": entry.term,
                "kind": entry.kind,
                "data_bytes": entry.data_bytes,
                "applied_at_ms": entry.applied_at_ms or None,
                "summary": entry.summary,
            }
            for entry in response.entries
        ],
    }


def _metrics(metrics: Iterable[pb.Metric]) -> dict[str, float | None]:
    """By name; a number that is not finite has no place in JSON."""
    return {metric.name: metric.value if math.isfinite(metric.value) else None for metric in metrics}
