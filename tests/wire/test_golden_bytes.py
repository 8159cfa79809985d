"""What an earlier version wrote still means the same: the bytes in golden_v1.txt and golden_v2.txt are frozen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from raftgossip.wire.ledger_codec import envelope_from_bytes, envelope_to_bytes, specification_from_proto
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.raft_codec import frame_from_bytes, frames_to_bytes
from raftgossip.wire.snapshot_codec import snapshot_from_bytes, snapshot_to_bytes
from raftgossip.wire.update_codec import ExchangeHeader, encode_end
from tests.support.golden import ENVELOPES, HEADER, MESSAGES, SPECIFICATION
from tests.wire.golden_snapshots import LATER_MESSAGES, STATES
from tests.wire.golden_tokens import ENVELOPES_2, SPECIFICATION_2, STATES_2

_MESSAGES = {**MESSAGES, **LATER_MESSAGES}


def read_golden(name: str) -> dict[tuple[str, str], bytes]:
    lines = Path(__file__).with_name(name).read_text().splitlines()
    return {
        (kind, name): bytes.fromhex(text) for kind, name, text in (line.split() for line in lines if line[:1] != "#")
    }


GOLDEN, GOLDEN_2 = read_golden("golden_v1.txt"), read_golden("golden_v2.txt")


def names(kind: str, golden: Mapping[tuple[str, str], bytes] = GOLDEN) -> list[str]:
    return [name for a_kind, name in golden if a_kind == kind]


def test_every_kind_of_message_and_command_is_frozen() -> None:
    assert set(names("frame")) == set(_MESSAGES)
    assert set(names("envelope")) == set(ENVELOPES)
    assert set(names("snapshot")) == set(STATES)


@pytest.mark.parametrize("name", names("frame"))
def test_an_old_raft_frame_still_decodes(name: str) -> None:
    assert frame_from_bytes(GOLDEN["frame", name]) == ("c1", (_MESSAGES[name],))


@pytest.mark.parametrize("name", names("envelope"))
def test_an_old_envelope_still_decodes(name: str) -> None:
    assert envelope_from_bytes(GOLDEN["envelope", name]) == ENVELOPES[name]


def test_an_old_run_specification_still_decodes() -> None:
    encoded = pb.RunSpecification.FromString(GOLDEN["specification", "run"])

    assert specification_from_proto(encoded) == SPECIFICATION


def test_an_old_exchange_header_still_decodes() -> None:
    assert ExchangeHeader.decode(GOLDEN["header", "exchange"]) == HEADER


@pytest.mark.parametrize("name", names("frame"))
def test_an_old_version_can_read_the_raft_frames_of_this_one(name: str) -> None:
    assert list(frames_to_bytes("c1", [_MESSAGES[name]])) == [GOLDEN["frame", name]]


@pytest.mark.parametrize("name", [name for name in names("envelope") if name != "add_peer"])
def test_an_old_version_can_read_the_envelopes_of_this_one(name: str) -> None:
    # Not `add_peer`: protobuf promises no order for the pairs of its metadata.
    assert envelope_to_bytes(ENVELOPES[name]) == GOLDEN["envelope", name]


def test_an_old_version_can_read_the_end_record_of_this_one() -> None:
    assert encode_end(76, b"h" * 32) == GOLDEN["end", "exchange"]


@pytest.mark.parametrize("name", names("snapshot"))
def test_an_old_snapshot_still_decodes(name: str) -> None:
    assert snapshot_from_bytes(GOLDEN["snapshot", name]) == STATES[name]


@pytest.mark.parametrize("name", names("snapshot"))
def test_a_state_of_an_old_version_has_the_same_bytes_still(name: str) -> None:
    # Else nodes of both versions in one cluster would send each other parts that do not fit together.
    assert snapshot_to_bytes(STATES[name]) == GOLDEN["snapshot", name]


# --- version 2, which brought join tokens


def test_everything_of_version_2_is_frozen() -> None:
    assert set(names("envelope", GOLDEN_2)) == set(ENVELOPES_2)
    assert set(names("snapshot", GOLDEN_2)) == set(STATES_2)


@pytest.mark.parametrize("name", names("envelope", GOLDEN_2))
def test_an_envelope_of_version_2_still_decodes_and_has_the_same_bytes(name: str) -> None:
    assert envelope_from_bytes(GOLDEN_2["envelope", name]) == ENVELOPES_2[name]
    assert envelope_to_bytes(ENVELOPES_2[name]) == GOLDEN_2["envelope", name]


def test_a_run_specification_of_version_2_still_decodes() -> None:
    encoded = pb.RunSpecification.FromString(GOLDEN_2["specification", "run"])

    assert specification_from_proto(encoded) == SPECIFICATION_2


@pytest.mark.parametrize("name", names("snapshot", GOLDEN_2))
def test_a_snapshot_of_version_2_still_decodes_and_has_the_same_bytes(name: str) -> None:
    assert snapshot_from_bytes(GOLDEN_2["snapshot", name]) == STATES_2[name]
    assert snapshot_to_bytes(STATES_2[name]) == GOLDEN_2["snapshot", name]
