"""How others come to know of this node: it enters the roster, stays registered where newcomers ask, and goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from raftgossip.errors import RaftGossipError
from raftgossip.facts import Notice
from raftgossip.ids import Address, NodeId
from raftgossip.peer.founding import FINAL, JOIN_TIMEOUT_MS
from raftgossip.peer.parts import Parts
from raftgossip.peer.standing import Standing
from raftgossip.runtime.grpc_client import ask_to_join
from raftgossip.runtime.service import JoinAnswer, JoinAsk

ANNOUNCE_S = 0.5
"""The pause between two attempts to enter the roster; a new leader or the start of the run ends it."""
DEPART_S = 5.0
"""A node that was taken out of the roster waits no longer for the configuration without it."""


class Presence:
    """Keeps this node known. `join` asks the leader as `Operations.join` does; `is_member` says whether Raft has it."""

    def __init__(
        self,
        parts: Parts,
        standing: Standing,
        join: Callable[[JoinAsk], Awaitable[JoinAnswer]],
        is_member: Callable[[], bool],
    ) -> None:
        self._parts = parts
        self._standing = standing
        self._join = join
        self._is_member = is_member

    async def announce(self) -> None:
        """See to it that the roster shows this life of the node; again and again until it does.

        Raises:
            RaftGossipError: the cluster refused this node for good.
        """
        warned, standing = False, self._standing
        while not standing.is_announced():
            leader, has_started = standing.leader, standing.view().specification is not None
            try:
                await self._join_anywhere()
            except FINAL:
                raise
            except RaftGossipError as error:
                if not warned and has_started:
                    warned = True
                    self._parts.emit(Notice(f"not in the cluster yet: {error}"))
            await standing.until_or_timeout(
                lambda: self._may_announce_now(leader, has_started),  # noqa: B023 - read at once
                ANNOUNCE_S,
            )

    def _may_announce_now(self, leader: NodeId | None, has_started: bool) -> bool:
        """Whether a new attempt may end otherwise than the last, made under this leader, in a run that had started."""
        standing = self._standing
        starts_now = not has_started and standing.view().specification is not None
        return standing.is_announced() or standing.leader != leader or starts_now

    async def _join_anywhere(self) -> None:
        """Through the leader if it is known, else through whoever answers."""
        standing = self._standing
        if standing.is_leader or standing.leader is not None:
            await self._join(self._parts.ask)
            return
        known = [entry.address for entry in standing.view().roster if entry.node_id != standing.node_id]
        for address in dict.fromkeys([*known, *await self._discovered()]):
            try:
                await ask_to_join(address, self._parts.ask, JOIN_TIMEOUT_MS)
            except FINAL:
                raise
            except RaftGossipError:
                continue  # whoever answered "not the leader" has learned where this node is now
            return

    async def _discovered(self) -> list[Address]:
        """Where discovery says that others are; peers of the roster may have moved there since they were last heard."""
        found: list[Address] = []
        parts = self._parts
        peers = {entry.node_id for entry in self._standing.view().roster}
        for discovery in parts.discoveries:
            try:
                hints = await discovery.register(self._standing.node_id, parts.ask.address, parts.ask.owner)
            except RaftGossipError:
                continue
            for node_id, address in hints.peers:
                if address != parts.ask.address:
                    found.append(address)
                    if node_id in peers:
                        parts.links.set_address(node_id, address)
        return found

    async def renew(self) -> None:
        """Keep the registration alive, and tell who leads; a silent gateway is said once and never waited for.

        Runs until cancelled.
        """
        silent: set[str] = set()
        for_leader, standing, parts = False, self._standing, self._parts
        while True:
            await standing.until_or_timeout(
                lambda: standing.is_leader != for_leader,  # noqa: B023 - read at once
                parts.config.gateway_heartbeat_ms / 1000,
            )
            for_leader = standing.is_leader
            for discovery in parts.discoveries:
                try:
                    if not await discovery.renew(standing.node_id):
                        await discovery.register(standing.node_id, parts.ask.address, parts.ask.owner)
                    if for_leader:
                        await discovery.report_leader(standing.node_id)
                    silent.discard(discovery.name)
                except RaftGossipError as error:
                    if discovery.name not in silent:
                        silent.add(discovery.name)
                        parts.emit(Notice(f"{discovery.name} is silent; the run goes on without it ({error})"))

    async def depart(self) -> None:
        """Once the ledger has this node no longer, whoever asked for it: go for good."""
        standing = self._standing
        await standing.until(lambda: standing.is_dismissed)
        self._parts.emit(Notice(f"node {standing.node_id} was taken out of the cluster and ends"))
        # The others may need this node's vote for the change that ends it.
        await standing.until_or_timeout(lambda: not self._is_member(), DEPART_S)
        for discovery in self._parts.discoveries:
            try:
                await discovery.leave(standing.node_id)
            except RaftGossipError:
                pass  # its registration expires by itself
        standing.has_left = True
        standing.pulse()
