"""Bytes from the network raise `WireError` or mean something valid; nothing else ever comes out of a decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.errors import Oversized, WireError
from raftgossip.wire.ledger_codec import envelope_from_bytes, envelope_to_bytes
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.raft_codec import MAX_NUMBER, frame_from_bytes, frames_to_bytes
from raftgossip.wire.snapshot_codec import snapshot_from_bytes, snapshot_to_bytes
from raftgossip.wire.update_codec import MAX_HEADER_BYTES, ExchangeHeader
from tests.support.golden import ENVELOPES, HEADER, MESSAGES
from tests.wire.golden_snapshots import LATER_MESSAGES, STATES

Decode = Callable[[bytes], object]

_MESSAGES = {**MESSAGES, **LATER_MESSAGES}
WHOLE: dict[str, tuple[Decode, bytes]] = {
    **{f"frame {name}": (frame_from_bytes, b"".join(frames_to_bytes("c1", [m]))) for name, m in _MESSAGES.items()},
    **{f"envelope {name}": (envelope_from_bytes, envelope_to_bytes(e)) for name, e in ENVELOPES.items()},
    "header": (ExchangeHeader.decode, HEADER.encode()),
    "snapshot": (snapshot_from_bytes, snapshot_to_bytes(STATES["ledger"])),
}
DECODERS: tuple[Decode, ...] = (frame_from_bytes, envelope_from_bytes, ExchangeHeader.decode, snapshot_from_bytes)


def decodes(decode: Decode, data: bytes) -> bool:
    """Whether it means something; any error but a `WireError` goes through and fails the test."""
    try:
        decode(data)
    except WireError:
        return False
    return True


def flipped(data: bytes) -> Iterator[bytes]:
    for offset in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[offset] ^= 1 << bit
            yield bytes(damaged)


@pytest.mark.parametrize("name", WHOLE)
def test_a_message_cut_at_any_byte_raises_only_wire_errors(name: str) -> None:
    decode, data = WHOLE[name]

    assert decodes(decode, data)
    assert {decodes(decode, data[:length]) for length in range(len(data))} >= {False}


@pytest.mark.parametrize("name", WHOLE)
def test_a_message_with_any_bit_flipped_raises_only_wire_errors(name: str) -> None:
    decode, data = WHOLE[name]

    assert {decodes(decode, damaged) for damaged in flipped(data)} >= {False}


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.binary(max_size=200))
def test_random_bytes_raise_only_wire_errors(decode: Decode, data: bytes) -> None:
    decodes(decode, data)


@given(frame=st.builds(lambda body: b"\x12" + bytes([len(body)]) + body, st.binary(max_size=120)))
def test_random_bytes_in_the_place_of_a_raft_message_raise_only_wire_errors(frame: bytes) -> None:
    decodes(frame_from_bytes, frame)


@given(command=st.binary(max_size=120))
def test_random_bytes_in_the_place_of_a_command_raise_only_wire_errors(command: bytes) -> None:
    decodes(envelope_from_bytes, b"\x0a\x01c\x10\x01\x22" + bytes([len(command)]) + command)


@given(record=st.binary(max_size=120))
def test_random_bytes_in_the_place_of_an_ended_epoch_raise_only_wire_errors(record: bytes) -> None:
    decodes(snapshot_from_bytes, b"\x08\x01\x42" + bytes([len(record)]) + record)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sender": 0}, "node id 0"),
        ({"receiver": 0}, "node id 0"),
        ({"sender": 2**31}, "node id"),
        ({"receiver": 2**31}, "node id"),
        ({"term": MAX_NUMBER + 1}, "term"),
        ({"timeout_now": None}, "without a body"),
    ],
)
def test_a_raft_message_with_a_value_out_of_range_is_refused(changes: dict[str, int | None], reason: str) -> None:
    encoded = pb.RaftMessage(term=1, sender=1, receiver=2, timeout_now=pb.TimeoutNow())
    for key, value in changes.items():
        if value is None:
            encoded.ClearField(key)
        else:
            setattr(encoded, key, value)

    with pytest.raises(WireError, match=reason):
        frame_from_bytes(pb.RaftFrame(cluster_id="c", messages=[encoded]).SerializeToString())


NUMBERS = ["previous_index", "previous_term", "commit_index"]


@pytest.mark.parametrize("key", NUMBERS)
def test_an_append_with_a_number_that_no_disk_holds_is_refused(key: str) -> None:
    append = pb.AppendRequest()
    setattr(append, key, MAX_NUMBER + 1)
    encoded = pb.RaftMessage(term=1, sender=1, receiver=2, append_request=append)

    with pytest.raises(WireError, match="above"):
        frame_from_bytes(pb.RaftFrame(messages=[encoded]).SerializeToString())


@pytest.mark.parametrize("encoded", [pb.RaftEntry(index=2**64 - 1, term=1), pb.RaftEntry(index=1, term=2**63)])
def test_an_entry_with_a_number_that_no_disk_holds_is_refused(encoded: pb.RaftEntry) -> None:
    message = pb.RaftMessage(term=1, sender=1, receiver=2, append_request=pb.AppendRequest(entries=[encoded]))

    with pytest.raises(WireError, match="above"):
        frame_from_bytes(pb.RaftFrame(messages=[message]).SerializeToString())


@pytest.mark.parametrize("kind", [3, 7, -1])
def test_an_entry_of_an_unknown_kind_is_refused(kind: int) -> None:
    encoded = pb.RaftEntry(index=1, term=1)
    encoded.kind = kind  # type: ignore[assignment] # a kind of a later version
    message = pb.RaftMessage(term=1, sender=1, receiver=2, append_request=pb.AppendRequest(entries=[encoded]))

    with pytest.raises(WireError, match=f"unknown kind {kind}"):
        frame_from_bytes(pb.RaftFrame(messages=[message]).SerializeToString())


CHUNK = {
    "last_index": 8,
    "last_term": 2,
    "configuration": b"1,2|3",
    "total_bytes": 20,
    "offset": 11,
    "data": b"123456789",
}


def chunk_frame(**changes: int | bytes) -> bytes:
    """A frame with one snapshot chunk, sound but for these changes."""
    chunk = pb.SnapshotChunk(**{**CHUNK, **changes})  # type: ignore[arg-type]
    return pb.RaftFrame(
        messages=[pb.RaftMessage(term=3, sender=1, receiver=2, snapshot_chunk=chunk)]
    ).SerializeToString()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"offset": 0},
        {"data": b""},
        {"data": b"", "offset": 20},
        {"data": b"", "offset": 0, "total_bytes": 0},
        {"configuration": b"1|", "last_index": MAX_NUMBER, "last_term": MAX_NUMBER, "total_bytes": MAX_NUMBER},
        {"configuration": b"1,2147483647|3|1,4"},
    ],
)
def test_a_snapshot_chunk_within_its_snapshot_is_taken(changes: dict[str, int | bytes]) -> None:
    assert decodes(frame_from_bytes, chunk_frame(**changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"last_index": MAX_NUMBER + 1}, "log index"),
        ({"last_term": MAX_NUMBER + 1}, "term"),
        ({"total_bytes": MAX_NUMBER + 1}, "cannot be"),
        ({"offset": 12}, "beyond its end"),
        ({"offset": 2**64 - 1}, "beyond its end"),
        ({"total_bytes": 19}, "beyond its end"),
        ({"total_bytes": 0, "offset": 0}, "beyond its end"),
        ({"total_bytes": 0, "data": b""}, "beyond its end"),
        ({"configuration": b""}, "configuration"),
        ({"configuration": b"1,2"}, "configuration"),
        ({"configuration": b"1|2|3|4"}, "configuration"),
        ({"configuration": b"2,1|"}, "configuration"),
        ({"configuration": b"1,1|"}, "configuration"),
        ({"configuration": b"1,2|2"}, "configuration"),
        ({"configuration": b"1,x|"}, "configuration"),
        ({"configuration": "ä|".encode()}, "configuration"),
        ({"configuration": b"|"}, "no voters"),
        ({"configuration": b"|1"}, "no voters"),
        ({"configuration": b"0,1|"}, "no node can have"),
        ({"configuration": b"-1,1|"}, "no node can have"),
        ({"configuration": b"1|2147483648"}, "no node can have"),
    ],
)
def test_a_snapshot_chunk_that_cannot_be_is_refused(changes: dict[str, int | bytes], reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        frame_from_bytes(chunk_frame(**changes))


@pytest.mark.parametrize(
    "body",
    [
        {"snapshot_response": pb.SnapshotResponse(last_index=MAX_NUMBER + 1)},
        {"snapshot_response": pb.SnapshotResponse(last_term=MAX_NUMBER + 1)},
        {"snapshot_response": pb.SnapshotResponse(next_offset=MAX_NUMBER + 1)},
        {"read_index_response": pb.ReadIndexResponse(index=MAX_NUMBER + 1)},
    ],
)
def test_an_answer_with_a_number_that_no_disk_holds_is_refused(body: dict[str, pb.SnapshotResponse]) -> None:
    message = pb.RaftMessage(term=1, sender=1, receiver=2, **body)

    with pytest.raises(WireError):
        frame_from_bytes(pb.RaftFrame(messages=[message]).SerializeToString())


@pytest.mark.parametrize("changes", [{"client": ""}, {"sequence": 0}, {"command": None}])
def test_an_envelope_without_a_part_that_it_needs_is_refused(changes: dict[str, object]) -> None:
    encoded = pb.Envelope.FromString(envelope_to_bytes(ENVELOPES["remove_peer"]))
    for key in changes:
        encoded.ClearField(key)

    with pytest.raises(WireError):
        envelope_from_bytes(encoded.SerializeToString())


@pytest.mark.parametrize(
    "command",
    [
        pb.Command(add_peer=pb.AddPeer(node_id=1, host="", port=1)),
        pb.Command(add_peer=pb.AddPeer(node_id=1, host="a b", port=1)),
        pb.Command(add_peer=pb.AddPeer(node_id=1, host="a", port=0)),
        pb.Command(add_peer=pb.AddPeer(node_id=1, host="a", port=2**31)),
        pb.Command(start_run=pb.StartRun()),
    ],
)
def test_an_envelope_whose_values_are_out_of_range_is_the_senders_fault(command: pb.Command) -> None:
    # WireError, not ConfigError: the operator of this node did nothing wrong.
    with pytest.raises(WireError):
        envelope_from_bytes(pb.Envelope(client="c", sequence=1, command=command).SerializeToString())


def test_a_header_that_is_too_long_is_refused_unread() -> None:
    with pytest.raises(Oversized, match=str(MAX_HEADER_BYTES + 1)):
        ExchangeHeader.decode(bytes(MAX_HEADER_BYTES + 1))
