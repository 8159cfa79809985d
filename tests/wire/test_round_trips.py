"""Every value that crosses the wire comes back equal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftgossip.core.epoch.command import Command, Envelope, EpochRecord
from raftgossip.core.epoch.config import RunSpec
from raftgossip.core.raft.message import (
    AppendRequest,
    AppendResponse,
    Body,
    Configuration,
    Entry,
    EntryKind,
    Message,
    SnapshotChunk,
    SnapshotResponse,
)
from raftgossip.ids import MAX_NODE_ID, LogIndex, NodeId, Term
from raftgossip.wire.ledger_codec import (
    command_from_proto,
    command_to_proto,
    envelope_from_bytes,
    envelope_to_bytes,
    record_from_proto,
    record_to_proto,
    specification_from_proto,
    specification_to_proto,
)
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.raft_codec import (
    FRAME_BYTES,
    MAX_NUMBER,
    _size_bound,
    frame_from_bytes,
    frames_to_bytes,
)
from raftgossip.wire.update_codec import ExchangeHeader
from tests.support.wire_values import commands, envelopes, headers, messages, records, specifications

GRPC_LIMIT = 4 * 1024 * 1024


@given(messages)
def test_a_raft_message_comes_back_equal(message: Message) -> None:
    (frame,) = frames_to_bytes("c", [message])

    assert frame_from_bytes(frame) == ("c", (message,))


@given(st.text(max_size=20), st.lists(messages, min_size=1, max_size=5))
def test_a_frame_brings_its_cluster_and_its_messages_in_order(cluster_id: str, sent: list[Message]) -> None:
    frames = list(frames_to_bytes(cluster_id, sent))

    assert [frame_from_bytes(frame) for frame in frames] == [(cluster_id, tuple(sent))]


@given(commands)
def test_a_command_comes_back_equal(command: Command) -> None:
    encoded = command_to_proto(command).SerializeToString()

    assert command_from_proto(pb.Command.FromString(encoded)) == command


@given(envelopes)
def test_an_envelope_comes_back_equal(envelope: Envelope) -> None:
    assert envelope_from_bytes(envelope_to_bytes(envelope)) == envelope


@given(specifications)
def test_a_run_specification_comes_back_equal(specification: RunSpec) -> None:
    encoded = specification_to_proto(specification).SerializeToString()

    assert specification_from_proto(pb.RunSpecification.FromString(encoded)) == specification


@given(records)
def test_an_epoch_record_comes_back_equal(record: EpochRecord) -> None:
    encoded = record_to_proto(record).SerializeToString()

    assert record_from_proto(pb.EpochRecord.FromString(encoded)) == record


@given(headers)
def test_an_exchange_header_comes_back_equal(header: ExchangeHeader) -> None:
    data = header.encode()

    assert ExchangeHeader.decode(data) == header


def append_of(num_bytes: int, sequence: int) -> Message:
    entry = Entry(LogIndex(1), Term(1), EntryKind.COMMAND, bytes(num_bytes))
    body = AppendRequest(LogIndex(0), Term(0), (entry,), LogIndex(0), sequence)
    return Message(NodeId(1), NodeId(2), Term(1), body)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1 << 20), max_size=12))
def test_frames_are_split_by_size_and_lose_nothing(sizes: list[int]) -> None:
    sent = [append_of(size, sequence) for sequence, size in enumerate(sizes, start=1)]

    frames = list(frames_to_bytes("c", sent))

    assert [message for frame in frames for message in frame_from_bytes(frame)[1]] == sent
    assert all(len(frame) < GRPC_LIMIT for frame in frames)


def test_a_message_goes_into_the_next_frame_only_when_it_does_not_fit() -> None:
    sent = [append_of(FRAME_BYTES // 2, 1), append_of(FRAME_BYTES // 2 - 1000, 2), append_of(2000, 3)]

    frames = list(frames_to_bytes("c", sent))

    assert [len(frame_from_bytes(frame)[1]) for frame in frames] == [2, 1]


LARGEST = 2**64 - 1
MEMBERS = Configuration(
    tuple(NodeId(MAX_NODE_ID - node) for node in range(299, -1, -1)), outgoing=(NodeId(MAX_NODE_ID),)
)


@pytest.mark.parametrize(
    "body",
    [
        AppendRequest(MAX_NUMBER, MAX_NUMBER, (), MAX_NUMBER, LARGEST),
        AppendRequest(MAX_NUMBER, MAX_NUMBER, (Entry(MAX_NUMBER, MAX_NUMBER, EntryKind.NOOP, b"x" * 300),) * 9, 1, 1),
        AppendResponse(True, MAX_NUMBER, MAX_NUMBER, MAX_NUMBER, LARGEST),
        SnapshotChunk(MAX_NUMBER, MAX_NUMBER, MEMBERS, MAX_NUMBER, 2**32 - 1, 2**61, bytes(70_000), LARGEST),
        SnapshotResponse(MAX_NUMBER, MAX_NUMBER, MAX_NUMBER, LARGEST),
    ],
    ids=["heartbeat", "append", "response", "chunk", "snapshot response"],
)
def test_no_message_is_longer_than_the_frames_reckon(body: Body) -> None:
    message = Message(NodeId(MAX_NODE_ID), NodeId(MAX_NODE_ID), Term(MAX_NUMBER), body)

    (frame,) = frames_to_bytes("", [message])

    assert len(frame) <= _size_bound(body) < len(frame) + 100 + 32 * 9


def test_no_messages_make_no_frame() -> None:
    assert list(frames_to_bytes("c", [])) == []
