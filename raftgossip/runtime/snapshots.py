"""When a snapshot is taken, and how: the state is held on the event loop, and encoded in a thread beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import RaftEvent, SnapshotTaken
from raftgossip.ids import LogIndex


class SnapshotTaker:
    """Takes one snapshot at a time, each after so many entries or bytes of them. Lives on the event loop."""

    def __init__(self, capture: Callable[[], Callable[[], bytes]], config: RaftConfig, last_index: LogIndex) -> None:
        """`capture`: the state machine's. `last_index`: what the newest snapshot covers; 0: there is none."""
        self._capture = capture
        self._max_entries = config.snapshot_entries
        self._max_bytes = config.snapshot_bytes
        self._last_index = last_index
        self._num_bytes = 0
        self._captured: tuple[LogIndex, Callable[[], bytes]] | None = None
        self._is_wanted = asyncio.Event()

    def applied(self, index: LogIndex, num_bytes: int) -> None:
        """Entries up to `index`, with so many bytes, were applied since the last call; hold the state if it is time."""
        self._num_bytes += num_bytes
        is_due = index - self._last_index >= self._max_entries or self._num_bytes >= self._max_bytes
        if is_due and self._captured is None:
            self._captured = (index, self._capture())
            self._is_wanted.set()
            self.installed(index)

    def installed(self, index: LogIndex) -> None:
        """The state is that of a snapshot of `index`: count from there."""
        self._last_index = index
        self._num_bytes = 0

    async def run(self, feed: Callable[[Sequence[RaftEvent]], None]) -> None:
        """Encode what is held, and feed the core with it, until cancelled; then an encoding thread ends by itself."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            assert self._captured is not None, "the state is held before this is woken"
            index, encode = self._captured
            data = await asyncio.to_thread(encode)
            self._captured = None
            feed((SnapshotTaken(index, data),))
