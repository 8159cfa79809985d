"""Nodes that look for a cluster, gateways that may lie, and a network that takes its time; all in one event loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from raftgossip.errors import Busy, NotFound, TransportError
from raftgossip.ids import Address, Incarnation, NodeId
from raftgossip.peer.discovery import Discovery
from raftgossip.peer.founding import FoundingRules, Intent, enter_cluster
from raftgossip.runtime.service import Hints, JoinAnswer, JoinAsk


def address_of(node_id: int) -> Address:
    return Address("10.0.0.1", 7000 + node_id)


def ask_of(node_id: int) -> JoinAsk:
    return JoinAsk(NodeId(node_id), address_of(node_id), Incarnation("a"), "o", b"s" * 32, "toy", "", ())


def has_no_cluster(node_id: int) -> NotFound:
    """What a peer without a cluster answers to a `Join`."""
    return NotFound(f"node {node_id} belongs to no cluster yet")


def may_found(node_id: int) -> Busy:
    """What it answers when it has declared that it may found one."""
    return Busy(f"node {node_id} may be about to found a cluster; ask again")


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


class Search:
    """One node that looks for a cluster; `answers`: of the peers by id, in turn, the last one for ever.

    It ends with TimeoutError when it has waited for `patience_ms` of its own time.
    """

    def __init__(self, me: int = 4, rules: FoundingRules | None = None, patience_ms: int = 60_000) -> None:
        self.me = me
        self.rules = rules or FoundingRules()
        self.answers: dict[int, list[JoinAnswer | Exception]] = {}
        self.asked: list[Address] = []
        self.told: list[str] = []
        self.pauses: list[int] = []
        self.declared: list[bool] = []
        self.intent = Intent()
        self._patience_ms = patience_ms

    async def _join(self, address: Address, ask: JoinAsk, timeout_ms: int) -> JoinAnswer:
        self.asked.append(address)
        self.declared.append(self.intent.is_declared)
        answers = self.answers.get(address.port - 7000, [TransportError("nobody is there")])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _pause(self, milliseconds: int) -> None:
        assert milliseconds > 0
        self.pauses.append(milliseconds)
        if sum(self.pauses) > self._patience_ms:
            raise TimeoutError

    def run(self, *discoveries: Discovery) -> JoinAnswer | None:
        return asyncio.run(
            enter_cluster(
                ask_of(self.me), discoveries, self.rules, self._join, self._pause, self.told.append, self.intent
            )
        )

    def waits(self, *discoveries: Discovery) -> bool:
        """Whether it neither founds nor joins."""
        try:
            self.run(*discoveries)
        except TimeoutError:
            return True
        return False


def peers(*node_ids: int) -> tuple[tuple[NodeId, Address], ...]:
    return tuple((NodeId(node_id), address_of(node_id)) for node_id in node_ids)


def hints(*node_ids: int, bootstrap: bool = False, cluster_id: str = "", wait_ms: int = 0) -> ListedPeers:
    return ListedPeers(Hints(bootstrap, peers(*node_ids), cluster_id, wait_ms))


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
        self.forwarded: dict[Address, Address] = {}
        """Addresses that lead to somebody else's."""
        self.num_founded = 0
        self._lag = lag

    async def travel(self) -> None:
        """Time passes."""
        for _ in range(self.rng.randrange(self._lag)):
            await asyncio.sleep(0)

    async def join(self, address: Address, ask: JoinAsk, timeout_ms: int) -> JoinAnswer:
        """As `ask_to_join`."""
        await self.travel()
        node = self.nodes.get(self.forwarded.get(address, address))
        if node is None:
            raise TransportError("nobody is there")
        cluster_id, is_declared = node.cluster_id, node.intent.is_declared
        await self.travel()
        if cluster_id:
            return JoinAnswer(cluster_id, (), None, None)
        raise may_found(node.node_id) if is_declared else has_no_cluster(node.node_id)

    async def live(self, node_id: int, gateways: Sequence[ListedPeers], rules: FoundingRules) -> None:
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


class ForwardingGateway(ListedPeers):
    """Names everybody; hides, renames and invents nodes anew in each answer, some at addresses that it forwards."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._real: list[Address] = []

    async def register(self, node_id: NodeId, address: Address, owner: str, cluster_id: str) -> Hints:
        await self._world.travel()
        rng = self._world.rng
        if address not in self._real:
            self._real.append(address)
        shown = [each for each in self._real if rng.random() < 0.7]
        for number in range(900, 904):
            alias = address_of(number)
            self._world.forwarded.pop(alias, None)
            if rng.random() < 0.7:
                self._world.forwarded[alias] = rng.choice(self._real)
            shown.append(alias)
        renamed = rng.sample(range(node_id, 2_000), len(shown))  # the asker is the smallest of them
        await self._world.travel()
        return Hints(True, tuple((NodeId(each), at) for each, at in zip(renamed, shown, strict=True)))


def together(seed: int, num_nodes: int, num_gateways: int, to_all: bool, rules: FoundingRules) -> World:
    """All nodes start at once, and each knows the gateways in an order of its own."""
    world = World(seed, lag=1 + seed % 9)

    async def main() -> None:
        gateways = [LyingGateway(world, to_all) for _ in range(num_gateways)]
        node_ids = world.rng.sample(range(1, 50), num_nodes)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for node_id in node_ids:
                order: Sequence[LyingGateway] = world.rng.sample(gateways, num_gateways)
                group.create_task(world.live(node_id, order, rules))

    asyncio.run(main())
    return world
