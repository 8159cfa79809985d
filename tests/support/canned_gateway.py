"""A gateway with canned answers behind a real gRPC server: what `raftgossip discover` sees of one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from raftgossip.errors import RaftGossipError
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.wire.channels import open_port
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from raftgossip.wire.status import status_of

PAGE = 2
REGISTRY = "r1"


def node_info(node_id: int, **known: object) -> pb.NodeInfo:
    """A registered node."""
    return pb.NodeInfo(
        node_id=node_id,
        ip_address="10.0.0.7",
        port=7000 + node_id,
        status="active",
        last_seen=1_700_000_000.0,
        **known,  # type: ignore[arg-type]
    )


class CannedGateway(pb_grpc.GatewayServiceServicer):
    """Knows three nodes, gives two at a time, and streams `streams` one after the other, then refuses."""

    def __init__(self) -> None:
        self.nodes = [node_info(1, identity="spiffe://hearts.example/clinic/1"), node_info(2), node_info(3)]
        self.stats = pb.GetStatsResponse(
            total_nodes=3,
            active_nodes=2,
            suspected_nodes=1,
            leader_id=2,
            registry_version=12,
            bootstrap_initiated=True,
            uptime=61.5,
            cluster_id="rg-7",
            registry_id=REGISTRY,
            settings={"node_timeout": "300"},
        )
        self.leader = pb.GetLeaderResponse(leader=node_info(2), term=5, age_ms=3200)
        self.settings = {"node_timeout": "300", "rate": "50"}
        self.error: RaftGossipError | None = None
        """Raised by what changes something."""
        self.revocations: list[bytes] = []
        self.streams: list[list[pb.NodeEvent]] = []
        self.watched_from: list[tuple[int, str]] = []

    def HealthCheck(self, request: pb.HealthCheckRequest, context: grpc.ServicerContext) -> pb.HealthCheckResponse:  # noqa: N802
        return pb.HealthCheckResponse(status="healthy", version="0.1.0")

    def GetStats(self, request: pb.GetStatsRequest, context: grpc.ServicerContext) -> pb.GetStatsResponse:  # noqa: N802
        return self.stats

    def GetLeader(self, request: pb.GetLeaderRequest, context: grpc.ServicerContext) -> pb.GetLeaderResponse:  # noqa: N802
        return self.leader

    def GetNodes(self, request: pb.GetNodesRequest, context: grpc.ServicerContext) -> pb.GetNodesResponse:  # noqa: N802
        later = [node for node in self.nodes if node.node_id > request.after_node_id]
        page = later[: min(PAGE, request.limit or PAGE)]
        more = page[-1].node_id if len(later) > len(page) else 0
        return pb.GetNodesResponse(nodes=page, registry_version=12, next_after_node_id=more)

    def WatchNodes(self, request: pb.WatchNodesRequest, context: grpc.ServicerContext) -> Iterator[pb.NodeEvent]:  # noqa: N802
        self.watched_from.append((request.since_version, request.registry_id))
        if self.streams:
            yield from self.streams.pop(0)
        else:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the certificate has been revoked")

    def Configure(self, request: pb.ConfigureRequest, context: grpc.ServicerContext) -> pb.ConfigureResponse:  # noqa: N802
        self._come(context)
        self.settings |= dict(request.settings)
        return pb.ConfigureResponse(settings=self.settings)

    def PublishRevocations(  # noqa: N802
        self, request: pb.PublishRevocationsRequest, context: grpc.ServicerContext
    ) -> pb.PublishRevocationsResponse:
        self._come(context)
        self.revocations.append(request.revocation_list)
        return pb.PublishRevocationsResponse(message="the gateway took it")

    def _come(self, context: grpc.ServicerContext) -> None:
        if self.error is not None:
            context.abort(*status_of(self.error))


@contextmanager
def serving_gateway(gateway: CannedGateway, credentials: LiveCredentials | None = None) -> Iterator[str]:
    """Its address. `credentials`: its own; None: in the open."""
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads)
        port = open_port(server, "127.0.0.1:0", credentials)
        pb_grpc.add_GatewayServiceServicer_to_server(gateway, server)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()
