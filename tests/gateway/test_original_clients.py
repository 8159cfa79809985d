"""The service's first public clients and servers, made from the original messages alone, work with ours unmodified.

They run as processes of their own: their stubs and ours describe messages of the same names.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from gateway.grpc_gateway_client import GRPCGatewayClient, GRPCGatewayDiscoveryMixin
from gateway.grpc_gateway_server import GRPCGatewayServer
from raftgossip.errors import RemoteError
from raftgossip.ids import Address, NodeId
from raftgossip.runtime.grpc_discovery import GatewayDiscovery
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

ORIGINAL = Path(__file__).resolve().parents[1] / "support" / "original_gateway"
PROTO = ORIGINAL / "grpc_comm_manager.proto"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a program that finds the original stubs, and nothing of ours."""
    folder = tmp_path_factory.mktemp("stubs")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ORIGINAL}", f"--python_out={folder}"]
    made = subprocess.run(
        [*command, f"--grpc_python_out={folder}", str(PROTO)], capture_output=True, text=True, timeout=60
    )
    assert made.returncode == 0, made.stderr
    return {"PYTHONPATH": str(folder)}


def run_client(stubs: dict[str, str], port: int, folder: Path) -> dict[str, object]:
    """What the original client saw at a gateway, step by step."""
    ended = subprocess.run(
        [sys.executable, "-P", str(ORIGINAL / "client.py"), str(port)],
        env=stubs,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    seen: dict[str, object] = json.loads(ended.stdout)
    return seen


class OriginalServer:
    """The original gateway as a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._output.readline())

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def forget(self) -> None:
        """It loses its memory."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._output.readline() == "forgotten\n"


@pytest.fixture
def original(stubs: dict[str, str], tmp_path: Path) -> Iterator[OriginalServer]:
    """A fresh original gateway."""
    command = [sys.executable, "-P", str(ORIGINAL / "server.py")]
    with subprocess.Popen(
        command, env=stubs, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield OriginalServer(process)
            process.communicate(timeout=20)
        finally:
            process.kill()


def test_the_original_messages_are_a_part_of_ours_field_by_field() -> None:
    original = re.findall(r"message (\w+) \{(.*?)\}", PROTO.read_text(), re.DOTALL)
    assert len(original) == 17
    for name, body in original:
        fields = {field: int(number) for field, number in re.findall(r"(\w+) = (\d+);", body)}
        ours = {field.name: field.number for field in getattr(pb, name).DESCRIPTOR.fields}
        assert {field: number for field, number in ours.items() if number < 100} == fields, name


def test_an_original_client_works_with_our_gateway(stubs: dict[str, str], tmp_path: Path) -> None:
    server = GRPCGatewayServer(port=0)
    server.start()
    try:
        seen = run_client(stubs, server.port, tmp_path)
    finally:
        server.stop()
    first, second, again, third = (seen.pop(name) for name in ("first", "second", "again", "third"))
    assert isinstance(first, dict) and isinstance(second, dict) and isinstance(again, dict) and isinstance(third, dict)
    node_1 = [1, "127.0.0.1", 5001, ["raft"], "active", {"zone": "a"}, True]
    # It cannot wait, so the first is told at once that it founds.
    assert first.pop("seconds") < 2.0 and first["is_bootstrap"]
    assert (first["status"], first["node_id"], first["nodes"], first["leader"]) == ("registered", 1, [], 0)
    assert first["has_message"] and 0 < first["version"] < second["version"] == again["version"]
    assert (second["status"], second["is_bootstrap"], second["nodes"]) == ("registered", False, [node_1])
    assert (again["status"], again["is_bootstrap"], again["nodes"]) == ("updated", False, [node_1])
    assert (third["is_bootstrap"], third["leader"]) == (False, 1)
    assert [node[0] for node in third["nodes"]] == [1, 2]
    assert seen == {
        "health": ["healthy", True, True],
        "nobody leads": [0, 0, True],
        "intruder": {"code": "ALREADY_EXISTS"},
        "nodes for 1": [2],
        "nodes for nobody": [1, 2],
        "unknown leads": ["failed", 9],
        "2 leads": ["updated", 2],
        "1 leads": ["updated", 1],
        "leader": [1, 5001, True],
        "beat": "acknowledged",
        "unknown beat": "not_found",
        "stats": {"total_nodes": 3, "active_nodes": 3, "leader_id": 1, "bootstrap_initiated": True},
        "leaves": ["removed", 1],
        "leaves twice": ["not_found", 1],
        "nobody leads again": [0, 0, True],
        "nodes for 2": [3],
    }


def test_our_client_works_with_an_original_gateway(original: OriginalServer) -> None:
    client, other = GRPCGatewayClient("127.0.0.1", original.port), GRPCGatewayClient("127.0.0.1", original.port)
    assert client.is_gateway_available()
    is_bootstrap, cluster = client.discover_cluster(
        1, "127.0.0.1", 5001, ["raft"], {"zone": "a"}, cluster_id="c", can_wait=True
    )
    assert is_bootstrap and cluster["nodes"] == [] and cluster["leader"] is None and cluster["registry_id"] == ""
    second = other.register_node(2, "127.0.0.1", 5002)
    assert second is not None and not second["is_bootstrap"]
    assert (second["nodes"][0]["metadata"], second["nodes"][0]["identity"]) == ({"zone": "a"}, "")
    assert client.update_leader(2, term=7)
    leader = client.get_leader()
    assert leader is not None and (leader["node_id"], leader["term"], leader["age_ms"]) == (2, 0, 0)
    assert client.heartbeat() == {"status": "acknowledged", "registry_version": 2, "registry_id": ""}
    assert [node["node_id"] for node in client.get_nodes()] == [2]
    assert [node["node_id"] for node in client.iter_nodes(1, exclude_self=False)] == [1, 2]
    changes, stats = client.get_changes(1, ""), client.get_stats()
    assert changes is not None and not changes["is_delta"] and len(changes["nodes"]) == 1
    assert stats is not None and (stats["total_nodes"], stats["leader_id"], stats["gateways"]) == (2, 2, [])
    with client.watch_nodes() as watch, pytest.raises(RemoteError, match="UNIMPLEMENTED"):
        next(watch)
    original.forget()
    answer = client.heartbeat()
    assert answer is not None and answer["status"] == "not_found" and client.is_registered
    assert client.heartbeat() == {"status": "acknowledged", "registry_version": 3, "registry_id": ""}
    assert client.remove_node() and not client.remove_node(9)
    client.shutdown()
    other.shutdown()


def test_our_mixin_works_with_an_original_gateway(original: OriginalServer) -> None:
    class Node(GRPCGatewayDiscoveryMixin):
        """A user's class."""

    node = Node()
    assert node.initialize_gateway_discovery("127.0.0.1", original.port, 1, "127.0.0.1", 5001, ["raft"])
    assert node.is_bootstrap_node() and node.get_cluster_nodes() == []
    assert node.update_gateway_leader(1)
    leader, info = node.get_cluster_leader(), node.get_discovery_info()
    assert leader is not None and leader["node_id"] == 1
    assert info["gateway_available"] and info["is_bootstrap"] and info["error"] == ""
    node.shutdown_gateway_discovery()


def test_our_peers_discovery_works_with_an_original_gateway(original: OriginalServer) -> None:
    async def story() -> None:
        first, second = (GatewayDiscovery([Address("127.0.0.1", original.port)]) for _ in range(2))
        here = Address("127.0.0.1", 5001)
        hints = await first.register(NodeId(1), here, "owner-1", "")
        assert hints.is_bootstrap and hints.peers == ()
        hints = await second.register(NodeId(2), Address("127.0.0.1", 5002), "owner-2", "")
        assert not hints.is_bootstrap and hints.peers == ((NodeId(1), here),)
        assert await first.renew(NodeId(1), "c")
        await first.report_leader(NodeId(1), 7)
        original.forget()
        assert not await first.renew(NodeId(1), "c")
        await second.leave(NodeId(2))
        await first.close()
        await second.close()

    asyncio.run(story())
