"""What a script gets wrong is said in one sentence before anything is opened."""

from __future__ import annotations

import asyncio

import pytest

from raftgossip import Peer
from raftgossip.errors import ConfigError
from raftgossip.facts import EpochClosed, Fact, Notice
from tests.support.target_task import TargetTask


class BrokenTask(TargetTask):
    """Its evaluation raises."""

    def evaluate(self, model: object) -> dict[str, float]:
        raise ZeroDivisionError("the user's mistake")


@pytest.mark.parametrize("task", [TargetTask, "digits"])
def test_a_task_that_is_no_instance_is_refused(task: object) -> None:
    with pytest.raises(ConfigError, match="instance of a class derived from LearningTask"):
        Peer(task, node_id=1)  # type: ignore[arg-type]


def test_a_port_alone_is_no_place_to_listen() -> None:
    with pytest.raises(ConfigError, match="give host:port"):
        Peer(TargetTask(0, 10), node_id=1, found=True, listen="19004").run()


def test_an_error_in_the_task_is_told_and_stands_in_the_ledger() -> None:
    peer = Peer(BrokenTask(0, 10), node_id=1, found=True, min_participants=1)
    told: list[str] = []

    def on_fact(fact: Fact) -> None:
        if isinstance(fact, Notice):
            told.append(fact.text)
        if isinstance(fact, EpochClosed):
            record = peer.node.record(fact.epoch) if peer.node is not None else None
            told.append(record.reason if record is not None else "")
            peer.request_stop()

    peer.subscribe(on_fact)

    async def run() -> None:
        async with asyncio.timeout(30):
            await peer.run_async()

    asyncio.run(run())
    assert len(told) >= 2 and all("the user's mistake" in text for text in told), told
