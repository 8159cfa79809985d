"""Performs Raft's Readys: send what is prompt, persist, send, install, apply, answer. Only here is this order known.

The core does not wait for the disk, and so neither does `perform`: it sends what promises nothing, and queues what must
be durable first. `run` writes all that has queued up in one transaction, the more of it the slower the disk is, and
then finishes each Ready in its turn. A leader's heartbeats leave all the while.

A proposal is a future under a request id. It is resolved when the entry at its index is applied: with the machine's
result if the entry is still the proposer's (same term), else with `NoQuorum`, since another leader overwrote it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    Appended,
    Applied,
    Configuration,
    ConfigurationProposed,
    Entry,
    EntryKind,
    HardState,
    Persisted,
    Proposed,
    RaftEvent,
    ReadRequested,
    Ready,
    Refused,
    Snapshot,
    SnapshotSave,
    TransferRequested,
)
from raftgossip.core.raft.state_machine import StateMachine
from raftgossip.errors import (
    Busy,
    CommandRefused,
    NoQuorum,
    NotLeader,
    Oversized,
    RaftGossipError,
    StorageError,
)
from raftgossip.facts import Fact, RoleChanged
from raftgossip.ids import LogIndex, NodeId
from raftgossip.runtime.snapshots import SnapshotTaker
from raftgossip.runtime.store import Storage
from raftgossip.runtime.transport import Transport
from raftgossip.runtime.waiting import SWEEP_MS, Waiting

MAX_PENDING = 4096
"""Proposals of this node that may wait at once, and reads; more are refused with `Busy`."""
MAX_COMMAND_BYTES = 1 << 20
"""A larger entry would not fit into a message beside others, and above 4 MiB no follower could ever receive it."""
MAX_UNFINISHED = 8192
"""Readys that may wait for the disk; more are dropped if they hold only messages. See `RaftHost`."""
MAX_APPLIED_TIMES = 10_000
"""Of so many of the newest entries it is known when they were applied."""

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[ResultT]):
    """Where a proposal was applied, and what the state machine said."""

    index: LogIndex
    result: ResultT


@dataclass(frozen=True, slots=True)
class Transaction:
    """What one or more Readys in a row have for the disk."""

    num_readys: int
    hard_state: HardState | None
    entries: Sequence[Entry]
    snapshot: SnapshotSave | None


def merge(readys: Iterable[Ready]) -> Transaction:
    """One transaction that leaves on the disk what one for each of the Readys, in their order, would leave there.

    The newest hard state counts, and entries replace those of earlier Readys from their index on. A Ready with a
    snapshot begins a transaction, since a snapshot deletes entries, and what precedes it must be there by then.
    """
    num_readys, hard_state, snapshot = 0, None, None
    entries: list[Entry] = []
    for ready in readys:
        if ready.snapshot is not None:
            if num_readys:
                break
            snapshot = ready.snapshot
        num_readys += 1
        if ready.hard_state is not None:
            hard_state = ready.hard_state
        if entries and ready.entries:
            del entries[max(0, ready.entries[0].index - entries[0].index) :]
        entries.extend(ready.entries)
    return Transaction(num_readys, hard_state, entries, snapshot)


class RaftHost(Generic[ResultT]):
    """Stands between one `RaftNode` and the disk, the network and the state machine. All on the event loop.

    The queue of Readys that wait for the disk is bounded. Those with entries, and those that commit them: a leader has
    at most `MAX_PENDING` proposals that are not answered, and a follower gets no more than the leader's window until
    it acknowledges. Those that answer requests: by `MAX_PENDING`. The others only hold messages, one for each that
    came; once `MAX_UNFINISHED` Readys wait, such are dropped, as a network might drop them.
    """

    def __init__(
        self,
        store: Storage,
        disk: Executor,
        transport: Transport,
        machine: StateMachine[ResultT],
        on_facts: Callable[[Sequence[Fact]], None],
        on_replayed: Callable[[Sequence[Fact]], None],
        config: RaftConfig,
        replay_until: LogIndex = LogIndex(0),
        last_snapshot_index: LogIndex = LogIndex(0),
        *,
        wall_ms: Callable[[], int],
    ) -> None:
        """`disk`: an executor with one thread, so that transactions keep their order.

        `machine`: its state is that of the stored snapshot, which covers entries up to `last_snapshot_index`.
        Facts of entries up to `replay_until` were true before this start: they go to `on_replayed`.
        """
        self._store = store
        self._disk = disk
        self._transport = transport
        self._machine = machine
        self._on_facts = on_facts
        self._on_replayed = on_replayed
        self._config = config
        self._replay_until = replay_until
        self._wall_ms = wall_ms
        self._submit: Callable[[RaftEvent], bool] | None = None
        self._feed: Callable[[Sequence[RaftEvent]], None] = _fed_too_early
        self._snapshots = SnapshotTaker(machine.capture, config, last_snapshot_index)
        self._unfinished: deque[Ready] = deque()
        """Waiting for the disk, or behind one that does; the oldest first."""
        self._write: tuple[int, asyncio.Future[None]] | None = None
        """Under way: of how many Readys, and its end."""
        self._has_work = asyncio.Event()
        self._is_stopped = False
        self._next_request = 0
        self._has_asked = asyncio.Event()
        self._proposals: Waiting[Outcome[ResultT]] = Waiting(self._has_asked, "it may still commit")
        self._changes: Waiting[Outcome[None]] = Waiting(self._has_asked, "it may still commit")
        self._reads: Waiting[LogIndex] = Waiting(self._has_asked, "ask again")
        self._leaderless: list[int] = []
        """Reads that no leader was known for; asked again at the next sweep."""
        self._transfers: Waiting[None] = Waiting(self._has_asked, "this node may still hand over")
        self._places: dict[LogIndex, Appended] = {}
        """Where proposals stand in the log, which are not applied yet."""
        self._applied_index = last_snapshot_index
        self._applied_times: deque[tuple[LogIndex, int]] = deque([(last_snapshot_index, 0)])
        """Up to which index entries were applied when; 0: before this start, or by a snapshot."""

    def connect(self, submit: Callable[[RaftEvent], bool], feed: Callable[[Sequence[RaftEvent]], None]) -> None:
        """Name the driver's mailbox, for requests, and its door that refuses nothing; called before the driver runs."""
        self._submit = submit
        self._feed = feed

    # --- requests

    async def propose(self, data: bytes, timeout_ms: int) -> Outcome[ResultT]:
        """Append a command and wait until it is applied here.

        Cancellation forgets the proposal; it may still commit.

        Raises:
            NotLeader: this node does not lead; nothing was appended.
            Busy: too many proposals wait, or the leader hands over; nothing was appended.
            Oversized: the command is larger than `MAX_COMMAND_BYTES`; nothing was appended.
            NoQuorum: not committed in time, or overwritten; it may still commit, and repeating it is safe.
        """
        if len(data) > MAX_COMMAND_BYTES:
            raise Oversized(f"a command of {len(data)} bytes; at most {MAX_COMMAND_BYTES} are allowed")
        request_id = self._admit(len(self._proposals))
        self._ask(Proposed(request_id, data))
        return await self._proposals.answer(request_id, timeout_ms)

    async def change_configuration(self, configuration: Configuration, timeout_ms: int) -> Outcome[None]:
        """Propose a membership change and wait until it, or its joint half, is committed.

        Raises:
            NotLeader, Busy, NoQuorum: as for `propose`.
            CommandRefused: another change is pending, or this one changes nothing.
        """
        request_id = self._admit(len(self._changes))
        self._ask(ConfigurationProposed(request_id, configuration))
        return await self._changes.answer(request_id, timeout_ms)

    async def read(self, timeout_ms: int) -> LogIndex:
        """Return when the machine's state here answers a linearizable read of now; the index that it has applied.

        A question may be lost, or the leader be unknown for a while: it is asked again within the time.

        Raises:
            Busy: too many reads wait.
            NoQuorum: no majority confirmed in time that what is here is the newest.
        """
        request_id = self._admit(len(self._reads))
        self._ask(ReadRequested(request_id))
        return await self._reads.answer(request_id, timeout_ms)

    async def transfer(self, target: NodeId | None, timeout_ms: int) -> None:
        """Hand the leadership over to `target`, or to the most caught-up voter; return when this node leads no more.

        Raises:
            NotLeader: another node leads, or none.
            Busy: it is being handed over already.
            CommandRefused: the target has no vote, or nobody else has.
            NoQuorum: the target did not take over in time; this node leads on.
        """
        request_id = self._admit(len(self._transfers))
        self._ask(TransferRequested(request_id, target))
        await self._transfers.answer(request_id, timeout_ms)

    def _admit(self, num_waiting: int) -> int:
        """A new request id, if not too many requests of its kind wait."""
        if self._is_stopped:
            raise NoQuorum("this node has stopped; ask another one")
        if num_waiting >= MAX_PENDING:
            raise Busy(f"{MAX_PENDING} requests wait already; retry later")
        self._next_request += 1
        return self._next_request

    def _ask(self, event: RaftEvent) -> None:
        assert self._submit is not None, "connect() comes first"
        if not self._submit(event):
            raise Busy("the Raft mailbox is full; retry later")

    async def _sweep_forever(self) -> None:
        """End what waits too long, and repeat questions that may be lost."""
        kinds = (self._proposals, self._changes, self._reads, self._transfers)
        while True:
            await self._has_asked.wait()
            self._has_asked.clear()
            while any(kinds):
                await asyncio.sleep(SWEEP_MS / 1000)
                for waiting in kinds:
                    waiting.sweep()
                self._repeat_reads()

    def _repeat_reads(self) -> None:
        """Ask again what found no leader, or whose question or answer may be lost. A full mailbox: at another sweep."""
        assert self._submit is not None, "connect() comes first"
        repeated = [*self._leaderless, *self._reads.unanswered(self._config.election_max_ms)]
        self._leaderless.clear()
        for request_id in repeated:
            if request_id in self._reads:
                self._submit(ReadRequested(request_id))

    def applied_at_ms(self, index: LogIndex) -> int:
        """When the entry was applied here, in milliseconds since the Unix epoch; 0: not yet, long ago, or unknown."""
        if not self._applied_index - MAX_APPLIED_TIMES < index <= self._applied_index:
            return 0
        return self._applied_times[bisect_left(self._applied_times, (index, 0))][1]

    # --- the Ready

    def perform(self, ready: Ready) -> Sequence[RaftEvent]:
        """Begin one Ready, and finish it if nothing waits for the disk; returns what the core must be given at once."""
        send = self._transport.send
        for message in ready.prompt_messages:
            send(message)
        if not self._unfinished and not ready.needs_disk:
            return self._finish(ready, None)
        if len(self._unfinished) >= MAX_UNFINISHED and _is_only_messages(ready):
            return ()
        self._unfinished.append(ready)
        if len(self._unfinished) == 1:
            # Not left to `run`: the disk begins while the loop still has other things to do.
            self._begin_write()
            self._has_work.set()
        return ()

    async def run(self) -> None:
        """Write what queues up, take snapshots, and end requests that nobody answers, until cancelled.

        Then, and if it fails, all requests end with `NoQuorum`. A write that is under way ends by itself.

        Raises:
            StorageError: the disk failed, or a snapshot cannot be read; the process must stop, because what was
                promised may be lost. Nothing is acknowledged after it.
        """
        failure: StorageError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(self._sweep_forever()), group.create_task(self._snapshots.run(self._feed))]
                try:
                    await self._write_forever()
                except StorageError as error:
                    failure = error
                for helper in helpers:
                    helper.cancel()
        finally:
            self._is_stopped = True
            for waiting in (self._proposals, self._changes, self._reads, self._transfers):
                waiting.fail_all(NoQuorum, "this node stops; ask another one")
        if failure is not None:
            raise failure

    async def _write_forever(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._unfinished:
                await self._write_once()

    async def _write_once(self) -> None:
        """Save what waits in one transaction, then finish the Readys of which it was, in order."""
        save, install = self._unfinished[0].snapshot, None
        if save is not None and _is_received(save):
            # Before anything is saved: if it cannot be read, the disk stays as it is.
            install = await self._decode(save.snapshot)
        if self._write is None:
            self._write = self._save()
        num_readys, written = self._write
        await written
        waiting = self._unfinished
        done = [waiting.popleft() for _ in range(num_readys)]
        while waiting and not waiting[0].needs_disk:
            done.append(waiting.popleft())
        self._write = None
        self._begin_write()
        events: list[RaftEvent] = []
        for ready in done:
            events += self._finish(ready, install)
            install = None
        if events:
            self._feed(events)

    def _begin_write(self) -> None:
        """Let the disk work, if there is something for it that needs no other preparation."""
        if self._unfinished and not _is_received(self._unfinished[0].snapshot):
            self._write = self._save()

    def _save(self) -> tuple[int, asyncio.Future[None]]:
        it = merge(self._unfinished)
        loop = asyncio.get_running_loop()
        written = loop.run_in_executor(self._disk, self._store.save, it.hard_state, it.entries, it.snapshot)
        return it.num_readys, written

    async def _decode(self, snapshot: Snapshot) -> Callable[[], Sequence[Fact]]:
        try:
            return await asyncio.to_thread(self._machine.restore, snapshot.data)
        except ValueError as error:
            raise StorageError(
                f"the leader's snapshot of log entry {snapshot.last_index} cannot be read: {error}; install the "
                "version of raftgossip that the leader has"
            ) from None

    def _finish(self, ready: Ready, install: Callable[[], Sequence[Fact]] | None) -> list[RaftEvent]:
        """Do what comes after the disk; the events for the core."""
        send = self._transport.send
        for message in ready.messages:
            send(message)
        events: list[RaftEvent] = []
        if ready.entries:
            events.append(Persisted(ready.entries[-1].index))
        facts: list[Fact] = []
        if install is not None:
            assert ready.snapshot is not None, "what is installed stands in the Ready"
            facts.extend(install())
            self._note_installed(ready.snapshot.snapshot.last_index)
        for appended in ready.appended:
            replaced = self._places.get(appended.index)
            if replaced is not None:
                self._overwritten(replaced)
            self._places[appended.index] = appended
        if ready.committed:
            self._apply(ready.committed, facts)
            events.append(Applied(ready.committed[-1].index))
        self._answer(ready)
        facts += ready.facts
        if facts or ready.committed:
            self._on_facts(facts)
        return events

    def _answer(self, ready: Ready) -> None:
        for refused in ready.refused:
            self._refuse(refused)
        for granted in ready.reads:
            self._reads.resolve(granted.request_id, granted.index)
        if any(isinstance(fact, RoleChanged) and fact.role != "leader" for fact in ready.facts):
            self._transfers.resolve_all(None)

    def _apply(self, committed: Sequence[Entry], facts: list[Fact]) -> None:
        apply, places, replay_until = self._machine.apply, self._places, self._replay_until
        replayed: list[Fact] = []
        num_bytes = 0
        for entry in committed:
            index = entry.index
            appended = places.pop(index, None)
            is_ours = appended is not None and appended.term == entry.term
            if entry.kind is EntryKind.COMMAND:
                num_bytes += len(entry.data)
                result, news = apply(index, entry.data)
                if news:
                    (replayed if index <= replay_until else facts).extend(news)
                if is_ours and appended is not None:
                    self._proposals.resolve(appended.request_id, Outcome(index, result))
            elif is_ours and appended is not None:
                self._changes.resolve(appended.request_id, Outcome(index, None))
            if appended is not None and not is_ours:
                self._overwritten(appended)
        if replayed:
            self._on_replayed(replayed)
        self._note_applied(committed[-1].index)
        self._snapshots.applied(committed[-1].index, num_bytes)

    def _note_applied(self, index: LogIndex) -> None:
        times = self._applied_times
        self._applied_index = index
        times.append((index, self._wall_ms() if index > self._replay_until else 0))
        while times[0][0] <= index - MAX_APPLIED_TIMES:
            times.popleft()

    def _note_installed(self, index: LogIndex) -> None:
        """A snapshot took the place of entries up to `index`: how those turned out is not known here."""
        self._snapshots.installed(index)
        self._applied_index = index
        self._applied_times = deque([(index, 0)])
        for covered in [place for place in self._places if place <= index]:
            self._overwritten(self._places.pop(covered))

    def _overwritten(self, appended: Appended) -> None:
        for waiting in (self._proposals, self._changes):
            waiting.fail(
                appended.request_id,
                NoQuorum("another leader overwrote it, or a snapshot covers it; repeating it is safe"),
            )

    def _refuse(self, refused: Refused) -> None:
        error = _refusal(refused)
        self._proposals.fail(refused.request_id, error)
        self._changes.fail(refused.request_id, error)
        self._transfers.fail(refused.request_id, error)
        if refused.request_id in self._reads and isinstance(error, NotLeader):
            self._leaderless.append(refused.request_id)
        else:
            self._reads.fail(refused.request_id, error)


def _is_only_messages(ready: Ready) -> bool:
    rest = (ready.committed, ready.appended, ready.refused, ready.reads, ready.facts)
    return not ready.needs_disk and not any(rest)


def _is_received(save: SnapshotSave | None) -> bool:
    return save is not None and save.is_received


def _fed_too_early(_: Sequence[RaftEvent]) -> None:
    raise AssertionError("connect() comes first")


def _refusal(refused: Refused) -> RaftGossipError:
    match refused.reason:
        case "not_leader":
            return NotLeader(refused.leader)
        case "busy":
            return Busy("too many uncommitted proposals or unanswered reads; retry later")
        case "transferring":
            return Busy("the leadership is being handed over; retry at the next leader")
        case "transfer_failed":
            return NoQuorum("who should take over did not in time, so that the leader stays the same")
        case "no_successor":
            return CommandRefused("no other voter answers, so nobody can take over")
        case "change_pending":
            return CommandRefused("another membership change is in progress; retry when it has taken effect")
        case _:
            return CommandRefused(f"the request was refused: {refused.reason}")
