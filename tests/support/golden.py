"""The values behind the frozen bytes in `tests/wire/golden_v1.txt`: one of every kind, each field with its own value.

A value here never changes; a new message gets a new name and a new line in the file.
"""

from __future__ import annotations

from raftgossip.core.epoch.command import (
    AddPeer,
    CloseEpoch,
    Command,
    Envelope,
    FailedEdge,
    LinkBytes,
    OpenEpoch,
    RemovePeer,
    ReportEpoch,
    RetryExchange,
    StartRun,
)
from raftgossip.core.epoch.config import RunSpec
from raftgossip.core.raft.message import (
    AppendRequest,
    AppendResponse,
    Body,
    Entry,
    EntryKind,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftgossip.ids import Address, Epoch, Incarnation, LogIndex, NodeId, Term
from raftgossip.wire.update_codec import ExchangeHeader

SPECIFICATION = RunSpec(
    task="toy",
    algorithm="fedavg",
    topology="base",
    num_epochs=11,
    min_participants=2,
    seed=13,
    local_passes=3,
    train_deadline_ms=10_000,
    exchange_deadline_ms=4_000,
    min_epoch_ms=17,
    max_attempts=5,
    schema_digest=bytes(range(32)),
    num_elements=19,
)

_APPEND = AppendRequest(
    LogIndex(5),
    Term(2),
    (
        Entry(LogIndex(6), Term(3), EntryKind.COMMAND, b"command"),
        Entry(LogIndex(7), Term(3), EntryKind.NOOP, b""),
        Entry(LogIndex(8), Term(3), EntryKind.CONFIGURATION, b"1,2|3"),
    ),
    LogIndex(4),
    9,
)

_BODIES: dict[str, Body] = {
    "pre_vote_request": PreVoteRequest(LogIndex(5), Term(2)),
    "pre_vote_response": PreVoteResponse(True),
    "pre_vote_refusal": PreVoteResponse(False),
    "vote_request": VoteRequest(LogIndex(5), Term(2), is_transfer=True),
    "vote_response": VoteResponse(True),
    "vote_refusal": VoteResponse(False),
    "append_request": _APPEND,
    "heartbeat": AppendRequest(LogIndex(0), Term(0), (), LogIndex(0), 0),
    "append_response": AppendResponse(True, LogIndex(8), LogIndex(6), Term(2), 9),
    "timeout_now": TimeoutNow(),
}
MESSAGES = {name: Message(NodeId(1), NodeId(2), Term(3), body) for name, body in _BODIES.items()}

_COMMANDS: dict[str, Command] = {
    "start_run": StartRun(SPECIFICATION, b"i" * 32),
    "add_peer": AddPeer(
        NodeId(4), Address("10.0.0.4", 7004), Incarnation("9f2c"), (("hospital", "cleveland"), ("ward", "3")), "token"
    ),
    "remove_peer": RemovePeer(NodeId(4)),
    "open_epoch": OpenEpoch(Epoch(2), (NodeId(1), NodeId(2), NodeId(4)), b"p" * 32, NodeId(1), exact=True),
    "retry_exchange": RetryExchange(Epoch(2), 3, (NodeId(1), NodeId(2)), b"q" * 32, exact=True),
    "report_epoch": ReportEpoch(
        Epoch(2),
        3,
        NodeId(4),
        b"d" * 32,
        303,
        (("accuracy", 0.875), ("loss", 0.25)),
        (LinkBytes(NodeId(1), 100, 200),),
        (FailedEdge(NodeId(2), "broke", refused=True),),
        "late",
    ),
    "close_epoch": CloseEpoch(Epoch(2), 3, "closed", "all reported", NodeId(1), 1_700_000_000_000),
}
ENVELOPES = {name: Envelope("4/9f2c", 7, 5, command) for name, command in _COMMANDS.items()}

HEADER = ExchangeHeader(
    cluster_id="c1",
    epoch=2,
    attempt=3,
    step=1,
    sender=4,
    receiver=5,
    schema_digest=b"s" * 32,
    plan_digest=b"p" * 32,
    start=10,
    stop=29,
    mass=303.5,
    byte_count=76,
    chunk_bytes=1 << 20,
)
