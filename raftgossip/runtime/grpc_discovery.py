"""Asks gateways for peers: one more source of hints, never needed twice.

A node without a cluster asks all gateways, for any of them may know the cluster; one that has a cluster stays with the
first that answers, and goes on to the next when that one is silent. Each keeps one open connection. The stand-alone
client for users' own classes is `gateway.grpc_gateway_client`; this one lives on the peer's event loop and shares
nothing with it but the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import grpc
import grpc.aio

from raftgossip.errors import (
    AlreadyExists,
    Busy,
    CommandRefused,
    ConfigError,
    DeadlineExceeded,
    PermissionDenied,
    RaftGossipError,
    TransportError,
    Unauthenticated,
    WireError,
)
from raftgossip.ids import Address, NodeId
from raftgossip.runtime.address_sources import AddressSource, HostSource, SystemLookup
from raftgossip.runtime.grpc_client import CHANNEL_OPTIONS
from raftgossip.runtime.service import Hints
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role, role_server_name
from raftgossip.wire.channels import open_aio_channel
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from raftgossip.wire.status import error_from_rpc

CALL_TIMEOUT_S = 5.0
LEAVE_TIMEOUT_S = 1.0
"""For taking a node off a list: it is about to end, and its registration would expire by itself."""
MAX_GATEWAYS = 32
"""Addresses that are kept; lists and names that stand for more are cut short."""
_OPTIONS = (
    *CHANNEL_OPTIONS,
    # Else a new channel would share the connection of one that was given up, if that is not quite closed yet.
    ("grpc.use_local_subchannel_pool", 1),
)
MAX_WAIT_MS = 60_000
"""A gateway that asks for more patience is not obeyed."""

FINAL = (AlreadyExists, PermissionDenied, Unauthenticated, WireError, CommandRefused)
"""Answers about this node: another gateway would give the same."""

Answer = TypeVar("Answer")
Call = Callable[[pb_grpc.GatewayServiceStub], Awaitable[Answer]]


class GatewayDiscovery:
    """Registers this node at gateways. Satisfies `peer.discovery.Discovery`; several tasks may call it at once.

    Invariant: `_current`, once set, is one of `_known`, and so is every key of `_channels` or it is about to be closed.
    """

    def __init__(self, gateways: Sequence[Address | AddressSource], credentials: LiveCredentials | None = None) -> None:
        """Nothing is dialled yet. A name stands for all its addresses, each a gateway of its own. `credentials`: what
        this node shows, and whose federation a gateway must belong to; None: everything is open.

        Raises:
            ConfigError: no gateway is given.
        """
        if not gateways:
            raise ConfigError("no gateway address is given")
        self._sources = tuple(_source(gateway) for gateway in gateways)
        self._credentials = credentials
        self._generation = 0
        self._known: tuple[Address, ...] = ()
        self._current: Address | None = None
        self._registered: set[Address] = set()
        self._named_by: set[Address] = set()
        """Gateways of the original kind that named this node the bootstrap: they say it once and never again."""
        self._channels: dict[Address, grpc.aio.Channel] = {}
        self._moved = asyncio.Event()

    @property
    def name(self) -> str:
        """For messages to people."""
        return "gateway " + ", ".join(source.name for source in self._sources)

    async def register(self, node_id: NodeId, address: Address, owner: str, cluster_id: str) -> Hints:
        """Say where this node listens, and which cluster it belongs to; returns who else is there.

        Raises:
            AlreadyExists: another owner holds this node id.
            PermissionDenied: the gateway does not let this node register itself.
            Unauthenticated: it does not accept this node's certificate.
            Busy: no gateway has time now, or room; says when to ask again.
            TransportError: no gateway answered.
        """
        request = pb.RegisterNodeRequest(
            node_id=node_id,
            ip_address=address.host,
            port=address.port,
            capabilities=["raft", "gossip"],
            metadata={"owner": owner},
            cluster_id=cluster_id,
            can_wait=True,
        )
        hints: list[Hints] = []
        problems: list[str] = []
        busy: Busy | None = None
        for gateway in await self._all(problems):
            try:
                answer = await self._call(gateway, lambda stub: stub.RegisterNode(request, timeout=CALL_TIMEOUT_S))
            except FINAL:
                raise
            except RaftGossipError as error:
                problems.append(f"{gateway}: {error}")
                busy = error if isinstance(error, Busy) else busy
                self._registered.discard(gateway)
                continue
            hints.append(self._hints_from(gateway, answer, node_id))
            self._registered.add(gateway)
            decides = bool(cluster_id or hints[-1].cluster_id)
            if decides or len(hints) == 1:
                self._move_to(gateway)
            if decides:
                break  # until a cluster is known all are asked: any of them may know it, or who else wants to found it
        if not hints and busy is not None:
            raise Busy("; ".join(problems), busy.retry_after_ms)
        if not hints:
            raise TransportError("no gateway answered (" + "; ".join(problems) + ")")
        return _together(hints)

    async def renew(self, node_id: NodeId, cluster_id: str) -> bool:
        """Tell the gateway that this node lives; False: it has forgotten us, or another one must be asked: register.

        Raises:
            PermissionDenied: this node may not say so.
            RaftGossipError: the gateway refuses for another reason.
        """
        gateway = self._current
        if gateway is None or gateway not in self._registered:
            return False
        request = pb.HeartbeatRequest(node_id=node_id, cluster_id=cluster_id)
        try:
            answer = await self._call(gateway, lambda stub: stub.Heartbeat(request, timeout=CALL_TIMEOUT_S))
        except TransportError:
            self._registered.discard(gateway)
            if gateway == self._current:
                self._move_to(self._after(gateway))
            return False
        return bool(answer.status != "not_found")

    async def report_leader(self, node_id: NodeId, term: int) -> None:
        """Leave a hint who leads since which term, for newcomers.

        Raises:
            CommandRefused: somebody leads a later term.
            TransportError: the gateway is silent.
        """
        if self._current is None:
            raise TransportError("no gateway has answered yet")
        request = pb.UpdateLeaderRequest(leader_id=node_id, term=term)
        await self._call(self._current, lambda stub: stub.UpdateLeader(request, timeout=CALL_TIMEOUT_S))

    async def leave(self, node_id: NodeId) -> None:
        """Take this node off the list, wherever it was entered.

        Raises:
            RaftGossipError: a gateway is silent, or refuses.
        """
        request = pb.RemoveNodeRequest(node_id=node_id)
        problem: RaftGossipError | None = None
        for gateway in self._ordered(self._registered):
            try:
                await self._call(gateway, lambda stub: stub.RemoveNode(request, timeout=LEAVE_TIMEOUT_S))
            except RaftGossipError as error:
                problem = error
        self._registered.clear()
        if problem is not None:
            raise problem

    async def remember(self, peers: Sequence[tuple[NodeId, Address]]) -> None:
        """A gateway learns of peers from themselves."""

    async def lost(self) -> None:
        """Return when the connection to the current gateway broke and one is there again; where there are several
        gateways, as soon as it broke, for another one may answer. Who is told should call `renew`. For one task.

        A gateway that was out of reach from the beginning counts as broken, too.
        """
        while True:
            gateway, moved = self._current, self._moved
            if gateway is None:
                await moved.wait()
                continue
            channel = await self._channel(gateway)
            state = channel.get_state(try_to_connect=True)
            if state is _READY and not await _changes([(channel, state)], moved):
                continue
            if state is _READY and len(self._known) > 1:
                return
            break
        while True:
            channels = [await self._channel(gateway) for gateway in self._known]
            states = [(channel, channel.get_state(try_to_connect=True)) for channel in channels]
            if any(state is _READY for _, state in states):
                return
            await _changes(states, self._moved)

    async def close(self) -> None:
        """Close all connections; calls in flight end with `TransportError`."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()

    # --- which gateway

    async def _all(self, problems: list[str]) -> tuple[Address, ...]:
        """All gateways, the current one first; names are asked for again where the current one is not settled."""
        if self._current is None or self._current not in self._registered:
            found: dict[Address, None] = {}
            for source in self._sources:
                try:
                    found.update(dict.fromkeys(await source.addresses()))
                except TransportError as error:
                    problems.append(str(error))
            if found:
                self._known = tuple(found)[:MAX_GATEWAYS]
            if self._known and self._current not in self._known:
                self._current = self._known[0]
                self._wake()
        return self._ordered(self._known)

    def _ordered(self, gateways: Iterable[Address]) -> tuple[Address, ...]:
        """In the order of the list, beginning with the current one."""
        start = self._known.index(self._current) if self._current in self._known else 0
        wanted = frozenset(gateways)
        return tuple(gateway for gateway in (*self._known[start:], *self._known[:start]) if gateway in wanted)

    def _after(self, gateway: Address) -> Address:
        return (*self._known, self._known[0])[self._known.index(gateway) + 1]

    def _move_to(self, gateway: Address) -> None:
        if gateway in self._known and gateway != self._current:  # the names may stand for others since it was asked
            self._current = gateway
            self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    # --- connections

    async def _call(self, gateway: Address, call: Call[Answer]) -> Answer:
        channel = await self._channel(gateway)
        try:
            return await call(pb_grpc.GatewayServiceStub(channel))
        except grpc.aio.AioRpcError as error:
            problem = error_from_rpc(error)
            if isinstance(problem, DeadlineExceeded):
                await self._close(gateway, channel)  # it may lead to a machine that is gone: the next call dials anew
            raise problem from None
        except (grpc.aio.UsageError, asyncio.CancelledError) as error:
            # A call ends like a cancelled task when another task closes its channel; unless somebody did cancel this
            # one, that is a broken connection.
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            raise TransportError(f"the connection to {gateway} was closed") from None

    async def _channel(self, gateway: Address) -> grpc.aio.Channel:
        """The open connection; a renewed certificate opens them all anew."""
        credentials = self._credentials
        if credentials is not None and credentials.generation != self._generation:
            self._generation = credentials.generation
            await self.close()
        channel = self._channels.get(gateway)
        if channel is None:
            federation = credentials.current().identity.federation if credentials is not None else ""
            server_name = role_server_name(Role.GATEWAY, federation)
            channel = self._channels[gateway] = open_aio_channel(gateway, credentials, server_name, _OPTIONS)
        return channel

    async def _close(self, gateway: Address, channel: grpc.aio.Channel) -> None:
        if self._channels.get(gateway) is channel:
            del self._channels[gateway]
        await channel.close()

    def _hints_from(self, gateway: Address, answer: pb.RegisterNodeResponse, me: NodeId) -> Hints:
        nodes = list(answer.nodes)
        if answer.HasField("leader") and answer.leader.node_id:
            nodes.insert(0, answer.leader)
        if answer.is_bootstrap and not answer.registry_id:
            self._named_by.add(gateway)
        is_bootstrap = answer.is_bootstrap or (gateway in self._named_by and not answer.registry_id)
        return Hints(is_bootstrap, _peers(nodes, me), answer.cluster_id, min(answer.bootstrap_wait_ms, MAX_WAIT_MS))


_READY = grpc.ChannelConnectivity.READY


async def _changes(states: Sequence[tuple[grpc.aio.Channel, grpc.ChannelConnectivity]], moved: asyncio.Event) -> bool:
    """Wait until a channel is in another state than it was, or is closed; False: `moved` came first."""

    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(_watch(channel, state)) for channel, state in states]
        moving = group.create_task(moved.wait())
        done, _ = await asyncio.wait({*watching, moving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*watching, moving):
            task.cancel()
    return done != {moving}


async def _watch(channel: grpc.aio.Channel, state: grpc.ChannelConnectivity) -> None:
    try:
        await channel.wait_for_state_change(state)
    except grpc.aio.UsageError:
        pass  # it is closed


def _source(gateway: Address | AddressSource) -> AddressSource:
    return HostSource(str(gateway), gateway, SystemLookup()) if isinstance(gateway, Address) else gateway


def _together(answers: Sequence[Hints]) -> Hints:
    """What several gateways say: a cluster that one knows counts for all."""
    return Hints(
        is_bootstrap=any(hints.is_bootstrap for hints in answers),
        peers=tuple(dict.fromkeys(peer for hints in answers for peer in hints.peers)),
        cluster_id=next((hints.cluster_id for hints in answers if hints.cluster_id), ""),
        wait_ms=max(hints.wait_ms for hints in answers),
    )


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
