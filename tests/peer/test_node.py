"""A node does not go on without one of the parts that it needs."""

from __future__ import annotations

import asyncio

import pytest

from raftgossip import Peer
from raftgossip.runtime.grpc_client import PeerLinks
from tests.support.target_task import TargetTask


def test_a_part_that_ends_unasked_ends_the_node_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def end(_: PeerLinks) -> None:
        """As if it had nothing more to do."""

    monkeypatch.setattr(PeerLinks, "run", end)
    peer = Peer(TargetTask(0, 10), node_id=1, found=True, num_epochs=0, min_participants=1)

    async def run() -> None:
        async with asyncio.timeout(30):
            await peer.run_async()

    with pytest.raises(RuntimeError, match="the sending to peers ended unasked"):
        asyncio.run(run())
