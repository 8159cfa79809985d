"""Raft messages to protobuf frames and back. Channels and retries are not known here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from google.protobuf.message import DecodeError

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
from raftgossip.errors import ConfigError, WireError
from raftgossip.ids import LogIndex, Term, parse_node_id
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

FRAME_BYTES = 2 * 1024 * 1024
"""A frame ends once it is larger than this; gRPC refuses messages above 4 MiB, and one entry may be 1 MiB."""
MAX_NUMBER = 2**62
"""The largest term or index that is taken from a peer: the store holds no more than 2**63, and terms go on counting."""


def frames_to_bytes(cluster_id: str, messages: Sequence[Message]) -> Iterator[bytes]:
    """Put messages of one cluster into as few frames as fit, in their order."""
    frame = pb.RaftFrame(cluster_id=cluster_id)
    num_bytes = 0
    for message in messages:
        encoded = message_to_proto(message)
        size = encoded.ByteSize()
        if num_bytes and num_bytes + size > FRAME_BYTES:
            yield frame.SerializeToString()
            frame, num_bytes = pb.RaftFrame(cluster_id=cluster_id), 0
        frame.messages.append(encoded)
        num_bytes += size
    if num_bytes:
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
    return frame.cluster_id, tuple(message_from_proto(message) for message in frame.messages)


def message_to_proto(message: Message) -> pb.RaftMessage:
    """One addressed message."""
    encoded = pb.RaftMessage(term=message.term, sender=message.sender, receiver=message.receiver)
    body = message.body
    match body:
        case PreVoteRequest():
            encoded.pre_vote_request.last_log_index = body.last_log_index
            encoded.pre_vote_request.last_log_term = body.last_log_term
            encoded.pre_vote_request.SetInParent()
        case PreVoteResponse():
            encoded.pre_vote_response.granted = body.granted
            encoded.pre_vote_response.SetInParent()
        case VoteRequest():
            encoded.vote_request.last_log_index = body.last_log_index
            encoded.vote_request.last_log_term = body.last_log_term
            encoded.vote_request.is_transfer = body.is_transfer
            encoded.vote_request.SetInParent()
        case VoteResponse():
            encoded.vote_response.granted = body.granted
            encoded.vote_response.SetInParent()
        case AppendRequest():
            encoded.append_request.CopyFrom(_append_to_proto(body))
        case AppendResponse():
            encoded.append_response.CopyFrom(
                pb.AppendResponse(
                    success=body.success,
                    match_index=body.match_index,
                    conflict_index=body.conflict_index,
                    conflict_term=body.conflict_term,
                    sequence=body.sequence,
                )
            )
        case TimeoutNow():
            encoded.timeout_now.SetInParent()
        case _:
            assert_never(body)
    return encoded


def message_from_proto(encoded: pb.RaftMessage) -> Message:
    """One addressed message.

    Raises:
        WireError: a node id, a term or an index is out of range, the body is missing, or an entry's kind is unknown.
    """
    try:
        sender, receiver = parse_node_id(encoded.sender), parse_node_id(encoded.receiver)
    except ConfigError as error:
        raise WireError(f"a Raft message: {error}") from None
    return Message(sender, receiver, _term(encoded.term), _body_from_proto(encoded))


def entry_to_proto(entry: Entry) -> pb.RaftEntry:
    """One log entry."""
    return pb.RaftEntry(index=entry.index, term=entry.term, kind=_KIND_TO_PROTO[entry.kind], data=entry.data)


def entry_from_proto(encoded: pb.RaftEntry) -> Entry:
    """One log entry.

    Raises:
        WireError: its kind is unknown, or its index or term is out of range.
    """
    try:
        kind = EntryKind(encoded.kind)
    except ValueError:
        raise WireError(f"the log entry {encoded.index} is of the unknown kind {encoded.kind}") from None
    return Entry(_index(encoded.index), _term(encoded.term), kind, encoded.data)


_KIND_TO_PROTO = {
    EntryKind.COMMAND: pb.ENTRY_COMMAND,
    EntryKind.NOOP: pb.ENTRY_NOOP,
    EntryKind.CONFIGURATION: pb.ENTRY_CONFIGURATION,
}


def _append_to_proto(body: AppendRequest) -> pb.AppendRequest:
    return pb.AppendRequest(
        previous_index=body.previous_index,
        previous_term=body.previous_term,
        entries=[entry_to_proto(entry) for entry in body.entries],
        commit_index=body.commit_index,
        sequence=body.sequence,
    )


def _term(value: int) -> Term:
    if value > MAX_NUMBER:
        raise WireError(f"the term {value} of a Raft message is above {MAX_NUMBER}")
    return Term(value)


def _index(value: int) -> LogIndex:
    if value > MAX_NUMBER:
        raise WireError(f"the log index {value} of a Raft message is above {MAX_NUMBER}")
    return LogIndex(value)


def _body_from_proto(encoded: pb.RaftMessage) -> Body:
    match encoded.WhichOneof("body"):
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
        case "append_request":
            request = encoded.append_request
            return AppendRequest(
                _index(request.previous_index),
                _term(request.previous_term),
                tuple(entry_from_proto(entry) for entry in request.entries),
                _index(request.commit_index),
                request.sequence,
            )
        case "append_response":
            response = encoded.append_response
            return AppendResponse(
                response.success,
                _index(response.match_index),
                _index(response.conflict_index),
                _term(response.conflict_term),
                response.sequence,
            )
        case "timeout_now":
            return TimeoutNow()
        case _:
            raise WireError("a Raft message without a body: does its sender run a newer version?")
