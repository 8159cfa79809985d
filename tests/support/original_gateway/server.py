"""A gateway as the first public ones are: it knows only the original messages. Prints its port and runs until its input
ends; forgets everybody when it reads a line.

Run as a program, with the stubs of `grpc_comm_manager.proto` beside this file on the path; it imports nothing of ours.
"""

from __future__ import annotations

import sys
import time
from concurrent import futures
from typing import Any

import grpc
import grpc_comm_manager_pb2 as messages  # type: ignore[import-not-found]
import grpc_comm_manager_pb2_grpc as stubs  # type: ignore[import-not-found]


class OriginalGateway(stubs.GatewayServiceServicer):  # type: ignore[misc] # generated, without types
    """A dict of nodes."""

    def __init__(self) -> None:
        self.nodes: dict[int, Any] = {}
        self.leader_id = 0
        self.version = 0
        self.had_bootstrap = False

    def RegisterNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Enter a node."""
        is_new, is_bootstrap = request.node_id not in self.nodes, not self.had_bootstrap
        others = [node for node_id, node in self.nodes.items() if node_id != request.node_id]
        self.had_bootstrap = True
        self.version += 1
        self.nodes[request.node_id] = messages.NodeInfo(
            node_id=request.node_id,
            ip_address=request.ip_address,
            port=request.port,
            capabilities=request.capabilities,
            status="active",
            last_seen=time.time(),  # noqa: TID251 - as it was
            join_timestamp=time.time(),  # noqa: TID251 - as it was
            metadata=dict(request.metadata),
        )
        return messages.RegisterNodeResponse(
            status="registered" if is_new else "updated",
            node_id=request.node_id,
            is_bootstrap=is_bootstrap,
            registry_version=self.version,
            nodes=others,
            leader=self.nodes.get(self.leader_id),
            message="welcome",
        )

    def GetNodes(self, request: Any, context: Any) -> Any:  # noqa: N802
        """List all but the asker."""
        nodes = [node for node_id, node in self.nodes.items() if node_id != request.requesting_node_id]
        return messages.GetNodesResponse(nodes=nodes, registry_version=self.version)

    def GetLeader(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell who leads."""
        return messages.GetLeaderResponse(leader=self.nodes.get(self.leader_id), registry_version=self.version)

    def UpdateLeader(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Note who leads."""
        is_known = request.leader_id in self.nodes
        if is_known:
            self.leader_id = request.leader_id
        return messages.UpdateLeaderResponse(status="updated" if is_known else "failed", leader_id=request.leader_id)

    def Heartbeat(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Note a sign of life."""
        status = "acknowledged" if request.node_id in self.nodes else "not_found"
        return messages.HeartbeatResponse(status=status, registry_version=self.version)

    def HealthCheck(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell that it runs."""
        return messages.HealthCheckResponse(status="healthy", timestamp=time.time(), version="1.0")  # noqa: TID251

    def RemoveNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Forget a node."""
        is_known = self.nodes.pop(request.node_id, None) is not None
        return messages.RemoveNodeResponse(status="removed" if is_known else "not_found", node_id=request.node_id)

    def GetStats(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Count."""
        return messages.GetStatsResponse(
            total_nodes=len(self.nodes), active_nodes=len(self.nodes), leader_id=self.leader_id, uptime=1.0
        )


def main() -> None:
    """Serve until the input ends."""
    gateway = OriginalGateway()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    stubs.add_GatewayServiceServicer_to_server(gateway, server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    for _ in sys.stdin:
        gateway.nodes.clear()
        print("forgotten", flush=True)
    server.stop(0).wait()


if __name__ == "__main__":
    main()
