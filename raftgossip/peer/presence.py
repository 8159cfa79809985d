"""How others come to know of this node: it enters the roster, stays registered where newcomers ask, and goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from raftgossip.errors import Busy, CommandRefused, RaftGossipError, StorageError, TransportError
from raftgossip.facts import Notice
from raftgossip.ids import Address, NodeId
from raftgossip.peer.discovery import Discovery, refused_and_dialable
from raftgossip.peer.founding import FINAL, JOIN_TIMEOUT_MS
from raftgossip.peer.parts import Parts
from raftgossip.peer.standing import Standing
from raftgossip.runtime.grpc_client import ask_to_join
from raftgossip.runtime.service import Hints, JoinAnswer, JoinAsk

LEARN_S = 1.0
"""Between two looks whether members should be asked for names."""
ANNOUNCE_S = 0.5
"""The pause between two attempts to enter the roster; a new leader or the start of the run ends it."""
DEPART_S = 5.0
"""A node that was taken out of the roster waits no longer for the configuration without it."""

LOST_PAUSE_S = 0.2
"""Between two signs that a source was lost: one whose connection breaks all the time is not asked all the time."""
BUSY_S = 1.0
"""A source that has no time now, and does not say when it will, is asked again after so long."""
REMEMBER_PAUSE_S = 5.0
"""Where the others are is written down no more often than this."""


@dataclass(slots=True)
class _Registered:
    """This node at one source."""

    discovery: Discovery
    is_known: bool = False
    """It was registered there in this life, and not forgotten as far as this node knows."""
    is_lost: bool = False
    is_silent: bool = False
    """It failed the last time, which was told."""


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
        self._told: set[str] = set()
        """Hints that were refused, each told once."""

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
        parts = self._parts
        if standing.is_leader or standing.leader is not None:
            parts.names.learn((await self._join(parts.ask)).names)
            return
        others = [entry for entry in standing.view().roster if entry.node_id != standing.node_id]
        known = {entry.address: parts.names.server_name(entry.node_id) for entry in others}
        for address in dict.fromkeys([*known, *await self._discovered()]):
            try:
                answer = await ask_to_join(
                    address, parts.ask, JOIN_TIMEOUT_MS, parts.credentials, known.get(address, "")
                )
            except FINAL:
                raise
            except RaftGossipError:
                continue  # whoever answered "not the leader" has learned where this node is now
            parts.names.learn(answer.names)
            return

    async def learn_names(self) -> None:
        """When a stranger was refused, ask members who that may be: this node's roster may lag behind theirs, and the
        stranger may even lead by now. Runs until cancelled."""
        parts, standing = self._parts, self._standing
        while True:
            # Strangers are met in gRPC's threads, which cannot tell otherwise; and none may make this node ask often.
            await asyncio.sleep(LEARN_S)
            if not parts.names.met_stranger:
                continue
            parts.names.met_stranger = False
            for entry in standing.view().roster:
                if entry.node_id == standing.node_id:
                    continue
                try:
                    parts.names.learn(await parts.links.names_known_by(entry.node_id))
                except RaftGossipError:
                    continue
                break

    async def _discovered(self) -> list[Address]:
        """Where discovery says that others are; peers of the roster may have moved there since they were last heard."""
        found: list[Address] = []
        parts = self._parts
        peers = {entry.node_id for entry in self._standing.view().roster}
        for discovery in parts.discoveries:
            try:
                hints = await self._register(discovery)
            except RaftGossipError:
                continue
            for node_id, address in hints.peers:
                if address != parts.ask.address:
                    found.append(address)
                    if node_id in peers:
                        parts.links.set_address(node_id, address)
        return found

    async def _register(self, discovery: Discovery) -> Hints:
        """Say where this node is, and to which cluster it belongs; returns the hints that may be followed."""
        ask, standing = self._parts.ask, self._standing
        refused, hints = refused_and_dialable(
            await discovery.register(standing.node_id, ask.address, ask.owner, standing.cluster_id)
        )
        for sentence in refused:
            if sentence not in self._told:
                self._told.add(sentence)
                self._parts.emit(Notice(f"{discovery.name}: {sentence}"))
        return hints

    async def renew(self) -> None:
        """Keep this node registered, tell who leads, and remember the others; a silent source is said once and never
        waited for.

        Runs until cancelled.
        """
        async with asyncio.TaskGroup() as group:
            for discovery in self._parts.discoveries:
                registered = _Registered(discovery)
                group.create_task(self._keep(registered), name=f"registration at {discovery.name}")
                group.create_task(self._watch(registered), name=f"watch of {discovery.name}")
            await self._remember()

    async def _keep(self, registered: _Registered) -> None:
        """Registration at one source: at once, so that it learns which cluster there is, and from then on."""
        standing, parts = self._standing, self._parts
        while True:
            registered.is_lost = False
            leads = self._leadership()
            wait_s = parts.config.gateway_heartbeat_ms / 1000
            try:
                await self._renew_at(registered, leads)
                registered.is_silent = False
            except Busy as error:
                wait_s = min(wait_s, max(BUSY_S, error.retry_after_ms / 1000))
            except StorageError:
                raise
            except RaftGossipError as error:
                if not registered.is_silent:
                    registered.is_silent = True
                    what = "is silent" if isinstance(error, TransportError) else "refuses this node"
                    parts.emit(Notice(f"{registered.discovery.name} {what}; the run goes on without it ({error})"))
            await standing.until_or_timeout(
                lambda: registered.is_lost or self._leadership() != leads,  # noqa: B023 - read at once
                wait_s,
            )

    async def _renew_at(self, registered: _Registered, leads: int | None) -> None:
        discovery, standing = registered.discovery, self._standing
        if not registered.is_known or not await discovery.renew(standing.node_id, standing.cluster_id):
            registered.is_known = False
            await self._register(discovery)
            registered.is_known = True
        if leads is not None:
            try:
                await discovery.report_leader(standing.node_id, leads)
            except CommandRefused:
                pass  # somebody leads a later term; this node is about to learn of it

    def _leadership(self) -> int | None:
        """The term that this node leads; None: it does not lead."""
        return self._standing.term if self._standing.is_leader else None

    async def _watch(self, registered: _Registered) -> None:
        """A source that was away may have forgotten this node: it hears of it at once, not at the next heartbeat."""
        while True:
            await registered.discovery.lost()
            registered.is_lost = True
            self._standing.pulse()
            await asyncio.sleep(LOST_PAUSE_S)

    async def _remember(self) -> None:
        """Let the sources that outlive this node know where the others are, soon after that changes."""
        remembered: tuple[tuple[NodeId, Address], ...] = ()
        while True:
            await self._standing.until(lambda: self._others() != remembered)  # noqa: B023 - read at once
            remembered = self._others()
            for discovery in self._parts.discoveries:
                await discovery.remember(remembered)
            await asyncio.sleep(REMEMBER_PAUSE_S)

    def _others(self) -> tuple[tuple[NodeId, Address], ...]:
        roster = self._standing.view().roster
        return tuple((entry.node_id, entry.address) for entry in roster if entry.node_id != self._standing.node_id)

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
