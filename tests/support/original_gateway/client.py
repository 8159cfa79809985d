"""A client as the first public ones are: it knows only the original messages. Prints what each step brought, as JSON.

Run as a program, with the stubs of `grpc_comm_manager.proto` beside this file on the path; it imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import grpc
import grpc_comm_manager_pb2 as messages  # type: ignore[import-not-found]
import grpc_comm_manager_pb2_grpc as stubs  # type: ignore[import-not-found]

TIMEOUT_S = 10.0


class OriginalClient:
    """The eight calls."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"localhost:{port}")
        self._stub = stubs.GatewayServiceStub(self._channel)

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def register(self, node_id: int, port: int) -> dict[str, Any]:
        """A registration, its fields, and how many seconds it took; or the code of the refusal."""
        request = messages.RegisterNodeRequest(
            node_id=node_id, ip_address="127.0.0.1", port=port, capabilities=["raft"], metadata={"zone": "a"}
        )
        start = time.perf_counter()
        try:
            answer = self._stub.RegisterNode(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return {"code": error.code().name}
        return {
            "status": answer.status,
            "node_id": answer.node_id,
            "is_bootstrap": answer.is_bootstrap,
            "nodes": [shown(node) for node in answer.nodes],
            "leader": answer.leader.node_id,
            "has_message": bool(answer.message),
            "version": answer.registry_version,
            "seconds": time.perf_counter() - start,
        }

    def nodes(self, asker: int) -> list[int]:
        """The ids of the others."""
        answer = self._stub.GetNodes(messages.GetNodesRequest(requesting_node_id=asker), timeout=TIMEOUT_S)
        return sorted(node.node_id for node in answer.nodes)

    def leader(self) -> list[Any]:
        """Its id, its port, and whether there is a message."""
        answer = self._stub.GetLeader(messages.GetLeaderRequest(), timeout=TIMEOUT_S)
        return [answer.leader.node_id, answer.leader.port, bool(answer.message)]

    def report_leader(self, node_id: int) -> list[Any]:
        """The status, and the id that is answered."""
        answer = self._stub.UpdateLeader(messages.UpdateLeaderRequest(leader_id=node_id), timeout=TIMEOUT_S)
        return [answer.status, answer.leader_id]

    def beat(self, node_id: int) -> str:
        """The status."""
        answer = self._stub.Heartbeat(messages.HeartbeatRequest(node_id=node_id), timeout=TIMEOUT_S)
        return str(answer.status)

    def health(self) -> list[Any]:
        """The status, and whether the other fields are set."""
        answer = self._stub.HealthCheck(messages.HealthCheckRequest(), timeout=TIMEOUT_S)
        return [answer.status, answer.timestamp > 1.6e9, bool(answer.version)]

    def remove(self, node_id: int) -> list[Any]:
        """The status, and the id that is answered."""
        answer = self._stub.RemoveNode(messages.RemoveNodeRequest(node_id=node_id), timeout=TIMEOUT_S)
        return [answer.status, answer.node_id]

    def stats(self) -> dict[str, Any]:
        """All fields but the uptime."""
        answer = self._stub.GetStats(messages.GetStatsRequest(), timeout=TIMEOUT_S)
        return {
            "total_nodes": answer.total_nodes,
            "active_nodes": answer.active_nodes,
            "leader_id": answer.leader_id,
            "bootstrap_initiated": answer.bootstrap_initiated,
        }


def shown(node: Any) -> list[Any]:
    """What an original client reads of a node."""
    return [
        node.node_id,
        node.ip_address,
        node.port,
        list(node.capabilities),
        node.status,
        dict(node.metadata),
        node.last_seen > 1.6e9 and node.join_timestamp > 1.6e9,
    ]


def main(port: int) -> dict[str, Any]:
    """Two nodes meet at a fresh gateway, one is made leader, and leaves."""
    client = OriginalClient(port)
    try:
        return {
            "health": client.health(),
            "nobody leads": client.leader(),
            "first": client.register(1, 5001),
            "second": client.register(2, 5002),
            "again": client.register(2, 5002),
            "intruder": client.register(2, 6666),
            "nodes for 1": client.nodes(1),
            "nodes for nobody": client.nodes(0),
            "unknown leads": client.report_leader(9),
            "2 leads": client.report_leader(2),
            "1 leads": client.report_leader(1),
            "leader": client.leader(),
            "third": client.register(3, 5003),
            "beat": client.beat(1),
            "unknown beat": client.beat(9),
            "stats": client.stats(),
            "leaves": client.remove(1),
            "leaves twice": client.remove(1),
            "nobody leads again": client.leader(),
            "nodes for 2": client.nodes(2),
        }
    finally:
        client.close()


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
