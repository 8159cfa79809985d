"""Bytes from the network raise `WireError` or mean something valid; nothing else ever comes out of a decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.core.raft.message import Entry, EntryKind
from raftgossip.errors import Oversized, WireError
from raftgossip.ids import LogIndex, Term
from raftgossip.wire.ledger_codec import envelope_from_bytes, envelope_to_bytes
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.raft_codec import MAX_NUMBER, entry_to_proto, frame_from_bytes, frames_to_bytes
from raftgossip.wire.update_codec import MAX_HEADER_BYTES, ExchangeHeader
from tests.support.golden import ENVELOPES, HEADER, MESSAGES

Decode = Callable[[bytes], object]

WHOLE: dict[str, tuple[Decode, bytes]] = {
    **{f"frame {name}": (frame_from_bytes, b"".join(frames_to_bytes("c1", [m]))) for name, m in MESSAGES.items()},
    **{f"envelope {name}": (envelope_from_bytes, envelope_to_bytes(e)) for name, e in ENVELOPES.items()},
    "header": (ExchangeHeader.decode, HEADER.encode()),
}
DECODERS: tuple[Decode, ...] = (frame_from_bytes, envelope_from_bytes, ExchangeHeader.decode)


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


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sender": 0}, "node id 0"),
        ({"receiver": 0}, "node id 0"),
        ({"sender": 2**31}, "node id"),
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


def test_an_entry_of_an_unknown_kind_is_refused() -> None:
    encoded = entry_to_proto(Entry(LogIndex(1), Term(1), EntryKind.COMMAND, b""))
    encoded.kind = 7  # type: ignore[assignment] # a kind of a later version
    message = pb.RaftMessage(term=1, sender=1, receiver=2, append_request=pb.AppendRequest(entries=[encoded]))

    with pytest.raises(WireError, match="unknown kind 7"):
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
