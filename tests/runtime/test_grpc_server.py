"""The server decodes, hands over and answers; what it refuses has the status code of the contract."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import grpc
import numpy as np
import pytest

from raftgossip.core.raft.message import Message
from raftgossip.errors import ConfigError, NoQuorum, NotLeader, StorageError
from raftgossip.ids import Address, Incarnation, NodeId
from raftgossip.runtime.grpc_server import LOG_LIMIT, MAX_MESSAGE_BYTES, MODEL_CHUNK_BYTES
from raftgossip.runtime.service import PeerRow, StatusView
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.raft_codec import frames_to_bytes
from raftgossip.wire.status import LEADER_KEY
from tests.support.fakes import STATUS
from tests.support.golden import MESSAGES
from tests.support.served_peer import ServedPeer, served_peer

UNARY = [
    *("Propose", "Join", "Leave", "FetchEpochs", "Status", "FetchLog", "ChangeMembers", "TransferLeadership"),
]


@pytest.fixture
def served() -> Iterator[ServedPeer]:
    with served_peer() as served:
        yield served
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("grpc", "exchange"))] == []


@pytest.fixture
def channel(served: ServedPeer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(str(served.address)) as channel:
        yield channel


def call(channel: grpc.Channel, method: str, data: bytes, timeout_s: float = 10) -> bytes:
    """One unary call in raw bytes."""
    stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/PeerService/{method}")
    return stub(data, timeout=timeout_s)


def failure_of(channel: grpc.Channel, method: str, data: bytes, timeout_s: float = 10) -> tuple[grpc.StatusCode, str]:
    """How a unary call fails: its code and its sentence."""
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, data, timeout_s)
    return caught.value.code(), caught.value.details() or ""


def stream_failure(channel: grpc.Channel, method: str, frames: list[bytes]) -> tuple[grpc.StatusCode, str]:
    """How a stream ends that sends these frames and closes."""
    stub: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"/PeerService/{method}")
    ended = stub(iter(frames), timeout=10)
    try:
        for _ in ended:
            pass
    except grpc.RpcError:
        pass
    return ended.code(), ended.details()


def propose(cluster_id: str = "c1", envelope: bytes = b"e") -> bytes:
    return pb.ProposeRequest(cluster_id=cluster_id, envelope=envelope).SerializeToString()


def join(**changes: object) -> bytes:
    values: dict[str, object] = {"node_id": 4, "host": "10.0.0.4", "port": 7004, "incarnation": "a", **changes}
    return pb.JoinRequest(**values).SerializeToString()  # type: ignore[arg-type]


def change(**changes: object) -> bytes:
    values: dict[str, object] = {"action": "remove", "node_id": 4, **changes}
    return pb.ChangeMembersRequest(**values).SerializeToString()  # type: ignore[arg-type]


# --- refusals


@pytest.mark.parametrize("method", UNARY)
@pytest.mark.parametrize("junk", [b"\xff", b"\x08", bytes(range(255))], ids=["tag", "cut", "noise"])
def test_a_malformed_request_is_an_invalid_argument(channel: grpc.Channel, method: str, junk: bytes) -> None:
    code, details = failure_of(channel, method, junk)

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert method.removeprefix("Fetch") in details


def test_a_malformed_request_of_a_stream_is_an_invalid_argument(channel: grpc.Channel) -> None:
    fetch: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/PeerService/FetchModel")
    ended = fetch(b"\xff", timeout=10)

    with pytest.raises(grpc.RpcError):
        next(ended)
    assert ended.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert stream_failure(channel, "Raft", [b"\xff"])[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", ["/PeerService/Nothing", "/OtherService/Status", "/PeerService/status"])
def test_an_unknown_method_is_unimplemented(channel: grpc.Channel, method: str) -> None:
    stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)

    with pytest.raises(grpc.RpcError) as caught:
        stub(b"", timeout=10)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("cluster_id", ["c2", ""])
def test_another_cluster_is_denied_everywhere_and_hands_nothing_over(
    served: ServedPeer, channel: grpc.Channel, cluster_id: str
) -> None:
    frames = list(frames_to_bytes(cluster_id, list(MESSAGES.values())))
    fetch: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/PeerService/FetchModel")
    model = fetch(pb.FetchModelRequest(cluster_id=cluster_id).SerializeToString(), timeout=10)

    codes = [
        failure_of(channel, "Propose", propose(cluster_id))[0],
        stream_failure(channel, "Raft", frames)[0],
        model.code(),
    ]

    assert codes == [grpc.StatusCode.PERMISSION_DENIED] * 3
    assert served.peer.delivered == [] and served.peer.envelopes == []


def test_a_node_without_a_cluster_denies_all_clusters() -> None:
    with served_peer(cluster_id="") as served, grpc.insecure_channel(str(served.address)) as channel:
        for cluster_id in ("", "c1"):
            assert failure_of(channel, "Propose", propose(cluster_id))[0] is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("method", UNARY)
def test_a_message_above_the_limit_is_refused_unread(channel: grpc.Channel, method: str) -> None:
    code, _ = failure_of(channel, method, bytes(MAX_MESSAGE_BYTES + 1))

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "changes",
    [
        {"node_id": 0},
        {"node_id": 2**31},
        {"host": ""},
        {"host": "a b"},
        {"port": 0},
        {"port": 65536},
    ],
)
def test_a_newcomer_with_an_impossible_address_is_an_invalid_argument(
    served: ServedPeer, channel: grpc.Channel, changes: dict[str, object]
) -> None:
    assert failure_of(channel, "Join", join(**changes))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert served.peer.asks == []


@pytest.mark.parametrize(
    "changes",
    [
        {"node_id": 0},
        {"action": ""},
        {"action": "Add"},
        {"action": "add"},
        {"action": "add", "host": "10.0.0.4", "port": 65536},
    ],
)
def test_an_impossible_change_of_members_is_an_invalid_argument(
    served: ServedPeer, channel: grpc.Channel, changes: dict[str, object]
) -> None:
    assert failure_of(channel, "ChangeMembers", change(**changes))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert served.peer.orders == []


@pytest.mark.parametrize(
    ("method", "request_of"),
    [("ChangeMembers", change), ("TransferLeadership", pb.TransferLeadershipRequest)],
)
def test_an_operator_may_name_the_cluster_and_must_not_name_another(
    served: ServedPeer,
    channel: grpc.Channel,
    method: str,
    request_of: Callable[..., bytes | pb.TransferLeadershipRequest],
) -> None:
    def encoded(cluster_id: str) -> bytes:
        request = request_of(cluster_id=cluster_id)
        return request if isinstance(request, bytes) else request.SerializeToString()

    assert failure_of(channel, method, encoded("c2"))[0] is grpc.StatusCode.PERMISSION_DENIED
    assert served.peer.orders == []
    call(channel, method, encoded("c1"))
    call(channel, method, encoded(""))
    assert len(served.peer.orders) == 2


@pytest.mark.parametrize("method", ["ChangeMembers", "TransferLeadership"])
@pytest.mark.parametrize("leader", [3, None])
def test_who_does_not_lead_names_the_leader_beside_its_refusal(
    served: ServedPeer, channel: grpc.Channel, method: str, leader: int | None
) -> None:
    served.peer.error = NotLeader(leader)

    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, change() if method == "ChangeMembers" else b"")

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert (LEADER_KEY, str(leader or 0)) in tuple(caught.value.trailing_metadata() or ())


def test_the_error_of_the_peer_reaches_the_caller_with_its_code(served: ServedPeer, channel: grpc.Channel) -> None:
    served.peer.error = NotLeader(3)

    code, details = failure_of(channel, "Propose", propose())

    assert (code, details) == (grpc.StatusCode.FAILED_PRECONDITION, str(NotLeader(3)))


@pytest.mark.parametrize("method", UNARY)
def test_a_bug_of_ours_is_internal_and_keeps_its_insides_to_itself(
    served: ServedPeer, channel: grpc.Channel, method: str
) -> None:
    served.peer.error = ZeroDivisionError("secret")
    requests = {"Propose": propose(), "Join": join(), "ChangeMembers": change()}

    code, details = failure_of(channel, method, requests.get(method, b""))

    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in details and "ZeroDivision" not in details


# --- time


def test_a_peer_that_does_not_answer_costs_the_caller_no_more_than_its_deadline(
    served: ServedPeer, channel: grpc.Channel
) -> None:
    served.peer.waits = True

    assert failure_of(channel, "Status", b"", timeout_s=0.3)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert served.peer.asked.is_set()


def test_a_call_that_is_under_way_when_the_node_stops_hears_that_it_stops(
    served: ServedPeer, channel: grpc.Channel
) -> None:
    served.peer.waits = True
    stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/PeerService/Status")
    pending = stub.future(b"", timeout=20)
    assert served.peer.asked.wait(10)

    served.cancel_tasks()

    assert pending.code() is grpc.StatusCode.UNAVAILABLE
    assert "stopping" in str(pending.details())


def test_a_call_after_the_event_loop_closed_hears_that_the_node_stops(
    served: ServedPeer, channel: grpc.Channel
) -> None:
    served.close_loop()

    code, details = failure_of(channel, "Status", b"")
    stream_code, _ = stream_failure(channel, "Raft", list(frames_to_bytes("c1", list(MESSAGES.values()))))

    assert (code, stream_code) == (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    assert "stopping" in details


# --- the port


def test_a_port_in_use_is_the_operators_mistake_with_a_remedy(served: ServedPeer) -> None:
    with pytest.raises(ConfigError, match=rf"{served.address}.*in use.*--listen"), served_peer(served.address.port):
        pass


def test_an_address_of_another_machine_is_the_operators_mistake(served: ServedPeer) -> None:
    with pytest.raises(ConfigError, match="--listen"):
        served.server.start("192.0.2.1", 0)  # reserved for documentation: nobody has it


def test_a_stopped_server_gives_its_port_back() -> None:
    with served_peer() as first:
        port = first.address.port
    with served_peer(port) as second:
        assert second.address.port == port


# --- answers


def test_status_brings_what_the_peer_says(channel: grpc.Channel) -> None:
    answer = pb.StatusResponse.FromString(call(channel, "Status", b""))

    assert (answer.cluster_id, answer.node_id, answer.role, answer.term) == ("c1", 2, "leader", 3)
    assert (answer.leader, answer.commit_index, answer.last_index) == (2, 7, 8)
    assert (answer.last_closed_epoch, answer.model_digest, answer.open_epoch) == (4, STATUS.model_digest, 0)
    assert [(metric.name, metric.value) for metric in answer.metrics] == [("loss", 0.5)]
    assert answer.specification.task == "toy"


def test_status_brings_how_far_the_log_is_kept_and_how_peers_are_fed(
    served: ServedPeer, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = PeerRow(NodeId(3), Address("10.0.0.3", 7003), "voter", True, 5, Incarnation("a"), (), "snapshot")
    view = replace(STATUS, first_index=4, snapshot_index=6, outgoing=(NodeId(1), NodeId(3)), peers=(row,))

    async def status() -> StatusView:
        return view

    monkeypatch.setattr(served.peer, "status", status)
    answer = pb.StatusResponse.FromString(call(channel, "Status", b""))

    assert (answer.first_index, answer.snapshot_index, list(answer.outgoing)) == (4, 6, [1, 3])
    assert [(peer.node_id, peer.match_index, peer.flow) for peer in answer.peers] == [(3, 5, "snapshot")]


@pytest.mark.parametrize(
    ("method", "request_of"), [("Status", pb.StatusRequest), ("FetchEpochs", pb.FetchEpochsRequest)]
)
def test_a_linearizable_answer_is_given_after_the_peer_caught_up_or_not_at_all(
    served: ServedPeer,
    channel: grpc.Channel,
    method: str,
    request_of: Callable[..., pb.StatusRequest | pb.FetchEpochsRequest],
) -> None:
    wanted = request_of(linearizable=True).SerializeToString()
    call(channel, method, request_of(linearizable=False).SerializeToString())
    assert served.peer.orders == []
    call(channel, method, wanted)
    assert served.peer.orders == [("catch up",)]

    served.peer.error = NoQuorum("nobody answered")
    assert failure_of(channel, method, wanted) == (grpc.StatusCode.UNAVAILABLE, "nobody answered")


@pytest.mark.parametrize(("asked", "limit"), [(0, LOG_LIMIT), (7, 7), (LOG_LIMIT + 1, LOG_LIMIT)])
def test_the_log_is_given_in_pages_with_its_bounds(
    served: ServedPeer, channel: grpc.Channel, asked: int, limit: int
) -> None:
    request = pb.FetchLogRequest(first_index=5, limit=asked).SerializeToString()
    answer = pb.FetchLogResponse.FromString(call(channel, "FetchLog", request))

    assert served.peer.orders == [("log", 5, limit)]
    assert (answer.first_index, answer.last_index, answer.commit_index, answer.applied_index) == (3, 9, 8, 7)
    (entry,) = answer.entries
    assert (entry.index, entry.term, entry.kind, entry.data_bytes) == (7, 2, "command", 30)
    assert (entry.applied_at_ms, entry.summary) == (1_700_000_000_000, "OpenEpoch 7")


@pytest.mark.parametrize(
    ("changes", "order", "message"),
    [
        ({"action": "add", "host": "::1", "port": 7004}, ("add", 4, Address("::1", 7004)), "node 4 is in"),
        ({"action": "remove"}, ("remove", 4), "node 4 is out"),
        ({"action": "promote"}, ("promote", 4), "node 4 votes"),
    ],
)
def test_a_change_of_members_is_handed_over_and_answered_with_a_sentence(
    served: ServedPeer, channel: grpc.Channel, changes: dict[str, object], order: tuple[object, ...], message: str
) -> None:
    answer = pb.ChangeMembersResponse.FromString(call(channel, "ChangeMembers", change(**changes)))

    assert served.peer.orders == [order]
    assert answer.message == message


@pytest.mark.parametrize(("target", "order", "leader"), [(0, None, 5), (3, 3, 3)])
def test_a_transfer_names_its_target_or_leaves_it_to_the_leader(
    served: ServedPeer, channel: grpc.Channel, target: int, order: int | None, leader: int
) -> None:
    request = pb.TransferLeadershipRequest(target=target).SerializeToString()
    answer = pb.TransferLeadershipResponse.FromString(call(channel, "TransferLeadership", request))

    assert served.peer.orders == [("transfer", order)]
    assert (answer.leader, answer.term) == (leader, 4)


def test_a_forwarded_command_is_handed_over_as_it_came(served: ServedPeer, channel: grpc.Channel) -> None:
    answer = pb.ProposeResponse.FromString(call(channel, "Propose", propose(envelope=b"\0\xffbytes")))

    assert served.peer.envelopes == [b"\0\xffbytes"]
    assert (answer.index, answer.applied, answer.reason) == (9, False, "too late")


def test_a_newcomer_learns_the_cluster_and_its_peers(served: ServedPeer, channel: grpc.Channel) -> None:
    answer = pb.JoinResponse.FromString(call(channel, "Join", join(metadata={"b": "2", "a": "1"}, owner="o")))

    (ask,) = served.peer.asks
    assert (ask.node_id, ask.address, ask.owner) == (4, Address("10.0.0.4", 7004), "o")
    assert ask.metadata == (("a", "1"), ("b", "2"))
    assert (answer.cluster_id, answer.leader, answer.specification.num_epochs) == ("c1", 2, 11)
    assert [(peer.node_id, peer.host, peer.port) for peer in answer.peers] == [(1, "10.0.0.1", 7001), (2, "::1", 7002)]


def test_leaving_is_for_callers_of_the_same_machine(served: ServedPeer, channel: grpc.Channel) -> None:
    answer = pb.LeaveResponse.FromString(call(channel, "Leave", b""))
    wrong = pb.LeaveRequest(cluster_id="c2").SerializeToString()

    assert answer.message == "left"
    assert failure_of(channel, "Leave", wrong)[0] is grpc.StatusCode.PERMISSION_DENIED


# --- streams


def test_raft_messages_are_delivered_in_order(served: ServedPeer, channel: grpc.Channel) -> None:
    sent: list[Message] = list(MESSAGES.values()) * 20
    frames = [frame for message in sent for frame in frames_to_bytes("c1", [message])]

    assert stream_failure(channel, "Raft", frames)[0] is grpc.StatusCode.OK

    assert served.peer.wait_for(lambda delivered: len(delivered) >= len(sent))
    assert served.peer.delivered == sent


def test_what_came_before_a_malformed_frame_was_delivered(served: ServedPeer, channel: grpc.Channel) -> None:
    good = next(frames_to_bytes("c1", [MESSAGES["heartbeat"]]))

    assert stream_failure(channel, "Raft", [good, b"\xff", good])[0] is grpc.StatusCode.INVALID_ARGUMENT

    assert served.peer.wait_for(lambda delivered: len(delivered) == 1)


def fetch_model(channel: grpc.Channel, offset: int) -> list[pb.ModelChunk]:
    stub: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/PeerService/FetchModel")
    request = pb.FetchModelRequest(cluster_id="c1", digest=b"d", offset=offset)
    return [pb.ModelChunk.FromString(data) for data in stub(request.SerializeToString(), timeout=10)]


@pytest.mark.parametrize("offset", [0, 1, 4096, MODEL_CHUNK_BYTES, 3 * MODEL_CHUNK_BYTES])
def test_a_model_is_sent_from_any_offset_on(served: ServedPeer, channel: grpc.Channel, offset: int) -> None:
    model = np.arange(3 * MODEL_CHUNK_BYTES // 4, dtype=np.float32)
    served.peer.models[b"d"] = model

    chunks = fetch_model(channel, offset)

    assert b"".join(chunk.data for chunk in chunks) == model.tobytes()[offset:]
    assert {chunk.total_bytes for chunk in chunks} <= {model.nbytes}
    assert all(len(chunk.data) <= MODEL_CHUNK_BYTES for chunk in chunks)


@pytest.mark.parametrize(
    ("offset", "error", "code"),
    [
        (0, None, grpc.StatusCode.NOT_FOUND),
        (5, None, grpc.StatusCode.INVALID_ARGUMENT),
        (0, StorageError("damaged"), grpc.StatusCode.DATA_LOSS),
    ],
)
def test_a_model_that_cannot_be_sent_is_refused_with_a_reason(
    served: ServedPeer, channel: grpc.Channel, offset: int, error: StorageError | None, code: grpc.StatusCode
) -> None:
    served.peer.error = error
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        served.peer.models[b"d"] = np.zeros(1, dtype=np.float32)

    with pytest.raises(grpc.RpcError) as caught:
        fetch_model(channel, offset)

    assert caught.value.code() is code
