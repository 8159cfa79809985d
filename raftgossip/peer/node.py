"""A node inside its cluster: drives the cores, routes facts between them, answers its peers.

Facts have one router, `_route`: to the coordinator as events, to the round as "look again", to the links as
addresses, and as copies to observers. So gossip and transport only advise, and only a committed command changes an
epoch.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from raftgossip.core.epoch.command import CloseEpoch, Command, EpochRecord, RemovePeer, StartRun
from raftgossip.core.epoch.coordinator import (
    Coordinator,
    CoordinatorEvent,
    CoordinatorReady,
    LeadershipChanged,
    LedgerChanged,
)
from raftgossip.core.epoch.coordinator import Tick as CoordinatorTick
from raftgossip.core.epoch.ledger import LedgerView
from raftgossip.core.raft.message import Configuration, Message, RaftEvent, Ready, Received, StepDown, Tick
from raftgossip.core.raft.node import RaftNode
from raftgossip.core.replica import Replica
from raftgossip.errors import (
    AlreadyExists,
    CommandRefused,
    ConfigError,
    NoQuorum,
    NotLeader,
    RaftGossipError,
)
from raftgossip.facts import (
    ConfigurationChanged,
    EpochClosed,
    EpochOpened,
    Fact,
    LeaderKnown,
    Notice,
    PeerCaughtUp,
    PeerResponsive,
    PeerUnresponsive,
    RoleChanged,
    RosterChanged,
    RunStarted,
)
from raftgossip.ids import Address, Epoch, LogIndex, NodeId
from raftgossip.learning.trainer import Trainer
from raftgossip.peer.config import PeerConfig
from raftgossip.peer.discovery import Discovery
from raftgossip.peer.founding import FINAL, JOIN_TIMEOUT_MS, pass_on
from raftgossip.peer.identity import Identity
from raftgossip.peer.membership import add_peer, check_newcomer
from raftgossip.peer.models import Models
from raftgossip.peer.planning import plan_epoch, run_specification
from raftgossip.peer.proposer import Proposer
from raftgossip.peer.round import Round
from raftgossip.runtime.clock import Clock
from raftgossip.runtime.driver import Driver
from raftgossip.runtime.exchange import ExchangeHub
from raftgossip.runtime.grpc_client import PeerLinks, ask_to_join
from raftgossip.runtime.raft_host import RaftHost
from raftgossip.runtime.service import JoinAnswer, JoinAsk, PeerRow, ProposeAnswer, StatusView
from raftgossip.runtime.store import Storage
from raftgossip.update import vector_digest

LINGER_S = 3.0
"""A peer that exits when the run is finished stays so long, so that the others learn of the end and fetch the model."""
HAND_OVER_S = 1.5
LEAVE_S = 5.0
JOIN_PROPOSAL_MS = 4_000


@dataclass(frozen=True, slots=True)
class Parts:
    """What a node is built from; made and closed by `peer.peer`."""

    config: PeerConfig
    identity: Identity
    ask: JoinAsk
    store: Storage
    disk: Executor
    work: Executor
    trainer: Trainer
    models: Models
    links: PeerLinks
    hub: ExchangeHub
    discoveries: tuple[Discovery, ...]
    clock: Clock
    emit: Callable[[Fact], None]


class Node:
    """Lives on the event loop from the moment that its cluster is known. All methods run on the loop."""

    def __init__(self, parts: Parts, rng: random.Random) -> None:
        """Loads the stored log; nothing is sent before `run`.

        Raises:
            StorageError: the log is damaged.
        """
        self._parts = parts
        self._id = parts.identity.node_id
        self._config = parts.config
        self._clock = parts.clock
        self._started_ms = parts.clock.now_ms()
        self._moved = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._is_leader = False
        self._leader: NodeId | None = None
        self._left = False
        stored = parts.store.load()
        self._replica = Replica()
        self._raft = RaftNode(
            self._id,
            parts.config.raft,
            rng,
            hard_state=stored.hard_state,
            entries=stored.entries,
            now_ms=self._started_ms,
        )
        self._host = RaftHost(
            parts.store,
            parts.disk,
            parts.links,
            self._replica,
            self._on_facts,
            on_replayed=self._route,
            replay_until=stored.hard_state.commit_index if stored.hard_state is not None else LogIndex(0),
        )
        self._raft_driver: Driver[RaftEvent, Ready] = Driver(self._raft, self._host.perform, Tick(), parts.clock)
        self._host.connect(self._raft_driver.submit)
        client = f"{self._id}/{parts.identity.incarnation}"
        self._proposer = Proposer(client, self._id, self._host, parts.links)
        coordinator = Coordinator(self._id, parts.config.epoch, plan_epoch)
        self._coordinator: Driver[CoordinatorEvent, CoordinatorReady] = Driver(
            coordinator, self._perform_coordination, CoordinatorTick(), parts.clock
        )
        self.round = Round(
            node_id=self._id,
            cluster_id=parts.identity.cluster_id,
            trainer=parts.trainer,
            hub=parts.hub,
            models=parts.models,
            source=parts.links,
            view=self.view,
            propose=self._propose_while,
            clock=parts.clock,
            threads=parts.work,
            on_rest=self._pulse,
            tell=lambda text: parts.emit(Notice(text)),
        )

    # --- life

    async def run(self) -> None:
        """Take part until cancelled, or until this node left or the run is finished and it may exit.

        Raises:
            RaftGossipError: the disk failed, or the cluster refused this node for good.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            tasks = [
                group.create_task(coroutine)
                for coroutine in (
                    self._parts.links.run(),
                    self._raft_driver.run(),
                    self._coordinator.run(),
                    self.round.run(),
                    self._announce(),
                    self._start_run(),
                    self._renew_discovery(),
                )
            ]
            await self._until(self._may_exit)
            if not self._left:
                await asyncio.sleep(LINGER_S)
            for task in tasks:
                task.cancel()

    async def hand_over(self) -> None:
        """Clean stop, first half: a leader hands over, so that the others need not wait for an election."""
        if not self._is_leader or len(self._raft.status().configuration.voters) < 2:
            return
        self._raft_driver.submit(StepDown())
        try:
            async with asyncio.timeout(HAND_OVER_S):
                await self._until(lambda: self._leader not in (None, self._id))
        except TimeoutError:
            pass

    def view(self) -> LedgerView:
        """What the ledger says now."""
        return self._replica.ledger.view()

    def _may_exit(self) -> bool:
        finished = self.view().run_finished and self.round.phase == "finished"
        return self._left or (finished and self._config.exit_when_finished)

    async def _until(self, predicate: Callable[[], bool]) -> None:
        while not predicate():
            await self._moved.wait()

    def _pulse(self) -> None:
        """Wake everybody who waits for something to become true."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    # --- the one router

    def _on_facts(self, facts: Sequence[Fact]) -> None:
        """Route what became true now, and tell the observers, who must not hear an old epoch again after a restart."""
        self._route(facts)
        for fact in facts:
            self._parts.emit(fact)

    def _route(self, facts: Sequence[Fact]) -> None:
        ledger_moved = False
        for fact in facts:
            match fact:
                case RoleChanged():
                    self._is_leader = fact.role == "leader"
                    self._coordinator.submit(LeadershipChanged(self._is_leader))
                    ledger_moved = True
                case LeaderKnown():
                    self._leader = fact.leader
                    self._proposer.set_leader(fact.leader)
                case PeerResponsive() | PeerUnresponsive() | PeerCaughtUp() | ConfigurationChanged():
                    self._coordinator.submit(fact)
                case RosterChanged():
                    ledger_moved = True
                    self._learn_addresses()
                case RunStarted() | EpochOpened() | EpochClosed():
                    ledger_moved = True
                case _:
                    pass
        if ledger_moved or not facts:  # entries without facts may be reports, which the coordinator waits for
            self._coordinator.submit(LedgerChanged(self.view()))
        self.round.notify()
        self._pulse()

    def _learn_addresses(self) -> None:
        for entry in self.view().roster:
            self._parts.links.set_address(entry.node_id, entry.address)

    def deliver(self, messages: Sequence[Message]) -> None:
        """Raft messages from the network; what does not fit is dropped, and Raft sends it again."""
        for message in messages:
            if message.receiver == self._id:
                self._raft_driver.submit(Received(message))

    # --- coordination

    async def _perform_coordination(self, ready: CoordinatorReady) -> Sequence[CoordinatorEvent]:
        assert self._group is not None
        for command in ready.commands:
            self._group.create_task(self._propose_as_leader(command))
        for configuration in ready.configurations:
            self._group.create_task(self._change_configuration(configuration))
        return ()

    async def _propose_as_leader(self, command: Command) -> None:
        """Once: if it fails, the coordinator sees no effect in the ledger and decides anew."""
        if isinstance(command, CloseEpoch):
            command = replace(command, closed_at_ms=self._clock.wall_ms())
        attempts = iter((True, False))
        await self._proposer.propose(command, lambda: next(attempts) and self._is_leader)

    async def _change_configuration(self, configuration: Configuration) -> None:
        try:
            await self._host.change_configuration(configuration, JOIN_PROPOSAL_MS)
        except RaftGossipError:
            pass  # the coordinator sees no effect and decides anew

    async def _propose_while(self, command: Command, wanted: Callable[[], bool]) -> None:
        await self._proposer.propose(command, wanted)

    # --- entering the roster, starting the run

    async def _announce(self) -> None:
        """See to it that the roster shows this life of the node; again and again until it does."""
        warned = False
        while not self._is_announced():
            leader = self._leader
            try:
                await self._join_anywhere()
            except FINAL:
                raise
            except RaftGossipError as error:
                if not warned and self.view().specification is not None:
                    warned = True
                    self._parts.emit(Notice(f"not in the cluster yet: {error}"))
            try:
                async with asyncio.timeout(0.5):
                    await self._until(lambda: self._is_announced() or self._leader != leader)  # noqa: B023
            except TimeoutError:
                pass

    def _is_announced(self) -> bool:
        mine = self._parts.identity.incarnation
        return any(entry.node_id == self._id and entry.incarnation == mine for entry in self.view().roster)

    async def _join_anywhere(self) -> None:
        """Through the leader if it is known, else through whoever answers."""
        if self._is_leader or self._leader is not None:
            await self.join(self._parts.ask)
            return
        known = [entry.address for entry in self.view().roster if entry.node_id != self._id]
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
        peers = {entry.node_id for entry in self.view().roster}
        for discovery in self._parts.discoveries:
            try:
                hints = await discovery.register(self._id, self._parts.ask.address, self._parts.ask.owner)
            except RaftGossipError:
                continue
            for node_id, address in hints.peers:
                if address != self._parts.ask.address:
                    found.append(address)
                    if node_id in peers:
                        self._parts.links.set_address(node_id, address)
        return found

    async def _start_run(self) -> None:
        """A founder's first act as leader: say what is trained."""
        await self._until(lambda: self._is_leader and self.view().specification is None)
        specification = run_specification(self._config, self._parts.trainer.schema)
        loop = asyncio.get_running_loop()
        initial = await loop.run_in_executor(self._parts.work, self._parts.trainer.initial_vector, specification.seed)
        digest = await loop.run_in_executor(self._parts.work, vector_digest, initial)
        command = StartRun(specification, digest)
        await self._proposer.propose(command, lambda: self.view().specification is None)

    async def _renew_discovery(self) -> None:
        """Keep the registration alive, and tell who leads; a silent gateway is said once and never waited for."""
        silent: set[str] = set()
        for_leader = False
        while True:
            try:
                async with asyncio.timeout(self._config.gateway_heartbeat_ms / 1000):
                    await self._until(lambda: self._is_leader != for_leader)  # noqa: B023 - read at once
            except TimeoutError:
                pass
            for_leader = self._is_leader
            for discovery in self._parts.discoveries:
                try:
                    if not await discovery.renew(self._id):
                        await discovery.register(self._id, self._parts.ask.address, self._parts.ask.owner)
                    if for_leader:
                        await discovery.report_leader(self._id)
                    silent.discard(discovery.name)
                except RaftGossipError as error:
                    if discovery.name not in silent:
                        silent.add(discovery.name)
                        self._parts.emit(Notice(f"{discovery.name} is silent; the run goes on without it ({error})"))

    # --- what peers and operators ask

    async def propose_forwarded(self, envelope: bytes) -> ProposeAnswer:
        """Propose another peer's stamped command, if this node leads."""
        if not self._is_leader:
            raise NotLeader(self._leader)
        outcome = await self._host.propose(envelope, JOIN_PROPOSAL_MS)
        return ProposeAnswer(outcome.index, outcome.result.accepted, outcome.result.reason)

    async def join(self, ask: JoinAsk) -> JoinAnswer:
        """Add a node to the roster, or pass the request on to the leader, once."""
        if any(entry.node_id == ask.node_id and entry.owner == ask.owner for entry in self.view().roster):
            # It came back elsewhere. Without its vote nothing may commit, so its roster entry cannot be waited for.
            self._parts.links.set_address(ask.node_id, ask.address)
        if not self._is_leader:
            leader_address = self._parts.links.address_of(self._leader) if self._leader is not None else None
            if ask.forwarded or leader_address is None:
                raise NotLeader(self._leader)
            return await pass_on(ask, leader_address, ask_to_join)
        check_newcomer(ask, self.view(), self._parts.identity.cluster_id)
        deadline_ms = self._clock.now_ms() + JOIN_PROPOSAL_MS
        answer = await self._proposer.propose(
            add_peer(ask), lambda: self._is_leader and self._clock.now_ms() < deadline_ms
        )
        if answer is None:
            raise NoQuorum("no majority confirmed the newcomer in time; retry")
        if not answer.applied:
            raise AlreadyExists(answer.reason)
        view = self.view()
        # This leader may not stand in the roster yet, and the newcomer must be able to answer it.
        peers = {entry.node_id: entry.address for entry in view.roster} | {self._id: self._parts.ask.address}
        return JoinAnswer(self._parts.identity.cluster_id, tuple(sorted(peers.items())), self._id, view.specification)

    async def leave(self) -> str:
        """Leave the roster for good; the configuration follows, and this node's `run` ends."""
        if len(self.view().roster) < 2:
            raise ConfigError("the last node of a cluster cannot leave it: stop it instead")
        await self.hand_over()
        deadline_ms = self._clock.now_ms() + 10_000
        answer = await self._proposer.propose(RemovePeer(self._id), lambda: self._clock.now_ms() < deadline_ms)
        if answer is None:
            raise NoQuorum("no majority confirmed the leaving within 10 s; this node stays")
        if not answer.applied:
            raise CommandRefused(answer.reason)
        try:  # the others may need this node's vote for the change that ends it
            async with asyncio.timeout(LEAVE_S):
                await self._until(self._is_no_member)
        except TimeoutError:
            pass
        for discovery in self._parts.discoveries:
            try:
                await discovery.leave(self._id)
            except RaftGossipError:
                pass  # its registration expires by itself
        self._left = True
        self._pulse()
        return f"node {self._id} left the cluster"

    def _is_no_member(self) -> bool:
        configuration = self._raft.status().configuration
        return self._id not in configuration.voters + configuration.learners

    def record(self, epoch: Epoch) -> EpochRecord | None:
        """One ended epoch; None: it has not ended yet."""
        return next(iter(self._replica.ledger.records(epoch, 1)), None)

    async def epochs(self, first: int, limit: int) -> tuple[EpochRecord, ...]:
        """Ended epochs from `first` on, at most `limit`."""
        return self._replica.ledger.records(Epoch(first), limit)

    async def status(self) -> StatusView:
        """What this node knows now."""
        view, raft = self.view(), self._raft.status()
        followers = {follower.node_id: follower for follower in raft.followers}
        rows = []
        for entry in view.roster:
            follower = followers.get(entry.node_id)
            voter, learner = entry.node_id in raft.configuration.voters, entry.node_id in raft.configuration.learners
            rows.append(
                PeerRow(
                    node_id=entry.node_id,
                    address=entry.address,
                    role="voter" if voter else "learner" if learner else "joining",
                    responsive=entry.node_id == self._id or bool(follower and follower.responsive),
                    match_index=raft.last_index
                    if entry.node_id == self._id
                    else follower.match_index
                    if follower
                    else 0,
                    incarnation=entry.incarnation,
                    metadata=entry.metadata,
                )
            )
        return StatusView(
            cluster_id=self._parts.identity.cluster_id,
            node_id=self._id,
            role=raft.role,
            term=raft.term,
            leader=raft.leader,
            commit_index=raft.commit_index,
            applied_index=raft.applied_index,
            last_index=raft.last_index,
            peers=tuple(rows),
            specification=view.specification,
            open_epoch=view.open_epoch,
            last_closed_epoch=view.last_closed.epoch if view.last_closed else 0,
            model_digest=self.round.model_digest,
            phase=self.round.phase,
            metrics=self.round.metrics,
            message=self.round.message,
            uptime_ms=self._clock.now_ms() - self._started_ms,
            run_finished=view.run_finished,
        )
