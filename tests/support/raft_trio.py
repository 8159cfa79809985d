"""Three whole Raft nodes in one process: real cores, drivers, hosts and stores; only the network is a function call."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Message,
    RaftEvent,
    Ready,
    Received,
    SnapshotSave,
    Tick,
    TimeoutNow,
)
from raftgossip.core.raft.node import RaftNode
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.runtime.clock import SystemClock
from raftgossip.runtime.driver import Driver
from raftgossip.runtime.raft_host import RaftHost
from raftgossip.runtime.store import SqliteStore, Storage, StoredLog
from tests.support.fakes import ListMachine

VOTERS = Configuration((NodeId(1), NodeId(2), NodeId(3)))
FIRST = Entry(LogIndex(1), Term(1), EntryKind.CONFIGURATION, VOTERS.encode())


class SlowStore:
    """A file whose saves hang while `open` is clear."""

    def __init__(self, path: Path) -> None:
        self._store = SqliteStore(path)
        self.open = threading.Event()
        self.open.set()

    def load(self) -> StoredLog:
        return self._store.load()

    def save(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        snapshot: SnapshotSave | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> None:
        if not self.open.wait(20):
            raise AssertionError("the test never let the disk go on")
        self._store.save(hard_state, entries, snapshot, meta)

    def get_meta(self, key: str) -> str | None:
        return self._store.get_meta(key)

    def set_meta(self, key: str, value: str) -> None:
        self._store.set_meta(key, value)

    def close(self) -> None:
        self._store.close()


class TrioNode:
    """One node as its disk left it, and its line to the others."""

    def __init__(self, trio: Trio, node_id: NodeId, store: Storage, disk: ThreadPoolExecutor) -> None:
        self._trio = trio
        clock, stored = SystemClock(), store.load()
        self.machine = ListMachine()
        snapshot = stored.snapshot
        if snapshot is not None:
            self.machine.restore(snapshot.snapshot.data)()
        self.raft = RaftNode(
            node_id,
            trio.config,
            random.Random(node_id),
            hard_state=stored.hard_state,
            snapshot=snapshot,
            entries=stored.entries,
            now_ms=clock.now_ms(),
        )
        self.host: RaftHost[int] = RaftHost(
            store,
            disk,
            self,
            self.machine,
            on_facts=lambda _: trio.changed.set(),
            on_replayed=lambda _: None,
            config=trio.config,
            last_snapshot_index=snapshot.snapshot.last_index if snapshot is not None else LogIndex(0),
            wall_ms=clock.wall_ms,
        )
        self.driver: Driver[RaftEvent, Ready] = Driver(self.raft, self.host.perform, Tick(), clock)
        self.host.connect(self.driver.submit, self.driver.feed)

    def send(self, message: Message) -> None:
        """Satisfies `Transport`."""
        self._trio.carry(message)


class Trio:
    """The nodes 1, 2 and 3; `sent` is every message, `cut` whom none reaches or leaves."""

    def __init__(self, config: RaftConfig) -> None:
        self.config = config
        self.nodes: dict[NodeId, TrioNode] = {}
        self.sent: list[Message] = []
        self.cut: set[NodeId] = set()
        self.changed = asyncio.Event()

    def carry(self, message: Message) -> None:
        """Hand a message to its receiver."""
        self.sent.append(message)
        self.changed.set()
        if not {message.sender, message.receiver} & self.cut:
            self.nodes[message.receiver].driver.submit(Received(message))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until messages and applied entries make it true."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def elect(self, node_id: NodeId) -> TrioNode:
        """Let this node lead, at the beginning of the story: as if a leader retired in its favour."""
        node = self.nodes[node_id]
        retired = next(other for other in self.nodes if other != node_id)
        node.driver.submit(Received(Message(retired, node_id, node.raft.status().term, TimeoutNow())))
        await self.until(lambda: node.raft.status().role == "leader")
        return node


def with_trio(
    story: Callable[[Trio], Awaitable[None]], stores: Mapping[NodeId, Storage], config: RaftConfig | None = None
) -> Trio:
    """Run a story with three nodes on these stores, which are founded if they are empty, and stay open."""

    async def main() -> Trio:
        trio = Trio(config or RaftConfig())
        async with AsyncExitStack() as stack:
            for node_id, store in stores.items():
                if store.load().hard_state is None:
                    store.save(HardState(Term(1), None, LogIndex(1)), (FIRST,))
                disk = stack.enter_context(ThreadPoolExecutor(1))
                trio.nodes[node_id] = TrioNode(trio, node_id, store, disk)
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                parts = [part for node in trio.nodes.values() for part in (node.host, node.driver)]
                tasks = [group.create_task(part.run()) for part in parts]
                try:
                    await story(trio)
                finally:
                    for task in tasks:
                        task.cancel()
        return trio

    return asyncio.run(main())
