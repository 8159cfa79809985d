"""A node inside its cluster: drives the cores, and routes facts between them.

Facts have one router, `_route`: to the coordinator as events, to the round as "look again", to the links as
addresses, and as copies to observers. So gossip and transport only advise, and only a committed command changes an
epoch. What peers and operators ask is in `operations.py`, how others come to know of this node in `presence.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace

from raftgossip.core.epoch.command import CloseEpoch, Command, EpochRecord, StartRun
from raftgossip.core.epoch.coordinator import (
    Coordinator,
    CoordinatorEvent,
    CoordinatorReady,
    LeadershipChanged,
    LedgerChanged,
)
from raftgossip.core.epoch.coordinator import Tick as CoordinatorTick
from raftgossip.core.epoch.ledger import LedgerView
from raftgossip.core.raft.message import Configuration, Message, RaftEvent, Ready, Received, Tick
from raftgossip.core.raft.node import RaftNode
from raftgossip.errors import RaftGossipError
from raftgossip.facts import (
    ConfigurationChanged,
    Fact,
    LeaderKnown,
    LedgerFact,
    Notice,
    PeerCaughtUp,
    PeerResponsive,
    PeerUnresponsive,
    RoleChanged,
    RosterChanged,
)
from raftgossip.ids import Epoch, LogIndex
from raftgossip.peer.operations import PROPOSAL_MS, Operations
from raftgossip.peer.parts import Parts
from raftgossip.peer.planning import plan_epoch, run_specification
from raftgossip.peer.presence import Presence
from raftgossip.peer.proposer import Proposer
from raftgossip.peer.restoring import Restored
from raftgossip.peer.round import Round
from raftgossip.peer.standing import Standing
from raftgossip.peer.status import status_of
from raftgossip.runtime.driver import Driver
from raftgossip.runtime.raft_host import RaftHost
from raftgossip.runtime.service import StatusView
from raftgossip.update import vector_digest

LINGER_S = 3.0
"""A peer that exits when the run is finished stays so long, so that the others learn of the end and fetch the model."""


class Node:
    """Lives on the event loop from the moment that its cluster is known. All methods run on the loop."""

    def __init__(self, parts: Parts, restored: Restored, rng: random.Random) -> None:
        """`restored`: what the disk holds. Nothing is sent before `run`."""
        self._parts = parts
        self._config = parts.config
        self._clock = parts.clock
        self._started_ms = parts.clock.now_ms()
        self._group: asyncio.TaskGroup | None = None
        self._machine = restored.machine
        self._restored_facts = restored.facts
        self._standing = Standing(parts.identity, self.view)
        stored, node_id = restored.stored, parts.identity.node_id
        self._raft = RaftNode(
            node_id,
            parts.config.raft,
            rng,
            hard_state=stored.hard_state,
            snapshot=stored.snapshot,
            entries=stored.entries,
            now_ms=self._started_ms,
        )
        self._host = RaftHost(
            parts.store,
            parts.disk,
            parts.links,
            restored.machine,
            self._on_facts,
            on_replayed=self._route,
            config=parts.config.raft,
            replay_until=stored.hard_state.commit_index if stored.hard_state is not None else LogIndex(0),
            last_snapshot_index=stored.snapshot.snapshot.last_index if stored.snapshot is not None else LogIndex(0),
            wall_ms=parts.clock.wall_ms,
        )
        self._raft_driver: Driver[RaftEvent, Ready] = Driver(self._raft, self._host.perform, Tick(), parts.clock)
        self._host.connect(self._raft_driver.submit, self._raft_driver.feed)
        client = f"{node_id}/{parts.identity.incarnation}"
        self._proposer = Proposer(client, node_id, self._host, parts.links)
        coordinator = Coordinator(node_id, parts.config.epoch, plan_epoch)
        self._coordinator: Driver[CoordinatorEvent, CoordinatorReady] = Driver(
            coordinator, self._perform_coordination, CoordinatorTick(), parts.clock
        )
        self.operations = Operations(parts, self._standing, self._raft, self._host, self._proposer)
        self._presence = Presence(parts, self._standing, self.operations.join, self._is_member)
        self.round = Round(
            node_id=node_id,
            cluster_id=parts.identity.cluster_id,
            trainer=parts.trainer,
            hub=parts.hub,
            models=parts.models,
            source=parts.links,
            view=self.view,
            propose=self._propose_while,
            clock=parts.clock,
            threads=parts.work,
            on_rest=self._standing.pulse,
            tell=lambda text: parts.emit(Notice(text)),
        )

    # --- life

    async def run(self) -> None:
        """Take part until cancelled, or until this node left or the run is finished and it may exit.

        Raises:
            RaftGossipError: the disk failed, or the cluster refused this node for good.
            RuntimeError: a part of it ended that must not.
        """
        self._route(self._restored_facts)
        async with asyncio.TaskGroup() as group:
            self._group = group
            lasting = {
                "the sending to peers": self._parts.links.run(),
                "the writing to disk": self._host.run(),
                "Raft": self._raft_driver.run(),
                "the coordinator": self._coordinator.run(),
                "the round": self.round.run(),
                "the registration": self._presence.renew(),
                "the learning of names": self._presence.learn_names(),
            }
            tasks = [group.create_task(_last(name, work), name=name) for name, work in lasting.items()]
            tasks += [
                group.create_task(work)
                for work in (self._presence.announce(), self._presence.depart(), self._start_run())
            ]
            await self._standing.until(self._may_exit)
            if not self._standing.has_left:
                await asyncio.sleep(LINGER_S)
            for task in tasks:
                task.cancel()

    def view(self) -> LedgerView:
        """What the ledger says now."""
        return self._machine.ledger.view()

    def record(self, epoch: Epoch) -> EpochRecord | None:
        """One ended epoch; None: it has not ended yet."""
        return next(iter(self._machine.ledger.records(epoch, 1)), None)

    def epochs(self, first: int, limit: int) -> tuple[EpochRecord, ...]:
        """Ended epochs from `first` on, at most `limit`."""
        return self._machine.ledger.records(Epoch(first), limit)

    def status(self) -> StatusView:
        """What this node knows now."""
        uptime_ms = self._clock.now_ms() - self._started_ms
        return status_of(self._standing.cluster_id, self.view(), self._raft.status(), self.round, uptime_ms)

    def _may_exit(self) -> bool:
        finished = self.view().run_finished and self.round.phase == "finished"
        return self._standing.has_left or (finished and self._config.exit_when_finished)

    def _is_member(self) -> bool:
        return self._standing.node_id in self._raft.status().configuration.members

    # --- the one router

    def _on_facts(self, facts: Sequence[Fact]) -> None:
        """Route what became true now, and tell the observers, who must not hear an old epoch again after a restart."""
        self._route(facts)
        for fact in facts:
            self._parts.emit(fact)

    def _route(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            self._route_one(fact)
        if any(isinstance(fact, RosterChanged) for fact in facts):
            self._learn_addresses()
        if any(isinstance(fact, RosterChanged | ConfigurationChanged) for fact in facts):
            self._parts.names.follow(self.view(), self._standing.configuration)
        if any(isinstance(fact, LedgerFact) for fact in facts):  # a snapshot does not tell who left the roster
            self._standing.note_roster()
        if not facts or any(isinstance(fact, LedgerFact | RoleChanged) for fact in facts):
            # Entries without facts may be reports, which the coordinator waits for.
            self._coordinator.submit(LedgerChanged(self.view()))
        self.round.notify()
        self._standing.pulse()

    def _route_one(self, fact: Fact) -> None:
        match fact:
            case RoleChanged():
                self._standing.set_role(fact)
                self._coordinator.submit(LeadershipChanged(self._standing.is_leader))
            case LeaderKnown():
                self._standing.set_leader(fact)
                self._proposer.set_leader(fact.leader)
            case ConfigurationChanged():
                self._standing.set_configuration(fact)
                self._coordinator.submit(fact)
            case PeerResponsive() | PeerUnresponsive() | PeerCaughtUp():
                self._coordinator.submit(fact)
            case _:
                pass

    def _learn_addresses(self) -> None:
        for entry in self.view().roster:
            self._parts.links.set_address(entry.node_id, entry.address)

    def deliver(self, messages: Sequence[Message]) -> None:
        """Raft messages from the network; what does not fit is dropped, and Raft sends it again."""
        for message in messages:
            if message.receiver == self._standing.node_id:
                self._raft_driver.submit(Received(message))

    # --- coordination

    def _perform_coordination(self, ready: CoordinatorReady) -> Sequence[CoordinatorEvent]:
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
        await self._proposer.propose(command, lambda: next(attempts) and self._standing.is_leader)

    async def _change_configuration(self, configuration: Configuration) -> None:
        try:
            await self._host.change_configuration(configuration, PROPOSAL_MS)
        except RaftGossipError:
            pass  # the coordinator sees no effect and decides anew

    async def _propose_while(self, command: Command, wanted: Callable[[], bool]) -> None:
        await self._proposer.propose(command, wanted)

    # --- starting the run

    async def _start_run(self) -> None:
        """A founder's first act as leader: say what is trained."""
        await self._standing.until(lambda: self._standing.is_leader and self.view().specification is None)
        specification = run_specification(self._config, self._parts.trainer.schema)
        loop = asyncio.get_running_loop()
        initial = await loop.run_in_executor(self._parts.work, self._parts.trainer.initial_vector, specification.seed)
        digest = await loop.run_in_executor(self._parts.work, vector_digest, initial)
        command = StartRun(specification, digest)
        await self._proposer.propose(command, lambda: self.view().specification is None)


async def _last(name: str, work: Coroutine[object, object, None]) -> None:
    """Run what lasts as long as the node: without any of these it would look alive and be of no use.

    Raises:
        RuntimeError: it ended by itself.
    """
    await work
    raise RuntimeError(f"{name} ended unasked")
