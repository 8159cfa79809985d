"""The values behind the lines of golden_v1.txt that came with snapshots and linearizable reads.

As in tests/support/golden.py, a value here never changes.
"""

from __future__ import annotations

from raftgossip.core.epoch.command import EpochRecord, OpenEpochState, RosterEntry
from raftgossip.core.epoch.ledger import Applied, LedgerState
from raftgossip.core.raft.message import (
    Body,
    Configuration,
    Message,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotChunk,
    SnapshotResponse,
)
from raftgossip.core.replica import ReplicaState
from raftgossip.core.sessions import SessionState
from raftgossip.ids import Address, Epoch, Incarnation, LogIndex, NodeId, Term
from tests.support.golden import ENVELOPES, SPECIFICATION

_JOINT = Configuration((NodeId(1), NodeId(2), NodeId(4)), (NodeId(5),), outgoing=(NodeId(1), NodeId(3)))
_BODIES: dict[str, Body] = {
    "snapshot_chunk": SnapshotChunk(LogIndex(8), Term(2), _JOINT, 20, 0xCBF43926, 11, b"123456789", 9),
    "snapshot_response": SnapshotResponse(LogIndex(8), Term(2), 11, 9),
    "read_index_request": ReadIndexRequest(2**63 + 1),
    "read_index_response": ReadIndexResponse(2**63 + 1, LogIndex(8)),
}
LATER_MESSAGES = {name: Message(NodeId(1), NodeId(2), Term(3), body) for name, body in _BODIES.items()}

_NODES = (NodeId(1), NodeId(2), NodeId(4))
_AGREED = EpochRecord(
    epoch=Epoch(1),
    attempt=2,
    outcome="closed",
    participants=_NODES,
    contributors=_NODES[:2],
    model_digest=b"m" * 32,
    digests=((NodeId(1), b"m" * 32), (NodeId(2), b"m" * 32)),
    metrics=(("accuracy", 0.875), ("loss", 0.25)),
    bytes_sent=2**64 - 1,
    leader=NodeId(1),
    closed_at_ms=1_700_000_000_000,
    reason="all reported",
    log_index=20,
)
_DIFFERING = EpochRecord(
    epoch=Epoch(2),
    attempt=1,
    outcome="closed",
    participants=_NODES,
    contributors=_NODES[:2],
    model_digest=b"m" * 32,
    digests=((NodeId(1), b"m" * 32), (NodeId(2), b"n" * 32)),
    metrics=(),
    bytes_sent=300,
    leader=NodeId(1),
    closed_at_ms=0,
    reason="",
    log_index=30,
)
_FAILED = EpochRecord(
    epoch=Epoch(3),
    attempt=1,
    outcome="failed",
    participants=_NODES,
    contributors=(),
    model_digest=b"",
    digests=(),
    metrics=(),
    bytes_sent=0,
    leader=NodeId(2),
    closed_at_ms=1_700_000_000_001,
    reason="too few",
    log_index=40,
)
_REPORT = ENVELOPES["report_epoch"].command

STATES = {
    "empty": ReplicaState(LedgerState(), ()),
    "ledger": ReplicaState(
        LedgerState(
            specification=SPECIFICATION,
            initial_digest=b"i" * 32,
            roster=(
                RosterEntry(NodeId(1), Address("10.0.0.1", 7001), Incarnation("77aa"), (), "token 1"),
                RosterEntry(
                    NodeId(4),
                    Address("fe80::4", 7004),
                    Incarnation("9f2c"),
                    (("hospital", "Zürich"), ("ward", "3")),
                    "token 4",
                ),
            ),
            departed=((NodeId(3), "token 3"), (NodeId(2), "token 2")),
            open_epoch=OpenEpochState(
                epoch=Epoch(4),
                attempt=3,
                first_participants=_NODES,
                participants=(NodeId(1), NodeId(4)),
                plan_digest=b"p" * 32,
                leader=NodeId(1),
                reports=(_REPORT,),  # type: ignore[arg-type] # the command under this name is a report
                bytes_sent=77,
                exact=False,
                lost=(NodeId(4),),
                repeated=True,
            ),
            records=(_AGREED, _DIFFERING, _FAILED),
            applied_index=50,
        ),
        (
            SessionState("9/old", 1, ((3, Applied(True, "")), (1, Applied(False, "epoch 9 is not open")))),
            SessionState("1/77aa", 12, ()),
        ),
    ),
}
