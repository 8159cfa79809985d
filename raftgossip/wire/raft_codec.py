"""Raft messages to protobuf frames and back. Channels and retries are not known here.

Every command passes here several times, so frames are filled in place, and what is sent most is looked for first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from google.protobuf.message import DecodeError

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
from raftgossip.errors import ConfigError, WireError
from raftgossip.ids import MAX_NODE_ID, LogIndex, NodeId, Term, parse_node_id
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

FRAME_BYTES = 2 * 1024 * 1024
"""A message that would make a frame larger than this begins the next; gRPC refuses messages above 4 MiB, and one entry
may be 1 MiB."""
MAX_NUMBER = 2**62
"""The largest term, index or length that is taken from a peer: the store holds no more than 2**63, and terms go on
counting."""

_MESSAGE_BYTES = 96
"""No message is longer than this, what it holds of entries, snapshots and configurations not counted."""
_ENTRY_BYTES = 32
"""The same for one entry without its data."""
_NODE_BYTES = len(f"{MAX_NODE_ID},")

_Election = PreVoteRequest | PreVoteResponse | VoteRequest | VoteResponse | TimeoutNow

_COMMAND = EntryKind.COMMAND
_KINDS = {kind.value: kind for kind in EntryKind}
_KIND_TO_PROTO = {
    EntryKind.COMMAND: pb.ENTRY_COMMAND,
    EntryKind.NOOP: pb.ENTRY_NOOP,
    EntryKind.CONFIGURATION: pb.ENTRY_CONFIGURATION,
}


def frames_to_bytes(cluster_id: str, messages: Sequence[Message]) -> Iterator[bytes]:
    """Put messages of one cluster into as few frames as fit, in their order."""
    if not messages:
        return
    frame, num_bytes = pb.RaftFrame(cluster_id=cluster_id), 0
    is_alone = len(messages) == 1
    for message in messages:
        size = 0 if is_alone else _size_bound(message.body)
        if num_bytes and num_bytes + size > FRAME_BYTES:
            yield frame.SerializeToString()
            frame, num_bytes = pb.RaftFrame(cluster_id=cluster_id), 0
        _fill(frame.messages.add(), message)
        num_bytes += size
    yield frame.SerializeToString()


def frame_from_bytes(data: bytes) -> tuple[str, tuple[Message, ...]]:
    """The sender's cluster and its messages.

    Raises:
        WireError: the bytes are no frame, or a message in it makes no sense.
    """
    try:
        frame = pb.RaftFrame.FromString(data)
    except DecodeError:
        raise WireError("the bytes are not a RaftFrame") from None
    return frame.cluster_id, tuple([_message_from_proto(message) for message in frame.messages])


def _message_from_proto(encoded: pb.RaftMessage) -> Message:
    """One addressed message.

    Raises:
        WireError: a node id, a term, an index or a length is out of range, the body is missing, an entry's kind is
            unknown, or a snapshot chunk contradicts itself.
    """
    sender, receiver, term = encoded.sender, encoded.receiver, encoded.term
    if not (0 < sender <= MAX_NODE_ID and 0 < receiver <= MAX_NODE_ID):
        _refuse_node_ids(sender, receiver)
    if term > MAX_NUMBER:
        raise WireError(f"the term {term} of a Raft message is above {MAX_NUMBER}")
    return Message(NodeId(sender), NodeId(receiver), Term(term), _body_from_proto(encoded))


def _refuse_node_ids(*values: int) -> None:
    try:
        for value in values:
            parse_node_id(value)
    except ConfigError as error:
        raise WireError(f"a Raft message: {error}") from None


# --- encoding


def _size_bound(body: Body) -> int:
    """No fewer bytes than the message takes; counting them exactly would mean to encode it twice."""
    match body:
        case AppendRequest():
            return _MESSAGE_BYTES + sum([len(entry.data) + _ENTRY_BYTES for entry in body.entries])
        case SnapshotChunk():
            groups = (body.configuration.voters, body.configuration.learners, body.configuration.outgoing)
            return _MESSAGE_BYTES + len(body.data) + _NODE_BYTES * sum(map(len, groups))
        case _:
            return _MESSAGE_BYTES


def _fill(encoded: pb.RaftMessage, message: Message) -> None:
    encoded.term = message.term
    encoded.sender = message.sender
    encoded.receiver = message.receiver
    body = message.body
    match body:
        case AppendRequest():
            _fill_append(encoded.append_request, body)
        case AppendResponse():
            response = encoded.append_response
            response.success = body.success
            response.match_index = body.match_index
            response.conflict_index = body.conflict_index
            response.conflict_term = body.conflict_term
            response.sequence = body.sequence
        case ReadIndexRequest():
            encoded.read_index_request.context = body.context
        case ReadIndexResponse():
            encoded.read_index_response.context = body.context
            encoded.read_index_response.index = body.index
        case SnapshotChunk():
            _fill_chunk(encoded.snapshot_chunk, body)
        case SnapshotResponse():
            held = encoded.snapshot_response
            held.last_index = body.last_index
            held.last_term = body.last_term
            held.next_offset = body.next_offset
            held.sequence = body.sequence
        case _:
            _fill_election(encoded, body)


def _fill_election(encoded: pb.RaftMessage, body: _Election) -> None:
    match body:
        case PreVoteRequest():
            encoded.pre_vote_request.last_log_index = body.last_log_index
            encoded.pre_vote_request.last_log_term = body.last_log_term
        case PreVoteResponse():
            encoded.pre_vote_response.granted = body.granted
        case VoteRequest():
            encoded.vote_request.last_log_index = body.last_log_index
            encoded.vote_request.last_log_term = body.last_log_term
            encoded.vote_request.is_transfer = body.is_transfer
        case VoteResponse():
            encoded.vote_response.granted = body.granted
        case TimeoutNow():
            encoded.timeout_now.SetInParent()
        case _:
            assert_never(body)


def _fill_append(request: pb.AppendRequest, body: AppendRequest) -> None:
    request.previous_index = body.previous_index
    request.previous_term = body.previous_term
    request.commit_index = body.commit_index
    request.sequence = body.sequence
    add = request.entries.add
    for entry in body.entries:
        encoded = add()
        encoded.index = entry.index
        encoded.term = entry.term
        encoded.data = entry.data
        if entry.kind is not _COMMAND:
            encoded.kind = _KIND_TO_PROTO[entry.kind]


def _fill_chunk(chunk: pb.SnapshotChunk, body: SnapshotChunk) -> None:
    chunk.last_index = body.last_index
    chunk.last_term = body.last_term
    chunk.configuration = body.configuration.encode()
    chunk.total_bytes = body.total_bytes
    chunk.checksum = body.checksum
    chunk.offset = body.offset
    chunk.data = body.data
    chunk.sequence = body.sequence


# --- decoding


def _term(value: int) -> Term:
    if value > MAX_NUMBER:
        raise WireError(f"the term {value} of a Raft message is above {MAX_NUMBER}")
    return Term(value)


def _index(value: int) -> LogIndex:
    if value > MAX_NUMBER:
        raise WireError(f"the log index {value} of a Raft message is above {MAX_NUMBER}")
    return LogIndex(value)


def _body_from_proto(encoded: pb.RaftMessage) -> Body:
    kind = encoded.WhichOneof("body")
    match kind:
        case "append_request":
            return _append_from_proto(encoded.append_request)
        case "append_response":
            response = encoded.append_response
            return AppendResponse(
                response.success,
                _index(response.match_index),
                _index(response.conflict_index),
                _term(response.conflict_term),
                response.sequence,
            )
        case "read_index_request":
            return ReadIndexRequest(encoded.read_index_request.context)
        case "read_index_response":
            found = encoded.read_index_response
            return ReadIndexResponse(found.context, _index(found.index))
        case "snapshot_chunk":
            return _chunk_from_proto(encoded.snapshot_chunk)
        case "snapshot_response":
            held = encoded.snapshot_response
            if held.next_offset > MAX_NUMBER:
                raise WireError(f"{held.next_offset} bytes of a snapshot are more than {MAX_NUMBER}")
            return SnapshotResponse(_index(held.last_index), _term(held.last_term), held.next_offset, held.sequence)
        case _:
            return _election_from_proto(encoded, kind)


def _election_from_proto(encoded: pb.RaftMessage, kind: str | None) -> Body:
    match kind:
        case "pre_vote_request":
            asked = encoded.pre_vote_request
            return PreVoteRequest(_index(asked.last_log_index), _term(asked.last_log_term))
        case "pre_vote_response":
            return PreVoteResponse(encoded.pre_vote_response.granted)
        case "vote_request":
            wanted = encoded.vote_request
            return VoteRequest(_index(wanted.last_log_index), _term(wanted.last_log_term), wanted.is_transfer)
        case "vote_response":
            return VoteResponse(encoded.vote_response.granted)
        case "timeout_now":
            return TimeoutNow()
        case _:
            raise WireError("a Raft message without a body: does its sender run a newer version?")


def _append_from_proto(request: pb.AppendRequest) -> AppendRequest:
    return AppendRequest(
        _index(request.previous_index),
        _term(request.previous_term),
        _entries_from_proto(request.entries) if request.entries else (),
        _index(request.commit_index),
        request.sequence,
    )


def _entries_from_proto(encoded: Sequence[pb.RaftEntry]) -> tuple[Entry, ...]:
    entries = []
    for each in encoded:
        index, term, kind = each.index, each.term, _KINDS.get(each.kind)
        if kind is None:
            raise WireError(f"the log entry {index} is of the unknown kind {each.kind}")
        if index > MAX_NUMBER or term > MAX_NUMBER:
            raise WireError(f"the log entry {index} of term {term} has a number above {MAX_NUMBER}")
        entries.append(Entry(LogIndex(index), Term(term), kind, each.data))
    return tuple(entries)


def _chunk_from_proto(chunk: pb.SnapshotChunk) -> SnapshotChunk:
    total_bytes, offset, data = chunk.total_bytes, chunk.offset, chunk.data
    if total_bytes > MAX_NUMBER:
        raise WireError(f"a snapshot of {total_bytes} bytes; more than {MAX_NUMBER} cannot be")
    if offset + len(data) > total_bytes:
        raise WireError(f"{len(data)} bytes at {offset} of a snapshot of {total_bytes} bytes reach beyond its end")
    return SnapshotChunk(
        _index(chunk.last_index),
        _term(chunk.last_term),
        _configuration_from_bytes(chunk.configuration),
        total_bytes,
        chunk.checksum,
        offset,
        data,
        chunk.sequence,
    )


def _configuration_from_bytes(data: bytes) -> Configuration:
    try:
        configuration = Configuration.decode(data)
    except ValueError as error:
        raise WireError(f"the configuration of a snapshot: {error}") from None
    members = configuration.members
    if not configuration.voters or members[0] < 1 or members[-1] > MAX_NODE_ID:
        raise WireError(f"the configuration {data!r} of a snapshot has no voters, or ids that no node can have")
    return configuration
