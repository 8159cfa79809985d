"""Asks gateways for peers: one more source of hints, tried in order, never needed twice.

A peer that was once told an address goes on without any gateway. The stand-alone client for users' own classes is
`gateway.grpc_gateway_client`; this one lives on the peer's event loop and shares nothing with it but the wire.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import grpc
import grpc.aio

from raftgossip.errors import AlreadyExists, ConfigError, PermissionDenied, RaftGossipError, TransportError, WireError
from raftgossip.ids import Address, NodeId
from raftgossip.runtime.grpc_client import CHANNEL_OPTIONS
from raftgossip.runtime.service import Hints
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from raftgossip.wire.status import error_from_rpc

CALL_TIMEOUT_S = 5.0
Answer = TypeVar("Answer")


class GatewayDiscovery:
    """Registers this node at the first gateway of a list that answers. Satisfies `peer.discovery.Discovery`."""

    def __init__(self, gateways: Sequence[Address]) -> None:
        if not gateways:
            raise ConfigError("no gateway address is given")
        self._gateways = tuple(gateways)

    @property
    def name(self) -> str:
        """For messages to people."""
        return "gateway " + ", ".join(str(address) for address in self._gateways)

    async def register(self, node_id: NodeId, address: Address, owner: str) -> Hints:
        """Say where this node listens; returns who else is there.

        Raises:
            AlreadyExists: another owner holds this node id.
            TransportError: no gateway answered.
        """
        request = pb.RegisterNodeRequest(
            node_id=node_id,
            ip_address=address.host,
            port=address.port,
            capabilities=["raft", "gossip"],
            metadata={"owner": owner},
        )
        response = await self._first(lambda stub: stub.RegisterNode(request, timeout=CALL_TIMEOUT_S))
        nodes = list(response.nodes)
        if response.HasField("leader") and response.leader.node_id:
            nodes.insert(0, response.leader)
        return Hints(response.is_bootstrap, _peers(nodes, node_id))

    async def renew(self, node_id: NodeId) -> bool:
        """Tell the gateway that this node lives; False: it has forgotten us, register again."""
        request = pb.HeartbeatRequest(node_id=node_id)
        response = await self._first(lambda stub: stub.Heartbeat(request, timeout=CALL_TIMEOUT_S))
        return bool(response.status != "not_found")

    async def report_leader(self, node_id: NodeId) -> None:
        """Leave a hint who leads, for newcomers."""
        request = pb.UpdateLeaderRequest(leader_id=node_id)
        await self._first(lambda stub: stub.UpdateLeader(request, timeout=CALL_TIMEOUT_S))

    async def leave(self, node_id: NodeId) -> None:
        """Take this node off the list."""
        request = pb.RemoveNodeRequest(node_id=node_id)
        await self._first(lambda stub: stub.RemoveNode(request, timeout=1.0))

    async def _first(self, call: Callable[[pb_grpc.GatewayServiceStub], Awaitable[Answer]]) -> Answer:
        problems: list[str] = []
        for address in self._gateways:
            async with grpc.aio.insecure_channel(str(address), options=CHANNEL_OPTIONS) as channel:
                try:
                    return await call(pb_grpc.GatewayServiceStub(channel))
                except grpc.aio.AioRpcError as error:
                    mapped = error_from_rpc(error)
                    if isinstance(mapped, AlreadyExists | PermissionDenied | WireError):
                        raise mapped from None
                    problems.append(f"{address}: {mapped}")
        raise TransportError("no gateway answered (" + "; ".join(problems) + ")")


def _peers(nodes: Sequence[pb.NodeInfo], me: NodeId) -> tuple[tuple[NodeId, Address], ...]:
    """The usable addresses; a malformed one is only a bad hint and is left out."""
    peers: dict[NodeId, Address] = {}
    for node in nodes:
        try:
            address = Address(node.ip_address, node.port)
        except RaftGossipError:
            continue
        if node.node_id > 0 and node.node_id != me:
            peers.setdefault(NodeId(node.node_id), address)
    return tuple(peers.items())
