"""Gateways' messages: what goes out comes in, parts fit into a message, and junk is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.registry import ACTIVE, SUSPECTED, Registration
from gateway.sync_codec import MAX_ANSWER_BYTES, answer_from_proto, answer_to_proto, may_be_cut
from gateway.syncing import MAX_CHANGES, Claim, ClaimChange, SyncAnswer
from raftgossip.errors import WireError
from raftgossip.ids import Address, NodeId
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.registry_builders import node

NAMES = st.text("abcdef-", min_size=1, max_size=20)
TERMS = st.integers(0, 2**64 - 1)
STAMPS = st.integers(0, 2**45)


@st.composite
def claim_changes(draw: st.DrawFn, node_id: int) -> ClaimChange:
    """A change of any kind."""
    kind, known = draw(st.sampled_from(["claim", "removal", "end"])), NodeId(node_id)
    if kind == "end":
        return ClaimChange(9, known, None)
    stamp_ms, age_ms = draw(STAMPS), draw(st.integers(0, 2**40))
    if kind == "removal":
        return ClaimChange(9, known, Claim(known, None, stamp_ms, age_ms=age_ms))
    status = draw(st.sampled_from([ACTIVE, SUSPECTED]))
    registration = Registration(
        known,
        Address(draw(NAMES.filter(lambda text: not text.startswith("-") and not text.endswith("-"))), 7),
        tuple(draw(st.lists(NAMES, max_size=3))),
        tuple(sorted(draw(st.dictionaries(NAMES, NAMES, max_size=3)).items())),
        draw(st.text("abc", max_size=9)),
        draw(st.sampled_from(["", "spiffe://f/o/1"])),
        can_wait=status == ACTIVE and draw(st.booleans()),
    )
    joined_seconds = draw(st.floats(0, 2**33))
    return ClaimChange(9, known, Claim(known, registration, stamp_ms, status, joined_seconds, age_ms))


@st.composite
def answers(draw: st.DrawFn) -> SyncAnswer:
    """A whole answer."""
    node_ids = sorted(draw(st.sets(st.integers(1, 2**31 - 1), max_size=5)))
    return SyncAnswer(
        draw(NAMES),
        draw(NAMES),
        9,
        draw(st.booleans()),
        tuple(draw(claim_changes(node_id)) for node_id in node_ids),
        draw(st.integers(0, 9)),
        draw(TERMS),
        tuple(draw(st.lists(NAMES, max_size=3))),
        tuple(draw(st.lists(NAMES, max_size=3))),
        draw(st.one_of(st.none(), st.just(NodeId(5)))),
    )


@settings(max_examples=50, deadline=None)
@given(answers())
def test_an_answer_comes_in_as_it_went_out(answer: SyncAnswer) -> None:
    response = pb.SyncRegistryResponse.FromString(answer_to_proto(answer).SerializeToString())
    read = answer_from_proto(response)
    by_id = tuple(sorted(read.changes, key=lambda change: change.node_id))
    assert by_id == answer.changes
    for name in ("gateway_id", "log_id", "version", "is_delta", "leader_id", "leader_term", "bootstrap"):
        assert getattr(read, name) == getattr(answer, name)
    assert (read.cluster_ids, read.gateway_ids) == (answer.cluster_ids, answer.gateway_ids)


def test_an_answer_that_is_too_large_ends_early_with_the_version_of_its_last_change() -> None:
    fat = tuple((f"key{number}", "x" * 1024) for number in range(32))
    claims = [Claim(NodeId(i), Registration(NodeId(i), Address("h", 1), metadata=fat), 1) for i in range(1, 301)]
    changes = tuple(ClaimChange(100 + claim.node_id, claim.node_id, claim) for claim in claims)
    response = answer_to_proto(SyncAnswer("g", "l", 999, False, changes))
    assert response.ByteSize() <= MAX_ANSWER_BYTES
    assert 0 < len(response.nodes) < 300
    assert response.registry_version == 100 + len(response.nodes)
    assert may_be_cut(response)


def test_an_answer_may_be_cut_only_if_it_is_long() -> None:
    changes = tuple(ClaimChange(i, NodeId(i), None) for i in range(1, MAX_CHANGES + 1))
    assert may_be_cut(answer_to_proto(SyncAnswer("g", "l", 9, True, changes)))
    assert not may_be_cut(answer_to_proto(SyncAnswer("g", "l", 9, True, changes[1:])))


def _response() -> pb.SyncRegistryResponse:
    claim = Claim(NodeId(1), node(1, owner="o"), 5)
    return answer_to_proto(SyncAnswer("g", "l", 9, True, (ClaimChange(9, NodeId(1), claim),)))


Spoil = Callable[[pb.SyncRegistryResponse], object]
SPOILED: list[tuple[str, Spoil]] = [
    ("gateway_id", lambda response: setattr(response, "gateway_id", "")),
    ("gateway_id", lambda response: setattr(response, "gateway_id", "x" * 65)),
    ("registry_id", lambda response: setattr(response, "registry_id", "\x1b[2J")),
    ("registry_version", lambda response: setattr(response, "registry_version", -1)),
    ("leader_id", lambda response: setattr(response, "leader_id", -4)),
    ("removed", lambda response: response.removed.append(0)),
    ("cluster_id", lambda response: response.cluster_ids.append("x" * 65)),
    ("cluster_ids", lambda response: response.cluster_ids.extend(["c"] * 65)),
    ("gateway_ids", lambda response: response.gateway_ids.extend(["c"] * 65)),
    ("node_id", lambda response: setattr(response.nodes[0].node, "node_id", 0)),
    ("status", lambda response: setattr(response.nodes[0].node, "status", "dancing")),
    ("last_seen", lambda response: setattr(response.nodes[0].node, "last_seen", float("nan"))),
    ("last_seen", lambda response: setattr(response.nodes[0].node, "last_seen", 1e15)),
    ("last_seen", lambda response: setattr(response.nodes[0].node, "last_seen", -1.0)),
    ("join_timestamp", lambda response: setattr(response.nodes[0].node, "join_timestamp", float("inf"))),
    ("port", lambda response: setattr(response.nodes[0].node, "port", 0)),
    ("owner", lambda response: setattr(response.nodes[0], "owner", "x" * 600)),
]


@pytest.mark.parametrize(("field", "spoil"), SPOILED)
def test_a_wrong_field_is_named(field: str, spoil: Spoil) -> None:
    response = _response()
    answer_from_proto(response)
    spoil(response)
    with pytest.raises(WireError, match=f"^{field}"):
        answer_from_proto(response)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 150))
def test_junk_raises_nothing_but_wire_errors(junk: bytes, place: int) -> None:
    good = _response().SerializeToString()
    for data in (junk, good[:place] + junk[:3] + good[place:], good[:place]):
        try:
            answer_from_proto(pb.SyncRegistryResponse.FromString(data))
        except (WireError, DecodeError):
            pass
