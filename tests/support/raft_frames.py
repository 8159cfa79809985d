"""Raft frames as they travel, where they arrive, and sockets that take them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from raftgossip.core.raft.message import AppendResponse, Message
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.runtime.raft_socket import LENGTH_BYTES, RaftSockets
from raftgossip.wire.raft_codec import frames_to_bytes

HOST = "127.0.0.1"
CLUSTER = "c1"
PATIENCE_S = 10.0


def message(sequence: int) -> Message:
    body = AppendResponse(True, LogIndex(0), LogIndex(0), Term(0), sequence)
    return Message(NodeId(1), NodeId(2), Term(1), body)


def frame(sequence: int, cluster_id: str = CLUSTER) -> bytes:
    (data,) = frames_to_bytes(cluster_id, (message(sequence),))
    return data


def with_length(data: bytes) -> bytes:
    return len(data).to_bytes(LENGTH_BYTES) + data


class Inbox:
    """Keeps the sequences of what was delivered."""

    def __init__(self) -> None:
        self.sequences: list[int] = []
        self._arrived = asyncio.Event()

    def deliver(self, messages: Sequence[Message]) -> None:
        for each in messages:
            assert isinstance(each.body, AppendResponse)
            self.sequences.append(each.body.sequence)
        self._arrived.set()

    async def wait_for(self, count: int) -> list[int]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.sequences) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.sequences


@asynccontextmanager
async def running(sockets: RaftSockets) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(sockets.run(HOST))
        try:
            for _ in range(1000):  # it binds a socket, and waits for nothing
                if not sockets.offer:
                    await asyncio.sleep(0)
            yield
        finally:
            task.cancel()
