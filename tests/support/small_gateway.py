"""A gateway that fits on a page, and says what a test wants: for tests of what peers do with gateways' answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from raftgossip.errors import RaftGossipError
from raftgossip.ids import Address
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.wire.channels import open_port
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from raftgossip.wire.status import status_of, trailing_metadata_of


class SmallGateway(pb_grpc.GatewayServiceServicer):
    """Lists whoever registers, and forgets everybody with its life. Names the first one, once, if `names_bootstrap`.

    `registry_id` "" makes it one of the original kind, which knows no new field. `errors`: by the name of the call.
    """

    def __init__(self, registry_id: str = "r1", credentials: LiveCredentials | None = None) -> None:
        self.registry_id = registry_id
        self.names_bootstrap = True
        self.cluster_id = ""
        self.wait_ms = 0
        self.leader = 0
        self.errors: dict[str, RaftGossipError] = {}
        self.nodes: dict[int, pb.NodeInfo] = {}
        self.requests: list[object] = []
        self.port = 0
        self._credentials = credentials
        self._arrived = threading.Condition()
        self._threads: ThreadPoolExecutor | None = None
        self._server: grpc.Server | None = None

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)

    def __enter__(self) -> SmallGateway:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen: at a free port, or where it listened before."""
        self._threads = ThreadPoolExecutor(4)
        self._server = grpc.server(self._threads, options=(("grpc.so_reuseport", 0),))
        pb_grpc.add_GatewayServiceServicer_to_server(self, self._server)
        self.port = open_port(self._server, f"127.0.0.1:{self.port}", self._credentials)
        self._server.start()

    def stop(self) -> None:
        """Break all connections; harmless when repeated."""
        server, self._server = self._server, None
        if server is not None and self._threads is not None:
            server.stop(0).wait()
            self._threads.shutdown()

    def forget(self) -> None:
        """Lose everything that it knew, as with a new life."""
        self.nodes.clear()
        self.cluster_id, self.leader = "", 0

    def wait_for(self, condition: Callable[[list[object]], bool], seconds: float = 10) -> list[object]:
        """All requests so far, as soon as they fulfil the condition; fails when the time is up."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: condition(self.requests), seconds), self.requests
            return list(self.requests)

    def count(self, kind: type) -> int:
        """How many requests of this kind came."""
        with self._arrived:
            return sum(isinstance(request, kind) for request in self.requests)

    def _come(self, call: str, request: object, context: grpc.ServicerContext) -> None:
        with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
        error = self.errors.get(call)
        if error is not None:
            context.set_trailing_metadata(trailing_metadata_of(error))
            context.abort(*status_of(error))

    def RegisterNode(self, request: pb.RegisterNodeRequest, context: grpc.ServicerContext) -> pb.RegisterNodeResponse:  # noqa: N802
        self._come("RegisterNode", request, context)
        is_new = not self.nodes
        others = [node for node_id, node in self.nodes.items() if node_id != request.node_id]
        self.nodes[request.node_id] = pb.NodeInfo(
            node_id=request.node_id, ip_address=request.ip_address, port=request.port
        )
        answer = pb.RegisterNodeResponse(
            status="registered",
            node_id=request.node_id,
            is_bootstrap=self.names_bootstrap and is_new,
            nodes=others,
            leader=self.nodes.get(self.leader),
        )
        if self.registry_id:
            self.cluster_id = self.cluster_id or request.cluster_id
            answer.registry_id, answer.cluster_id = self.registry_id, self.cluster_id
            answer.bootstrap_wait_ms = self.wait_ms
        return answer

    def Heartbeat(self, request: pb.HeartbeatRequest, context: grpc.ServicerContext) -> pb.HeartbeatResponse:  # noqa: N802
        self._come("Heartbeat", request, context)
        return pb.HeartbeatResponse(status="acknowledged" if request.node_id in self.nodes else "not_found")

    def UpdateLeader(self, request: pb.UpdateLeaderRequest, context: grpc.ServicerContext) -> pb.UpdateLeaderResponse:  # noqa: N802
        self._come("UpdateLeader", request, context)
        self.leader = request.leader_id
        return pb.UpdateLeaderResponse(status="updated", leader_id=request.leader_id)

    def RemoveNode(self, request: pb.RemoveNodeRequest, context: grpc.ServicerContext) -> pb.RemoveNodeResponse:  # noqa: N802
        self._come("RemoveNode", request, context)
        self.nodes.pop(request.node_id, None)
        return pb.RemoveNodeResponse(status="removed", node_id=request.node_id)
