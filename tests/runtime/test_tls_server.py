"""The server with certificates: who gets in, who may call what, and for whom a caller may speak."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from raftgossip.ids import NodeId
from raftgossip.runtime.grpc_gate import MAX_STREAMS
from raftgossip.runtime.guard import CALL_BURST
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role
from raftgossip.trust.policy import RIGHTS
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.raft_codec import frames_to_bytes
from raftgossip.wire.status import RETRY_KEY
from tests.support.exchange import header
from tests.support.golden import MESSAGES
from tests.support.keys import make_keys
from tests.support.secured import (
    BAD_CERTIFICATES,
    ShiftedClock,
    bad_certificate,
    in_role,
    peer_identity,
    peer_of,
    revocation_list,
    shown_by,
)
from tests.support.served_peer import ServedPeer, served_peer

STREAMS = {"Raft", "Exchange"}
METHODS = sorted(method.rpartition("/")[2] for method in RIGHTS if method.startswith("/PeerService/"))
CHECK_S = 0.05
ONE, THREE = peer_identity(1), peer_identity(3)
GONE = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return make_keys(tmp_path)


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
def served(folder: KeyFolder, clock: ShiftedClock) -> Iterator[ServedPeer]:
    """Node 2; node 1 is in its roster."""
    credentials = peer_of(folder, 2)
    with served_peer(
        credentials=credentials, add_revocations=folder.add_revocations, clock=clock, check_s=CHECK_S
    ) as served:
        served.peer.server_names[NodeId(1)] = ONE.server_name
        yield served
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("grpc", "exchange"))] == []


def ended(channel: grpc.Channel, method: str, *frames: bytes, timeout_s: float = 10) -> tuple[grpc.StatusCode, str]:
    """How a call ends that brings these messages and says no more."""
    path = f"/PeerService/{method}"
    if method in STREAMS:
        call = channel.stream_stream(path)(iter(frames), timeout=timeout_s)
    elif method == "FetchModel":
        call = channel.unary_stream(path)(frames[0] if frames else b"", timeout=timeout_s)
    else:
        unary = channel.unary_unary(path).future(frames[0] if frames else b"", timeout=timeout_s)
        return unary.code(), unary.details() or ""
    try:
        for _ in call:
            pass
    except grpc.RpcError:
        pass
    return call.code(), call.details() or ""


@contextmanager
def open_stream(channel: grpc.Channel, method: str, *frames: bytes) -> Iterator[grpc.Call]:
    """A stream that has begun with these messages and goes on."""
    mail: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    for frame in frames:
        mail.put(frame)
    call = channel.stream_stream(f"/PeerService/{method}")(iter(mail.get, None), timeout=60)
    try:
        yield call
    finally:
        mail.put(None)
        call.cancel()


def frame_of(sender: int) -> bytes:
    (frame,) = frames_to_bytes("c1", [replace(MESSAGES["heartbeat"], sender=NodeId(sender))])
    return frame


def join(**changes: object) -> bytes:
    values: dict[str, object] = {"node_id": 1, "host": "10.0.0.4", "port": 7004, "incarnation": "a", **changes}
    return pb.JoinRequest(**values).SerializeToString()  # type: ignore[arg-type]


PROPOSAL = pb.ProposeRequest(cluster_id="c1", envelope=b"e").SerializeToString()

# --- who gets in


def test_a_neighbour_with_its_certificate_is_known_by_name(served: ServedPeer, folder: KeyFolder) -> None:
    with shown_by(folder, Role.PEER, "1").channel(served.address) as channel:
        assert ended(channel, "Propose", PROPOSAL)[0] is grpc.StatusCode.OK
        assert ended(channel, "Raft", frame_of(1))[0] is grpc.StatusCode.OK

    (proposer,) = served.peer.proposers
    assert proposer.identity == ONE and len(proposer.key_digest) == 32
    assert served.peer.wait_for(lambda delivered: len(delivered) == 1)


@pytest.mark.parametrize("what", BAD_CERTIFICATES)
def test_nobody_gets_in_with_a_bad_certificate(
    served: ServedPeer, folder: KeyFolder, tmp_path: Path, what: str
) -> None:
    shown = bad_certificate(folder, what, tmp_path)
    served.credentials.refresh()
    with shown.channel(served.address) as channel:
        for method in ("Propose", "Raft", "Exchange", "FetchModel"):
            code, details = ended(channel, method, PROPOSAL)
            assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED), (method, details)

    assert served.peer.envelopes == [] and served.peer.delivered == []


def test_nobody_gets_in_without_tls(served: ServedPeer) -> None:
    with grpc.insecure_channel(str(served.address)) as channel:
        assert ended(channel, "Status")[0] is grpc.StatusCode.UNAVAILABLE


def test_a_dialler_that_wants_another_node_does_not_talk_to_this_one(served: ServedPeer, folder: KeyFolder) -> None:
    with shown_by(folder, Role.PEER, "1").channel(served.address, THREE.server_name) as channel:
        assert ended(channel, "Status")[0] is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_that_expires_or_is_revoked_ends_what_an_open_connection_may(
    served: ServedPeer, folder: KeyFolder, clock: ShiftedClock
) -> None:
    shown = shown_by(folder, Role.PEER, "1")
    with shown.channel(served.address) as channel:
        assert ended(channel, "Status")[0] is grpc.StatusCode.OK
        clock.shift_s = 2 * 86_400
        code, details = ended(channel, "Status")
        assert code is grpc.StatusCode.UNAUTHENTICATED and "expired" in details
        clock.shift_s = 0
        assert ended(channel, "Status")[0] is grpc.StatusCode.OK
        folder.add_revocations(revocation_list(folder, shown, 1))
        served.credentials.refresh()
        code, details = ended(channel, "Status")
        assert code is grpc.StatusCode.UNAUTHENTICATED and "revoked" in details


# --- who may call what


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_call_what_the_table_gives_it_and_nothing_else(
    served: ServedPeer, folder: KeyFolder, role: Role
) -> None:
    with in_role(folder, role).channel(served.address) as channel:
        for method in METHODS:
            code, details = ended(channel, method)
            is_refused = code is grpc.StatusCode.PERMISSION_DENIED and "method-by-role" in details
            assert is_refused is (role not in RIGHTS[f"/PeerService/{method}"]), (method, code, details)
            assert code not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED)


@pytest.mark.parametrize("method", METHODS)
def test_a_node_that_was_taken_out_may_only_ask_to_come_back(
    served: ServedPeer, folder: KeyFolder, method: str
) -> None:
    served.peer.removed.add(ONE.uri)
    with shown_by(folder, Role.PEER, "1").channel(served.address) as channel:
        code, details = ended(channel, method, join() if method == "Join" else b"")

    if method == "Join":
        assert code is grpc.StatusCode.OK
    else:
        assert code is grpc.StatusCode.PERMISSION_DENIED, details


@pytest.mark.parametrize(
    ("role", "name", "code"),
    [
        (Role.OPERATOR, "alice", grpc.StatusCode.OK),
        (Role.PEER, "2", grpc.StatusCode.OK),
        (Role.PEER, "1", grpc.StatusCode.PERMISSION_DENIED),
    ],
)
def test_a_node_leaves_when_an_operator_or_it_itself_says_so(
    served: ServedPeer, folder: KeyFolder, role: Role, name: str, code: grpc.StatusCode
) -> None:
    with shown_by(folder, role, name).channel(served.address) as channel:
        assert ended(channel, "Leave")[0] is code


# --- for whom a caller may speak


def test_raft_messages_of_another_node_end_the_stream_and_are_not_delivered(
    served: ServedPeer, folder: KeyFolder
) -> None:
    with shown_by(folder, Role.PEER, "1").channel(served.address) as channel:
        code, details = ended(channel, "Raft", frame_of(1), frame_of(3), frame_of(1))

    assert code is grpc.StatusCode.PERMISSION_DENIED and "own-messages" in details
    assert served.peer.wait_for(lambda delivered: len(delivered) == 1)
    assert [message.sender for message in served.peer.delivered] == [1]


def test_an_exchange_in_another_nodes_name_is_denied(served: ServedPeer, folder: KeyFolder) -> None:
    with shown_by(folder, Role.PEER, "1").channel(served.address) as channel:
        code, details = ended(channel, "Exchange", header(sender=3))

    assert code is grpc.StatusCode.PERMISSION_DENIED and "own-node" in details


def test_a_newcomer_is_who_its_connection_says_whatever_it_claims(served: ServedPeer, folder: KeyFolder) -> None:
    shown = shown_by(folder, Role.PEER, "1")
    with shown.channel(served.address) as channel:
        claims = {"owner": "o", "join_token": "v1.token"}
        assert ended(channel, "Join", join(**claims))[0] is grpc.StatusCode.OK

    (ask,) = served.peer.asks
    assert (ask.owner, ask.identity, ask.join_token) == (f"{ONE.uri}#o", ONE.uri, "v1.token")
    assert len(ask.key_digest) == 32


@pytest.mark.parametrize("changes", [{"node_id": 3}, {"node_id": 3, "forwarded": True}])
def test_a_newcomer_with_another_nodes_id_is_denied(
    served: ServedPeer, folder: KeyFolder, changes: dict[str, object]
) -> None:
    with shown_by(folder, Role.PEER, "1").channel(served.address) as channel:
        code, details = ended(channel, "Join", join(**changes))

    assert code is grpc.StatusCode.PERMISSION_DENIED and "own-node" in details
    assert served.peer.asks == []


@pytest.mark.parametrize(
    "changes",
    [
        {"incarnation": "a" * 257},
        {"host": "h" * 257},
        {"task": "t" * 257},
        {"metadata": {str(number): "" for number in range(33)}},
        {"metadata": {"site": "s" * 1025}},
        {"metadata": {"k" * 65: ""}},
    ],
)
def test_a_newcomer_cannot_fill_the_ledger(served: ServedPeer, folder: KeyFolder, changes: dict[str, object]) -> None:
    with shown_by(folder, Role.PEER, "1").channel(served.address) as channel:
        code, _ = ended(channel, "Join", join(**changes))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert served.peer.asks == []


# --- streams that stay open


@pytest.mark.parametrize("why", ["expired", "revoked", "taken out"])
@pytest.mark.parametrize("method", ["Raft", "Exchange"])
def test_an_open_stream_ends_with_its_callers_right_to_be_here(
    served: ServedPeer, folder: KeyFolder, clock: ShiftedClock, method: str, why: str
) -> None:
    shown = shown_by(folder, Role.PEER, "1")
    first = frame_of(1) if method == "Raft" else header(sender=1)
    with shown.channel(served.address) as channel, open_stream(channel, method, first) as call:
        if method == "Raft":
            assert served.peer.wait_for(lambda delivered: len(delivered) == 1)
        match why:
            case "expired":
                clock.shift_s = 2 * 86_400
            case "revoked":
                folder.add_revocations(revocation_list(folder, shown, 1))
                served.credentials.refresh()
            case "taken out":
                served.peer.removed.add(ONE.uri)
        assert call.code() in GONE
        assert call.code() is GONE[why == "taken out"]


def test_the_oldest_raft_stream_of_a_caller_makes_room_for_the_newest(served: ServedPeer, folder: KeyFolder) -> None:
    with shown_by(folder, Role.PEER, "1").channel(served.address) as channel, open_stream(channel, "Raft") as oldest:
        oldest.initial_metadata()
        for _ in range(MAX_STREAMS["Raft"] - 1):
            assert ended(channel, "Raft", frame_of(1))[0] is grpc.StatusCode.OK
        assert oldest.is_active()
        calls = [channel.stream_stream("/PeerService/Raft")(iter(queue.SimpleQueue().get, None), timeout=60)]
        for _ in range(MAX_STREAMS["Raft"] - 1):
            calls.append(channel.stream_stream("/PeerService/Raft")(iter(queue.SimpleQueue().get, None), timeout=60))
        assert oldest.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in calls:
            call.initial_metadata()
            call.cancel()


def test_exchanges_of_one_caller_do_not_take_all_places(served: ServedPeer, folder: KeyFolder) -> None:
    with shown_by(folder, Role.PEER, "1").channel(served.address) as channel:
        calls = [
            channel.stream_stream("/PeerService/Exchange")(iter(queue.SimpleQueue().get, None), timeout=60)
            for _ in range(MAX_STREAMS["Exchange"] + 1)
        ]
        refused = queue.SimpleQueue[grpc.Call]()
        for call in calls:
            call.add_callback(lambda call=call: refused.put(call))
        assert refused.get(timeout=10).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert sum(call.is_active() for call in calls) == MAX_STREAMS["Exchange"]
        for call in calls:
            call.cancel()


def test_a_model_is_sent_to_a_neighbour(served: ServedPeer, folder: KeyFolder) -> None:
    served.peer.models[b"d"] = np.arange(600_000, dtype=np.float32)
    request = pb.FetchModelRequest(cluster_id="c1", digest=b"d").SerializeToString()
    with shown_by(folder, Role.PEER, "1").channel(served.address) as channel:
        chunks = [pb.ModelChunk.FromString(data) for data in channel.unary_stream("/PeerService/FetchModel")(request)]

    assert b"".join(chunk.data for chunk in chunks) == served.peer.models[b"d"].tobytes()


# --- how often


def test_a_caller_that_calls_without_end_is_told_when_to_come_again_and_the_others_are_served(
    served: ServedPeer, folder: KeyFolder
) -> None:
    with (
        shown_by(folder, Role.PEER, "1").channel(served.address) as greedy,
        shown_by(folder, Role.OPERATOR, "alice").channel(served.address) as modest,
    ):
        status = greedy.unary_unary("/PeerService/Status")
        for _ in range(20 * CALL_BURST):
            call = status.future(b"", timeout=10)
            if call.code() is not grpc.StatusCode.OK:
                break
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        retry = dict(call.trailing_metadata())[RETRY_KEY]
        assert 0 < int(retry) < 1000
        assert ended(modest, "Status")[0] is grpc.StatusCode.OK


# --- revocations that are published


def test_a_published_revocation_counts_at_once(served: ServedPeer, folder: KeyFolder) -> None:
    one = shown_by(folder, Role.PEER, "1")
    request = pb.PublishRevocationsRequest(revocation_list=revocation_list(folder, one, 1)).SerializeToString()
    with (
        one.channel(served.address) as revoked,
        shown_by(folder, Role.OPERATOR, "alice").channel(served.address) as operator,
    ):
        assert ended(revoked, "Status")[0] is grpc.StatusCode.OK
        assert ended(operator, "PublishRevocations", request)[0] is grpc.StatusCode.OK
        assert ended(revoked, "Status")[0] is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("data", [b"", b"junk", b"-----BEGIN X509 CRL-----\n", bytes((1 << 20) + 1)])
def test_what_is_no_revocation_list_changes_nothing(served: ServedPeer, folder: KeyFolder, data: bytes) -> None:
    request = pb.PublishRevocationsRequest(revocation_list=data).SerializeToString()
    with shown_by(folder, Role.OPERATOR, "alice").channel(served.address) as channel:
        code, details = ended(channel, "PublishRevocations", request)

    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED), details
    assert served.credentials.generation == 1


@pytest.mark.parametrize(("forwarded", "passed_on"), [(False, 1), (True, 0)])
def test_a_revocation_list_is_passed_on_once(folder: KeyFolder, forwarded: bool, passed_on: int) -> None:
    given: list[bytes] = []

    async def pass_on(data: bytes) -> int:
        given.append(data)
        return 3

    data = revocation_list(folder, shown_by(folder, Role.PEER, "1"), 1)
    with (
        served_peer(
            credentials=peer_of(folder, 2), add_revocations=folder.add_revocations, pass_on_revocations=pass_on
        ) as served,
        shown_by(folder, Role.OPERATOR, "alice").channel(served.address) as channel,
    ):
        request = pb.PublishRevocationsRequest(revocation_list=data, forwarded=forwarded)
        assert ended(channel, "PublishRevocations", request.SerializeToString())[0] is grpc.StatusCode.OK

    assert given == [data] * passed_on


def test_in_the_open_there_is_nothing_to_revoke() -> None:
    with served_peer() as served, grpc.insecure_channel(str(served.address)) as channel:
        assert ended(channel, "PublishRevocations")[0] is grpc.StatusCode.FAILED_PRECONDITION
