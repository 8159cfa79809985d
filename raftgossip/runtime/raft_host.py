"""Performs a Raft Ready: persist, send, apply, answer. No other function knows this order.

A proposal is a future under a request id. It is resolved when the entry at its index is applied: with the ledger's
result if the entry is still the proposer's (same term), else with `NoQuorum`, since another leader overwrote it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from raftgossip.core.epoch.ledger import Applied as LedgerResult
from raftgossip.core.raft.message import (
    Applied,
    Configuration,
    ConfigurationProposed,
    Entry,
    EntryKind,
    Persisted,
    Proposed,
    RaftEvent,
    Ready,
    Refused,
)
from raftgossip.core.replica import Replica
from raftgossip.errors import Busy, CommandRefused, NoQuorum, NotLeader, Oversized, RaftGossipError, WireError
from raftgossip.facts import Fact
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.runtime.store import Storage
from raftgossip.runtime.transport import Transport
from raftgossip.wire.ledger_codec import envelope_from_bytes

MAX_PENDING = 4096
"""Proposals of this node that may wait at once; more are refused with `Busy`."""
MAX_COMMAND_BYTES = 1 << 20
"""A larger entry would not fit into a message beside others, and above 4 MiB no follower could ever receive it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a proposal was applied, and what the ledger said."""

    index: int
    result: LedgerResult


class RaftHost:
    """Stands between one `RaftNode` and the disk, the network and the ledger. All methods run on the event loop."""

    def __init__(
        self,
        store: Storage,
        disk: Executor,
        transport: Transport,
        replica: Replica,
        on_facts: Callable[[Sequence[Fact]], None],
        on_replayed: Callable[[Sequence[Fact]], None],
        replay_until: LogIndex = LogIndex(0),
    ) -> None:
        """`disk`: an executor with one thread, so that transactions keep their order.

        Facts of entries up to `replay_until` were true before this start: they go to `on_replayed`.
        """
        self._store = store
        self._disk = disk
        self._transport = transport
        self._replica = replica
        self._on_facts = on_facts
        self._on_replayed = on_replayed
        self._replay_until = replay_until
        self._submit: Callable[[RaftEvent], bool] | None = None
        self._next_request = 0
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._by_index: dict[LogIndex, tuple[Term, int]] = {}

    def connect(self, submit: Callable[[RaftEvent], bool]) -> None:
        """Name the driver's mailbox; called once, before the driver runs."""
        self._submit = submit

    # --- proposals

    async def propose(self, data: bytes, timeout_ms: int) -> Outcome:
        """Append a stamped command and wait until it is applied here.

        Cancellation forgets the proposal; it may still commit.

        Raises:
            NotLeader: this node does not lead; nothing was appended.
            Busy: too many proposals wait; nothing was appended.
            Oversized: the command is larger than `MAX_COMMAND_BYTES`; nothing was appended.
            NoQuorum: not committed in time, or overwritten; it may still commit, and repeating it is safe.
        """
        if len(data) > MAX_COMMAND_BYTES:
            raise Oversized(f"a command of {len(data)} bytes; at most {MAX_COMMAND_BYTES} are allowed")
        return await self._ask(lambda request_id: Proposed(request_id, data), timeout_ms)

    async def change_configuration(self, configuration: Configuration, timeout_ms: int) -> Outcome:
        """Propose a membership change and wait until it is in force.

        Raises:
            NotLeader, Busy, NoQuorum: as for `propose`.
            CommandRefused: another change is pending, or this one differs by more than one voter.
        """
        return await self._ask(lambda request_id: ConfigurationProposed(request_id, configuration), timeout_ms)

    async def _ask(self, make_event: Callable[[int], RaftEvent], timeout_ms: int) -> Outcome:
        assert self._submit is not None, "connect() comes first"
        if len(self._waiting) >= MAX_PENDING:
            raise Busy(f"{MAX_PENDING} proposals wait already; retry later")
        self._next_request += 1
        request_id = self._next_request
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        try:
            if not self._submit(make_event(request_id)):
                raise Busy("the Raft mailbox is full; retry later")
            async with asyncio.timeout(timeout_ms / 1000):
                return await future
        except TimeoutError:
            raise NoQuorum(f"no majority confirmed the proposal within {timeout_ms} ms; it may still commit") from None
        finally:
            self._waiting.pop(request_id, None)

    # --- the Ready

    async def perform(self, ready: Ready) -> Sequence[RaftEvent]:
        """Execute one Ready in its order; returns the events that the core must be given at once.

        Raises:
            StorageError: the disk failed; the process must stop, because what was promised may be lost.
        """
        events: list[RaftEvent] = []
        if ready.hard_state is not None or ready.entries:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._disk, self._store.save, ready.hard_state, ready.entries)
        if ready.entries:
            events.append(Persisted(ready.entries[-1].index))
        for message in ready.messages:
            self._transport.send(message)
        for appended in ready.appended:
            self._by_index[appended.index] = (appended.term, appended.request_id)
        for refused in ready.refused:
            self._fail(refused.request_id, _refusal(refused))
        replayed: list[Fact] = []
        facts: list[Fact] = []
        for entry in ready.committed:
            (replayed if entry.index <= self._replay_until else facts).extend(self._apply(entry))
        if ready.committed:
            events.append(Applied(ready.committed[-1].index))
        if replayed:
            self._on_replayed(replayed)
        facts.extend(ready.facts)
        if facts or ready.committed:
            self._on_facts(facts)
        return events

    def _apply(self, entry: Entry) -> Sequence[Fact]:
        result: LedgerResult = LedgerResult(True, "")
        facts: tuple[Fact, ...] = ()
        if entry.kind is EntryKind.COMMAND:
            result, facts = self._apply_command(entry)
        term_and_request = self._by_index.pop(entry.index, None)
        if term_and_request is not None:
            term, request_id = term_and_request
            if term == entry.term:
                self._resolve(request_id, Outcome(entry.index, result))
            else:
                self._fail(request_id, NoQuorum("another leader overwrote the proposal; repeat it"))
        return facts

    def _apply_command(self, entry: Entry) -> tuple[LedgerResult, tuple[Fact, ...]]:
        try:
            envelope = envelope_from_bytes(entry.data)
        except WireError as error:
            # All replicas run this same decoder on the same bytes, so all of them refuse it alike.
            return LedgerResult(False, f"undecodable command: {error}"), ()
        return self._replica.apply(entry.index, envelope)

    def _resolve(self, request_id: int, outcome: Outcome) -> None:
        future = self._waiting.get(request_id)
        if future is not None and not future.done():
            future.set_result(outcome)

    def _fail(self, request_id: int, error: RaftGossipError) -> None:
        future = self._waiting.get(request_id)
        if future is not None and not future.done():
            future.set_exception(error)


def _refusal(refused: Refused) -> RaftGossipError:
    match refused.reason:
        case "not_leader":
            leader: NodeId | None = refused.leader
            return NotLeader(leader)
        case "busy":
            return Busy("too many uncommitted proposals; retry later")
        case "change_pending":
            return CommandRefused("another membership change is in progress; retry when it has taken effect")
        case _:
            return CommandRefused(f"the proposal was refused: {refused.reason}")
