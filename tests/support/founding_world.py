"""Nodes that look for a cluster, gateways that may lie, and a network that takes its time; all in one event loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from raftgossip.errors import Busy, NotFound, TransportError
from raftgossip.ids import Address, Incarnation, NodeId
from raftgossip.peer.founding import FoundingRules, Intent, enter_cluster
from raftgossip.runtime.service import Hints, JoinAnswer, JoinAsk


def address_of(node_id: int) -> Address:
    return Address("10.0.0.1", 7000 + node_id)


def ask_of(node_id: int) -> JoinAsk:
    return JoinAsk(NodeId(node_id), address_of(node_id), Incarnation("a"), "o", b"s" * 32, "toy", "", ())


class ListedPeers:
    """A discovery that answers what a test wants, one `Hints` or error after the other, the last one for ever."""

    def __init__(self, *answers: Hints | Exception, name: str = "gateway g:8090") -> None:
        self.answers = list(answers)
        self.name = name
        self.registered: list[tuple[NodeId, Address, str, str]] = []
        self.remembered: list[tuple[tuple[NodeId, Address], ...]] = []
        self.renewed: list[tuple[NodeId, str]] = []
        self.leaders: list[tuple[NodeId, int]] = []
        self.has_left = False
        self.is_known = True
        """What `renew` answers."""
        self.errors: list[Exception] = []
        """Raised one by one by `renew`."""
        self.report_errors: list[Exception] = []
        self.loss = asyncio.Event()

    async def register(self, node_id: NodeId, address: Address, owner: str, cluster_id: str) -> Hints:
        self.registered.append((node_id, address, owner, cluster_id))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        self.is_known = True
        return answer

    async def renew(self, node_id: NodeId, cluster_id: str) -> bool:
        self.renewed.append((node_id, cluster_id))
        if self.errors:
            raise self.errors.pop(0)
        return self.is_known

    async def report_leader(self, node_id: NodeId, term: int) -> None:
        if self.report_errors:
            raise self.report_errors.pop(0)
        self.leaders.append((node_id, term))

    async def leave(self, node_id: NodeId) -> None:
        self.has_left = True

    async def remember(self, peers: Sequence[tuple[NodeId, Address]]) -> None:
        self.remembered.append(tuple(peers))

    async def lost(self) -> None:
        await self.loss.wait()
        self.loss.clear()

    async def close(self) -> None:
        """Nothing is open."""


@dataclass(slots=True)
class WorldNode:
    """One node: what others hear from it."""

    node_id: NodeId
    intent: Intent = field(default_factory=Intent)
    cluster_id: str = ""


class World:
    """`lags`: each message takes up to so many turns of the loop. Whoever a gateway names, it names for ever."""

    def __init__(self, seed: int, lag: int) -> None:
        self.rng = random.Random(seed)
        self.nodes: dict[Address, WorldNode] = {}
        self.num_founded = 0
        self._lag = lag

    async def travel(self) -> None:
        """Time passes."""
        for _ in range(self.rng.randrange(self._lag)):
            await asyncio.sleep(0)

    async def join(self, address: Address, ask: JoinAsk, timeout_ms: int) -> JoinAnswer:
        """As `ask_to_join`."""
        await self.travel()
        node = self.nodes.get(address)
        if node is None:
            raise TransportError("nobody is there")
        cluster_id, is_declared = node.cluster_id, node.intent.is_declared
        await self.travel()
        if cluster_id:
            return JoinAnswer(cluster_id, (), None, None)
        raise Busy("maybe") if is_declared else NotFound("none yet")

    async def live(self, node_id: int, gateways: Sequence[LyingGateway], rules: FoundingRules) -> None:
        """From the start of a node until it has a cluster."""
        await self.travel()
        node = self.nodes[address_of(node_id)] = WorldNode(NodeId(node_id))

        async def pause(milliseconds: int) -> None:
            for _ in range(self.rng.randrange(1, 2 + milliseconds // 20)):
                await self.travel()
                await asyncio.sleep(0)

        answer = await enter_cluster(ask_of(node_id), gateways, rules, self.join, pause, lambda _: None, node.intent)
        if answer is not None:
            node.cluster_id = answer.cluster_id
            return
        self.num_founded += 1
        await self.travel()
        node.cluster_id = f"cluster of {node_id}"


class LyingGateway(ListedPeers):
    """Lists whoever registers, and says "you are the bootstrap" to all of them, or to its own first one only."""

    def __init__(self, world: World, to_all: bool) -> None:
        super().__init__()
        self._world = world
        self._to_all = to_all
        self._order: list[NodeId] = []

    async def register(self, node_id: NodeId, address: Address, owner: str, cluster_id: str) -> Hints:
        await self._world.travel()
        if node_id not in self._order:
            self._order.append(node_id)
        is_bootstrap = self._to_all or self._order[0] == node_id
        others = tuple((other, address_of(other)) for other in self._order if other != node_id)
        await self._world.travel()
        return Hints(is_bootstrap, others)
