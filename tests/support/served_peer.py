"""A fake peer behind a real gRPC server, with an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from raftgossip.ids import Address, LogIndex, NodeId, Term
from raftgossip.runtime.exchange import ExchangeHub
from raftgossip.runtime.grpc_server import PeerServer
from raftgossip.runtime.service import LeaderAnswer, LogRow, LogView
from raftgossip.trust.credentials import LiveCredentials
from tests.support.fakes import FakePeer


class OperatedPeer(FakePeer):
    """A `FakePeer` that operators can ask, too: keeps in `orders` what they want."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[tuple[object, ...]] = []

    async def catch_up_for_read(self) -> None:
        await self._order("catch up")

    async def log(self, first: int, limit: int) -> LogView:
        await self._order("log", first, limit)
        row = LogRow(LogIndex(7), Term(2), "command", 30, 1_700_000_000_000, "OpenEpoch 7")
        return LogView((row,), LogIndex(3), LogIndex(9), LogIndex(8), LogIndex(7))

    async def add_member(self, node_id: NodeId, address: Address) -> str:
        await self._order("add", node_id, address)
        return f"node {node_id} is in"

    async def remove_member(self, node_id: NodeId) -> str:
        await self._order("remove", node_id)
        return f"node {node_id} is out"

    async def promote_member(self, node_id: NodeId) -> str:
        await self._order("promote", node_id)
        return f"node {node_id} votes"

    async def transfer_leadership(self, target: NodeId | None) -> LeaderAnswer:
        await self._order("transfer", target)
        return LeaderAnswer(target or NodeId(5), Term(4))

    async def _order(self, *order: object) -> None:
        await self._come()
        self.orders.append(order)


class ServedPeer:
    """`server` answers at `address` what `peer` says; `loop` is where the peer's coroutines run."""

    def __init__(self, port: int, cluster_id: str, **settings: Any) -> None:
        self.peer = OperatedPeer()
        self.credentials: LiveCredentials | None = settings.get("credentials")
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="peer-loop")
        self._hub = ExchangeHub(lambda node_id: None)
        self.server = PeerServer(self.peer, self._hub, self.loop, **settings)
        self.server.cluster_id = cluster_id
        self._thread.start()
        try:
            self.address = Address("127.0.0.1", self.server.start("127.0.0.1", port))
        except BaseException:
            self.close()
            raise

    def _run_loop(self) -> None:
        self.loop.run_forever()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks))
        self.loop.close()

    def cancel_tasks(self) -> None:
        """End everything that the peer is doing, as a stop of the node does."""

        def cancel() -> None:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()

        self.loop.call_soon_threadsafe(cancel)

    def close_loop(self) -> None:
        """End the event loop before the server, as a node that is stopping does. Harmless when repeated."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()

    def close(self) -> None:
        """Stop the server and everything behind it. Harmless when repeated."""
        if self._thread.is_alive():
            self.cancel_tasks()
        self.server.stop(0)
        self.close_loop()
        self._hub.close()


@contextmanager
def served_peer(port: int = 0, cluster_id: str = "c1", **settings: Any) -> Iterator[ServedPeer]:
    """A served peer on a free port (or, to restart one, on the port that it had); `settings` are the server's."""
    served = ServedPeer(port, cluster_id, **settings)
    try:
        yield served
    finally:
        served.close()
