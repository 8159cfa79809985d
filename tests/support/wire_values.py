"""Hypothesis strategies for everything that crosses the wire, within the ranges that the wire promises to carry."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from raftgossip.core.epoch.command import (
    AddPeer,
    CloseEpoch,
    Command,
    Envelope,
    EpochRecord,
    FailedEdge,
    LinkBytes,
    OpenEpoch,
    OpenEpochState,
    RemovePeer,
    ReportEpoch,
    RetryExchange,
    RosterEntry,
    StartRun,
)
from raftgossip.core.epoch.config import RunSpec
from raftgossip.core.epoch.ledger import Applied, LedgerState
from raftgossip.core.raft.message import (
    AppendRequest,
    AppendResponse,
    Body,
    Configuration,
    Entry,
    EntryKind,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotChunk,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftgossip.core.replica import ReplicaState
from raftgossip.core.sessions import SessionState
from raftgossip.ids import MAX_NODE_ID, Address, Epoch, Incarnation, LogIndex, NodeId, Term
from raftgossip.wire.raft_codec import MAX_NUMBER
from raftgossip.wire.update_codec import ExchangeHeader

uint32 = st.integers(0, 2**32 - 1)
uint64 = st.integers(0, 2**64 - 1)
terms = st.integers(0, MAX_NUMBER).map(Term)
indices = st.integers(0, MAX_NUMBER).map(LogIndex)
node_ids = st.integers(1, MAX_NODE_ID).map(NodeId)
epochs = uint64.map(Epoch)
texts = st.text(max_size=30)
"""Any text that UTF-8 can carry; hypothesis leaves out lone surrogates for us."""
words = st.text(min_size=1, max_size=30)
digests = st.binary(max_size=40)
some_nodes = st.lists(uint32.map(NodeId), max_size=6).map(tuple)
metrics = st.lists(st.tuples(texts, st.floats(allow_nan=False)), max_size=4).map(tuple)
metadata = st.dictionaries(texts, texts, max_size=4).map(lambda table: tuple(sorted(table.items())))
addresses = st.builds(
    Address,
    st.text(min_size=1, max_size=20).filter(lambda host: host == "".join(host.split())),
    st.integers(1, 65535),
)

entries = st.builds(Entry, indices, terms, st.sampled_from(EntryKind), st.binary(max_size=40))
lengths = st.integers(0, MAX_NUMBER)


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """Somebody votes; a learner does not, unless it did before a joint change."""
    members = draw(st.sets(node_ids, min_size=1, max_size=8))
    voters = draw(st.sets(st.sampled_from(sorted(members)), min_size=1))
    outgoing = draw(st.sets(node_ids, max_size=3))
    return Configuration(tuple(sorted(voters)), tuple(sorted(members - voters)), tuple(sorted(outgoing)))


@st.composite
def chunks(draw: st.DrawFn) -> SnapshotChunk:
    """A part that lies within its snapshot."""
    data, offset = draw(st.binary(max_size=40)), draw(st.integers(0, MAX_NUMBER - 40))
    total_bytes = draw(st.integers(offset + len(data), MAX_NUMBER))
    last_index, last_term = draw(indices), draw(terms)
    configuration, checksum, sequence = draw(configurations()), draw(uint32), draw(uint64)
    return SnapshotChunk(last_index, last_term, configuration, total_bytes, checksum, offset, data, sequence)


bodies: st.SearchStrategy[Body] = st.one_of(
    st.builds(PreVoteRequest, indices, terms),
    st.builds(PreVoteResponse, st.booleans()),
    st.builds(VoteRequest, indices, terms, st.booleans()),
    st.builds(VoteResponse, st.booleans()),
    st.builds(AppendRequest, indices, terms, st.lists(entries, max_size=4).map(tuple), indices, uint64),
    st.builds(AppendResponse, st.booleans(), indices, indices, terms, uint64),
    st.just(TimeoutNow()),
    chunks(),
    st.builds(SnapshotResponse, indices, terms, lengths, uint64),
    st.builds(ReadIndexRequest, uint64),
    st.builds(ReadIndexResponse, uint64, indices),
)
messages = st.builds(Message, node_ids, node_ids, terms, bodies)

specifications = st.builds(
    RunSpec,
    task=texts,
    algorithm=texts,
    topology=texts,
    num_epochs=uint64,
    min_participants=st.integers(1, 2**32 - 1),
    seed=uint64,
    local_passes=st.integers(1, 2**32 - 1),
    train_deadline_ms=st.integers(1, 2**64 - 1),
    exchange_deadline_ms=st.integers(1, 2**64 - 1),
    min_epoch_ms=uint64,
    max_attempts=st.integers(1, 2**32 - 1),
    schema_digest=st.binary(min_size=32, max_size=32),
    num_elements=st.integers(1, 2**64 - 1),
    requires_token=st.booleans(),
)
reports = st.builds(
    ReportEpoch,
    epoch=epochs,
    attempt=uint32,
    node_id=node_ids,
    digest=digests,
    num_samples=uint64,
    metrics=metrics,
    links=st.lists(st.builds(LinkBytes, node_ids, uint64, uint64), max_size=3).map(tuple),
    failed_edges=st.lists(st.builds(FailedEdge, node_ids, texts, st.booleans()), max_size=3).map(tuple),
    error=texts,
)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(StartRun, specifications, digests),
    st.builds(AddPeer, node_ids, addresses, texts.map(Incarnation), metadata, texts, texts, uint64),
    st.builds(RemovePeer, node_ids),
    st.builds(OpenEpoch, epochs, some_nodes, digests, node_ids, st.booleans()),
    st.builds(RetryExchange, epochs, uint32, some_nodes, digests, st.booleans()),
    reports,
    st.builds(CloseEpoch, epochs, uint32, texts, texts, node_ids, uint64),
)
envelopes = st.builds(Envelope, words, st.integers(1, 2**64 - 1), uint64, commands)
records = st.builds(
    EpochRecord,
    epoch=epochs,
    attempt=uint32,
    outcome=texts,
    participants=some_nodes,
    contributors=some_nodes,
    model_digest=digests,
    digests=st.lists(st.tuples(node_ids, digests), max_size=3).map(tuple),
    metrics=metrics,
    bytes_sent=uint64,
    leader=node_ids,
    closed_at_ms=uint64,
    reason=texts,
    log_index=uint64,
)
roster_entries = st.builds(
    RosterEntry,
    node_ids,
    addresses,
    texts.map(Incarnation),
    st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    texts,
)
answers = st.dictionaries(st.integers(3, 2**64 - 1), st.builds(Applied, st.booleans(), texts), max_size=4).map(
    lambda table: tuple(table.items())
)
sessions = st.builds(SessionState, words, st.integers(1, 3), answers)


@st.composite
def replica_states(draw: st.DrawFn) -> ReplicaState:
    """Any state that does not contradict itself, though no commands may lead to it."""
    ended = draw(st.lists(records, max_size=3))
    specification = draw(st.none() | specifications)
    peers = draw(st.lists(roster_entries, max_size=4, unique_by=lambda entry: entry.node_id))
    present = {entry.node_id for entry in peers}
    gone = st.tuples(node_ids.filter(lambda node_id: node_id not in present), texts)
    opened = st.builds(
        OpenEpochState,
        epoch=st.just(Epoch(len(ended) + 1)),
        attempt=uint32,
        first_participants=some_nodes,
        participants=some_nodes,
        plan_digest=digests,
        leader=node_ids,
        reports=st.lists(reports, max_size=2).map(tuple),
        bytes_sent=uint64,
        exact=st.booleans(),
        lost=some_nodes,
        repeated=st.booleans(),
    )
    ledger = LedgerState(
        specification=specification,
        initial_digest=draw(digests),
        roster=tuple(sorted(peers, key=lambda entry: entry.node_id)),
        departed=tuple(draw(st.lists(gone, max_size=3, unique_by=lambda pair: pair[0]))),
        open_epoch=draw(st.none() | opened) if specification is not None else None,
        records=tuple(replace(record, epoch=Epoch(epoch)) for epoch, record in enumerate(ended, start=1)),
        applied_index=draw(uint64),
        used_tokens=tuple(draw(st.dictionaries(words, uint64, max_size=3)).items()),
    )
    return ReplicaState(ledger, tuple(draw(st.lists(sessions, max_size=3, unique_by=lambda each: each.client))))


headers = st.builds(
    ExchangeHeader,
    cluster_id=texts,
    epoch=uint64,
    attempt=uint32,
    step=uint32,
    sender=uint32,
    receiver=uint32,
    schema_digest=digests,
    plan_digest=digests,
    start=uint64,
    stop=uint64,
    mass=st.floats(allow_nan=False),
    byte_count=uint64,
    chunk_bytes=uint32,
    codec=texts,
)
