"""A Raft host on a bench: a disk, a network and a state machine that write down what happens, and nobody behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Message,
    RaftEvent,
    Ready,
    Snapshot,
    SnapshotSave,
    VoteResponse,
)
from raftgossip.errors import RaftGossipError
from raftgossip.facts import Fact
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.runtime.raft_host import RaftHost
from tests.support.fakes import ListMachine, RecordingDisk, RecordingTransport

HARD_STATE = HardState(Term(3), NodeId(1), LogIndex(0))
VOTE = Message(NodeId(1), NodeId(2), Term(3), VoteResponse(True))


def entry(index: int, data: bytes = b"a", term: int = 3, kind: EntryKind = EntryKind.COMMAND) -> Entry:
    """A command, if nothing else is said."""
    return Entry(LogIndex(index), Term(term), kind, data)


def received_snapshot(last_index: int, data: bytes) -> SnapshotSave:
    """What a leader sent."""
    snapshot = Snapshot.of(LogIndex(last_index), Term(3), Configuration((NodeId(1),)), data)
    return SnapshotSave(snapshot, LogIndex(last_index), Term(3), is_received=True)


class HostBench:
    """`journal` is what happened, in order; `fed` what the host had for the core; `submitted` what was asked."""

    def __init__(self, disk: ThreadPoolExecutor, config: RaftConfig, replay_until: int) -> None:
        self.journal: list[object] = []
        self.submitted: list[RaftEvent] = []
        self.fed: list[RaftEvent] = []
        self.accepts = True
        self.wall_ms = 1000
        self.store = RecordingDisk(self.journal)
        self.machine = ListMachine()
        self._changed = asyncio.Event()
        self.host: RaftHost[int] = RaftHost(
            self.store,
            disk,
            RecordingTransport(self.journal),
            self.machine,
            on_facts=lambda facts: self._note("facts", facts),
            on_replayed=lambda facts: self._note("replayed", facts),
            config=config,
            replay_until=LogIndex(replay_until),
            wall_ms=lambda: self.wall_ms,
        )
        self.host.connect(self._submit, self._feed)

    def _note(self, kind: str, facts: Sequence[Fact]) -> None:
        self.journal.append((kind, tuple(facts), len(self.machine.commands)))
        self._changed.set()

    def _submit(self, event: RaftEvent) -> bool:
        if self.accepts:
            self.submitted.append(event)
            self._changed.set()
        return self.accepts

    def _feed(self, events: Sequence[RaftEvent]) -> None:
        self.fed += events
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what the core was given, what was asked or what was reported makes it true."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def perform(self, ready: Ready) -> Sequence[RaftEvent]:
        """Execute a Ready to its end, also if the disk has to be waited for; the events for the core."""
        before = len(self.fed)
        events = list(self.host.perform(ready))
        expected = bool(ready.entries) + bool(ready.committed)
        await self.until(lambda: len(self.fed) - before + len(events) >= expected)
        return events + self.fed[before:]

    def ask(self, group: asyncio.TaskGroup, asked: Awaitable[object]) -> asyncio.Task[object]:
        """Start a request; its answer, be it an error, is the task's result."""
        return group.create_task(_answer(asked))

    def steps(self) -> list[str]:
        """The kinds of what happened, in order."""
        return [str(step[0]) for step in self.journal if isinstance(step, tuple)]


async def _answer(asked: Awaitable[object]) -> object:
    try:
        return await asked
    except RaftGossipError as error:
        return error


def with_bench(
    story: Callable[[HostBench], Awaitable[None]], config: RaftConfig | None = None, replay_until: int = 0
) -> HostBench:
    """Run a story on an event loop with one disk thread, while the host runs."""

    async def main() -> HostBench:
        with ThreadPoolExecutor(1, thread_name_prefix="disk") as disk:
            bench = HostBench(disk, config or RaftConfig(), replay_until)
            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                running = group.create_task(bench.host.run())
                try:
                    await story(bench)
                finally:
                    bench.store.open.set()
                    running.cancel()
            return bench

    return asyncio.run(main())


async def next_turn() -> None:
    """Let every task that can go on do so once."""
    await asyncio.sleep(0)
