"""All targets of scripts/fuzz.py and tests/fuzz, each with valid inputs to begin from."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf.message import Message

from gateway.grpc_gateway_server import GRPCGatewayServer
from raftgossip.trust import authority
from raftgossip.trust.authority import read_request
from raftgossip.trust.certificates import read_certificate, read_pem_certificates
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Identity, Role
from raftgossip.trust.revocation import read_revocation_list
from raftgossip.trust.tokens import read_token
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.fuzzing import Target, judge_status, parser_of
from tests.support.golden import HEADER
from tests.support.served_peer import served_peer

NOW_S = 1_800_000_000.0
SKEW_S = 60.0
BY_HYPOTHESIS = ("hypothesis",)
"""In the process of libFuzzer the event loop of the fake peer does not get to answer."""
CALL_S = 0.5
"""A valid exchange waits so long for a round that never comes."""


@dataclass(frozen=True, slots=True)
class FuzzTarget:
    """Takes any bytes; `seeds` are valid ones."""

    run: Target
    seeds: tuple[bytes, ...]
    engines: tuple[str, ...] = ("hypothesis", "atheris")


def _trust_targets() -> dict[str, FuzzTarget]:
    with tempfile.TemporaryDirectory() as folder:
        keys = KeyFolder(Path(folder) / "keys")
        keys.init("fuzz.example", "basel", NOW_S)
        keys.issue("basel", Role.PEER, "1", NOW_S)
        keys.revoke(Role.PEER, "1", NOW_S)
        keys.issue("basel", Role.OPERATOR, "alice", NOW_S)
        token = keys.token(Role.OPERATOR, "alice", 600, NOW_S).encode()
        root_pem = (keys.path / "federation.pem").read_bytes()
        chain = (keys.path / "nodes" / "operator-alice.pem").read_bytes()
        revocations = keys.revocation_list("basel")
    root = read_pem_certificates(root_pem)[0]
    request = authority.make_request(authority.make_key(), "basel", Role.PEER, "7")

    def der(read: Callable[[bytes], object], label: str) -> Callable[[bytes], object]:
        """Junk inside of well-formed PEM gets further than junk outside of it."""
        return lambda data: read(
            b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label.encode(), base64.encodebytes(data), label.encode())
        )

    def inside(pem: bytes) -> bytes:
        lines = pem.split(b"-----END")[0].splitlines()[1:]
        return base64.b64decode(b"".join(lines))

    def token_text(data: bytes) -> object:
        return read_token(data.decode("utf-8", "surrogateescape"), root_pem, NOW_S, SKEW_S)

    def crl(data: bytes) -> object:
        return read_revocation_list(data, root)

    def uri(data: bytes) -> object:
        return Identity.of_peer(data.decode("utf-8", "replace"))

    return {
        "token": FuzzTarget(parser_of(token_text), (token, token[:-20])),
        "certificate": FuzzTarget(parser_of(read_certificate), (chain, root_pem)),
        "certificate-der": FuzzTarget(parser_of(der(read_certificate, "CERTIFICATE")), (inside(chain),)),
        "revocation-list": FuzzTarget(parser_of(crl), (revocations,)),
        "revocation-list-der": FuzzTarget(parser_of(der(crl, "X509 CRL")), (inside(revocations),)),
        "certificate-request": FuzzTarget(parser_of(read_request), (request,)),
        "certificate-request-der": FuzzTarget(parser_of(der(read_request, "CERTIFICATE REQUEST")), (inside(request),)),
        "peer-name": FuzzTarget(parser_of(uri), (b"spiffe://fuzz.example/basel/1",)),
    }


class _Served:
    """A real server of this process and a channel to it; started when first used."""

    def __init__(self, start: Callable[[], tuple[str, Callable[[], None]]]) -> None:
        self._start = start
        self._channel: grpc.Channel | None = None
        self._stop: Callable[[], None] = lambda: None

    def target(self, method: str) -> Target:
        """Sends bytes as the one request of a call, which may answer with a stream, and judges the status."""

        def run(data: bytes) -> None:
            try:
                call = self._opened().unary_stream(method)(data, timeout=CALL_S)
                next(call, None)
                call.cancel()
            except grpc.RpcError as error:
                judge_status(error)

        return run

    def stream_target(self, method: str) -> Target:
        """Sends bytes as the first message of a stream."""

        def run(data: bytes) -> None:
            call = self._opened().stream_stream(method)(iter((data,)), timeout=CALL_S)
            try:
                next(call, None)
                call.cancel()
            except grpc.RpcError as error:
                judge_status(error)

        return run

    def _opened(self) -> grpc.Channel:
        if self._channel is None:
            address, self._stop = self._start()
            self._channel = grpc.insecure_channel(address)
        return self._channel

    def close(self) -> None:
        """End the server, if it was used; it starts again when it is used again."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
            self._stop()


def _gateway() -> tuple[str, Callable[[], None]]:
    server = GRPCGatewayServer("127.0.0.1", 0, rebuild_grace=0, rate_per_s=1e6, burst=1e6, log_level="ERROR")
    server.start()
    return f"127.0.0.1:{server.port}", server.stop


def _peer() -> tuple[str, Callable[[], None]]:
    served = served_peer()
    peer = served.__enter__()
    return str(peer.address), lambda: served.__exit__(None, None, None)


GATEWAY_REQUESTS: dict[str, Message] = {
    "RegisterNode": pb.RegisterNodeRequest(
        node_id=7, ip_address="10.0.0.7", port=7000, capabilities=["raft"], metadata={"owner": "x"}, can_wait=True
    ),
    "GetNodes": pb.GetNodesRequest(requesting_node_id=1, limit=5, after_node_id=2, since_version=3, registry_id="r"),
    "GetLeader": pb.GetLeaderRequest(),
    "UpdateLeader": pb.UpdateLeaderRequest(leader_id=7, term=3),
    "Heartbeat": pb.HeartbeatRequest(node_id=7, cluster_id="rg-1"),
    "HealthCheck": pb.HealthCheckRequest(),
    "RemoveNode": pb.RemoveNodeRequest(node_id=7),
    "GetStats": pb.GetStatsRequest(),
    "WatchNodes": pb.WatchNodesRequest(since_version=1, registry_id="r"),
    "Configure": pb.ConfigureRequest(settings={"node_timeout": "300"}),
    "SyncRegistry": pb.SyncRegistryRequest(gateway_id="g", since_version=1, registry_id="r"),
    "PublishRevocations": pb.PublishRevocationsRequest(revocation_list=b"-----BEGIN X509 CRL-----"),
}
PEER_REQUESTS: dict[str, Message] = {
    "Propose": pb.ProposeRequest(cluster_id="c1", envelope=b"\x0a\x01a"),
    "Join": pb.JoinRequest(
        node_id=7, host="10.0.0.7", port=7000, incarnation="a", task="digits", join_token="v1.a.b.c"
    ),
    "Leave": pb.LeaveRequest(cluster_id="c1"),
    "FetchModel": pb.FetchModelRequest(cluster_id="c1", digest=bytes(32), offset=1),
    "FetchEpochs": pb.FetchEpochsRequest(first_epoch=1, limit=5),
    "Status": pb.StatusRequest(),
    "FetchLog": pb.FetchLogRequest(first_index=1, limit=5),
    "ChangeMembers": pb.ChangeMembersRequest(cluster_id="c1", action="add", node_id=7, host="10.0.0.7", port=7000),
    "TransferLeadership": pb.TransferLeadershipRequest(cluster_id="c1", target=2),
    "PublishRevocations": pb.PublishRevocationsRequest(revocation_list=b"-----BEGIN X509 CRL-----"),
}
RAFT_FRAME = pb.RaftFrame(cluster_id="c1", messages=[pb.RaftMessage(term=1, sender=2, receiver=1)])


SERVED_GATEWAY, SERVED_PEER = _Served(_gateway), _Served(_peer)


def close_servers() -> None:
    """End what the targets have started."""
    SERVED_GATEWAY.close()
    SERVED_PEER.close()


def _served_targets() -> dict[str, FuzzTarget]:
    gateway, peer = SERVED_GATEWAY, SERVED_PEER
    return {
        **{
            f"gateway-{name}": FuzzTarget(gateway.target(f"/GatewayService/{name}"), (message.SerializeToString(),))
            for name, message in GATEWAY_REQUESTS.items()
        },
        **{
            f"peer-{name}": FuzzTarget(
                peer.target(f"/PeerService/{name}"), (message.SerializeToString(),), BY_HYPOTHESIS
            )
            for name, message in PEER_REQUESTS.items()
        },
        "peer-Raft": FuzzTarget(
            peer.stream_target("/PeerService/Raft"), (pb.RaftFrame(cluster_id="c1").SerializeToString(),)
        ),
        "peer-Exchange": FuzzTarget(peer.stream_target("/PeerService/Exchange"), (HEADER.encode(),), BY_HYPOTHESIS),
    }


TARGETS: dict[str, FuzzTarget] = {**_trust_targets(), **_served_targets()}
