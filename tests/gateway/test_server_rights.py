"""Who may call what: every method of the gateway with every role over real connections, against a table by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]  # there are no stubs for it

from gateway.grpc_gateway_server import GRPCGatewayServer
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role
from raftgossip.trust.policy import RIGHTS
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.keys import FEDERATION, now_s
from tests.support.trusted_gateway import (
    HOLDERS,
    dial,
    failure,
    make_federation,
    outcome,
    refusal,
    register,
    registration,
    running,
    send,
)

PEER, OPERATOR, OBSERVER, GATEWAY = Role.PEER, Role.OPERATOR, Role.OBSERVER, Role.GATEWAY
EXPECTED: dict[str, tuple[Message, set[Role]]] = {
    "/GatewayService/RegisterNode": (registration(1), {PEER}),
    "/GatewayService/Heartbeat": (pb.HeartbeatRequest(node_id=1), {PEER}),
    "/GatewayService/UpdateLeader": (pb.UpdateLeaderRequest(leader_id=1, term=1), {PEER}),
    "/GatewayService/RemoveNode": (pb.RemoveNodeRequest(node_id=1), {PEER, OPERATOR}),
    "/GatewayService/GetNodes": (pb.GetNodesRequest(), {PEER, OPERATOR, OBSERVER}),
    "/GatewayService/GetLeader": (pb.GetLeaderRequest(), {PEER, OPERATOR, OBSERVER}),
    "/GatewayService/GetStats": (pb.GetStatsRequest(), {PEER, OPERATOR, OBSERVER}),
    "/GatewayService/WatchNodes": (pb.WatchNodesRequest(), {PEER, OPERATOR, OBSERVER}),
    "/GatewayService/HealthCheck": (pb.HealthCheckRequest(), {PEER, OPERATOR, OBSERVER, GATEWAY}),
    "/GatewayService/Configure": (pb.ConfigureRequest(), {OPERATOR}),
    "/GatewayService/SyncRegistry": (pb.SyncRegistryRequest(gateway_id="g"), {GATEWAY}),
    "/GatewayService/PublishRevocations": (pb.PublishRevocationsRequest(), {OPERATOR, PEER}),
    "/grpc.health.v1.Health/Check": (health_pb2.HealthCheckRequest(), {PEER, OPERATOR, OBSERVER, GATEWAY}),
    "/grpc.health.v1.Health/Watch": (health_pb2.HealthCheckRequest(), {PEER, OPERATOR, OBSERVER, GATEWAY}),
}
STREAMS = {"/GatewayService/WatchNodes", "/grpc.health.v1.Health/Watch"}

Channels = dict[Role, grpc.Channel]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    """One federation for all tests of the file; none changes it, but for new holders."""
    return make_federation(tmp_path_factory.mktemp("federation"))


@pytest.fixture(scope="module")
def server(keys: KeyFolder) -> Iterator[GRPCGatewayServer]:
    """A gateway with certificates that does not limit these callers."""
    with running(keys=keys, rate_per_s=1e6, burst=1e6) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def channels(keys: KeyFolder, server: GRPCGatewayServer) -> Iterator[Channels]:
    """A connection of a holder of each role."""
    with ExitStack() as stack:
        yield {
            role: stack.enter_context(dial(server.port, keys.credentials(role, name))) for role, name in HOLDERS.items()
        }


def code_of(channel: grpc.Channel, method: str, request: Message) -> str:
    """The code of a call; of a stream, OK as soon as something came."""
    if method not in STREAMS:
        return outcome(channel, method, request)
    stream = channel.unary_stream(method)(request.SerializeToString(), timeout=5)
    try:
        next(stream)
    except grpc.RpcError as error:
        return error.code().name
    finally:
        stream.cancel()
    return "OK"


def test_the_table_by_hand_has_every_method_of_the_gateway() -> None:
    assert set(EXPECTED) == {method for method in RIGHTS if not method.startswith("/PeerService/")}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("method", EXPECTED)
def test_a_role_may_call_what_the_table_says_and_nothing_else(channels: Channels, method: str, role: Role) -> None:
    request, allowed = EXPECTED[method]
    code = code_of(channels[role], method, request)
    if role in allowed:
        assert code in {"OK", "INVALID_ARGUMENT"}  # an empty revocation list is none
        assert code == "OK" or method.endswith("PublishRevocations")
    else:
        assert code == "PERMISSION_DENIED"


def test_a_refusal_names_the_rule_the_roles_and_the_caller(channels: Channels) -> None:
    _, sentence = refusal(channels[OBSERVER], "Configure")
    assert sentence == (
        "rule method-by-role: /GatewayService/Configure is open to operator; "
        f"spiffe://{FEDERATION}/clinic/olga is a observer"
    )


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("RegisterNode", registration(2)),
        ("Heartbeat", pb.HeartbeatRequest(node_id=2)),
        ("UpdateLeader", pb.UpdateLeaderRequest(leader_id=2)),
        ("RemoveNode", pb.RemoveNodeRequest(node_id=2)),
    ],
)
def test_a_peer_speaks_only_for_its_own_node(channels: Channels, method: str, request_: Message) -> None:
    code, sentence = refusal(channels[PEER], method, request_)
    assert code == "PERMISSION_DENIED"
    assert sentence.startswith("rule own-node: only node 2 may ")


def test_an_operator_may_remove_any_node(channels: Channels) -> None:
    register(channels[PEER], 1)
    answer = pb.RemoveNodeResponse.FromString(send(channels[OPERATOR], "RemoveNode", pb.RemoveNodeRequest(node_id=1)))
    assert answer.status == "removed"


def test_another_organisations_node_with_the_same_number_is_another_node(
    keys: KeyFolder, server: GRPCGatewayServer, channels: Channels
) -> None:
    keys.add_organisation("rival", now_s())
    register(channels[PEER], 1)
    rival = make_rival(keys)
    with dial(server.port, rival.credentials(PEER, "1")) as channel:
        assert refusal(channel, "RegisterNode", registration(1))[0] == "ALREADY_EXISTS"
        for method, request in (
            ("Heartbeat", pb.HeartbeatRequest(node_id=1)),
            ("UpdateLeader", pb.UpdateLeaderRequest(leader_id=1)),
            ("RemoveNode", pb.RemoveNodeRequest(node_id=1)),
        ):
            code, sentence = refusal(channel, method, request)
            assert (code, sentence.split(":")[0]) == ("PERMISSION_DENIED", "rule own-registration")
    assert outcome(channels[PEER], "Heartbeat", pb.HeartbeatRequest(node_id=1)) == "OK"


def make_rival(keys: KeyFolder) -> KeyFolder:
    """A folder of the same federation in which peer 1 belongs to another organisation."""
    folder = KeyFolder(keys.path.parent / "rival")
    request = folder.request(PEER, "1", "rival")
    folder.accept(keys.sign(request, "rival", now_s()))
    return folder


def test_what_a_node_registers_is_bound_to_its_certificate_whatever_it_says(channels: Channels) -> None:
    register(channels[PEER], 1, metadata={"owner": "somebody else", "site": "a"})
    nodes = pb.GetNodesResponse.FromString(send(channels[OBSERVER], "GetNodes")).nodes
    found = next(node for node in nodes if node.node_id == 1)
    assert found.identity == f"spiffe://{FEDERATION}/clinic/1"
    assert dict(found.metadata) == {"site": "a"}


def test_without_a_certificate_nobody_gets_in(server: GRPCGatewayServer) -> None:
    with dial(server.port, None) as channel:
        error = failure(lambda: send(channel, "HealthCheck"))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
