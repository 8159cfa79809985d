"""What the gateway answers to bad input: the right status code, one sentence, and it goes on."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from gateway.grpc_gateway_server import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES, GRPCGatewayServer
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.fake_gateway import CALLS


@pytest.fixture
def channel() -> Iterator[grpc.Channel]:
    """A connection to a gateway that takes two nodes."""
    server = GRPCGatewayServer("127.0.0.1", 0, max_nodes=2)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as connected:
        yield connected
    server.stop()


def send(channel: grpc.Channel, method: str, data: bytes, *metadata: tuple[str, str]) -> bytes:
    """One call with raw bytes."""
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/GatewayService/{method}")
    return call(data, timeout=5, metadata=metadata)


def refusal(channel: grpc.Channel, method: str, data: bytes, *metadata: tuple[str, str]) -> tuple[grpc.StatusCode, str]:
    """Code and sentence of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        send(channel, method, data, *metadata)
    return caught.value.code(), caught.value.details() or ""


def registration(node_id: int, port: int = 5001) -> bytes:
    """A good request."""
    return pb.RegisterNodeRequest(node_id=node_id, ip_address="127.0.0.1", port=port).SerializeToString()


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("junk", [b"\xff", b"\x0a\x05ab", b"\x08"])
def test_a_malformed_request_is_an_invalid_argument(channel: grpc.Channel, method: str, junk: bytes) -> None:
    code, sentence = refusal(channel, method, junk)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert sentence == f"the request is not a {CALLS[method].__name__}"


def test_text_that_is_not_utf8_is_an_invalid_argument(channel: grpc.Channel) -> None:
    assert refusal(channel, "RegisterNode", b"\x12\x01\xff")[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("RegisterNode", pb.RegisterNodeRequest(node_id=1, ip_address="h", port=0), "port"),
        ("RegisterNode", pb.RegisterNodeRequest(node_id=1, ip_address="", port=1), "ip_address"),
        ("RegisterNode", pb.RegisterNodeRequest(node_id=-1, ip_address="h", port=1), "node_id"),
        ("GetNodes", pb.GetNodesRequest(requesting_node_id=-1), "requesting_node_id"),
        ("UpdateLeader", pb.UpdateLeaderRequest(leader_id=0), "leader_id"),
        ("Heartbeat", pb.HeartbeatRequest(node_id=0), "node_id"),
        ("RemoveNode", pb.RemoveNodeRequest(node_id=-5), "node_id"),
    ],
)
def test_a_field_out_of_bounds_is_an_invalid_argument_that_names_it(
    channel: grpc.Channel,
    method: str,
    request_: pb.RegisterNodeRequest,
    field: str,
) -> None:
    code, sentence = refusal(channel, method, request_.SerializeToString())
    assert (code, sentence.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, field)


def test_an_id_of_a_live_node_elsewhere_already_exists(channel: grpc.Channel) -> None:
    send(channel, "RegisterNode", registration(1))
    code, sentence = refusal(channel, "RegisterNode", registration(1, port=5002))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert "choose another id" in sentence


def test_a_full_registry_is_an_exhausted_resource(channel: grpc.Channel) -> None:
    send(channel, "RegisterNode", registration(1))
    send(channel, "RegisterNode", registration(2))
    assert refusal(channel, "RegisterNode", registration(3))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_request_over_one_megabyte_is_refused_and_one_below_is_read(channel: grpc.Channel) -> None:
    metadata = {"k": "v" * (MAX_MESSAGE_BYTES - 100)}
    below = pb.RegisterNodeRequest(node_id=1, ip_address="h", port=1, metadata=metadata).SerializeToString()
    assert refusal(channel, "RegisterNode", below)[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal(channel, "RegisterNode", below + bytes(200))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_too_much_metadata_of_the_call_is_refused(channel: grpc.Channel) -> None:
    send(channel, "HealthCheck", b"", ("note", "x" * 1000))
    code, _ = refusal(channel, "HealthCheck", b"", ("note", "x" * MAX_METADATA_BYTES))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    assert refusal(channel, "Format", b"")[0] is grpc.StatusCode.UNIMPLEMENTED


def test_fields_of_later_versions_are_ignored(channel: grpc.Channel) -> None:
    unknown_field = b"\xa2\x06\x01x"  # number 100, one byte of text
    response = pb.RegisterNodeResponse.FromString(send(channel, "RegisterNode", registration(1) + unknown_field))
    assert response.status == "registered"


def test_the_gateway_goes_on_after_refusals_and_none_changed_anything(channel: grpc.Channel) -> None:
    for method in CALLS:
        refusal(channel, method, b"\xff")
    stats = pb.GetStatsResponse.FromString(send(channel, "GetStats", b""))
    assert (stats.total_nodes, stats.registry_version) == (0, 0)
