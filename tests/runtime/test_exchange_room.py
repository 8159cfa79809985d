"""The waiting room: who is far ahead is sent away, and nobody takes all its places."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from raftgossip.errors import Busy, DeadlineExceeded, StaleEpoch
from raftgossip.ids import NodeId
from raftgossip.runtime import exchange_room
from raftgossip.runtime.exchange_room import MAX_EPOCHS_AHEAD, MAX_WAITING_PER_CALLER, Place, WaitingRoom
from tests.support.fakes import FakeContext


def place(epoch: int, neighbour: int = 1) -> Place:
    return Place(epoch, 1, 0, NodeId(neighbour))


def test_who_is_far_ahead_is_sent_away_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_room, "FAR_AHEAD_WAIT_S", 0.02)
    room: WaitingRoom[str] = WaitingRoom()
    room.advance(10, 1, 0)

    with pytest.raises(StaleEpoch, match="epoch 13 is far ahead of this node, which knows of epoch 10"):
        room.take(place(10 + MAX_EPOCHS_AHEAD + 1), FakeContext(), "one")
    assert room._num_waiting == 0


def test_who_is_a_little_ahead_may_wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_room, "FAR_AHEAD_WAIT_S", 0.02)
    room: WaitingRoom[str] = WaitingRoom()
    room.advance(10, 1, 0)

    with pytest.raises(DeadlineExceeded):
        room.take(place(10 + MAX_EPOCHS_AHEAD), FakeContext(remaining_s=0.1), "one")


def test_who_was_far_ahead_is_served_when_this_node_has_caught_up() -> None:
    room: WaitingRoom[str] = WaitingRoom()
    context = FakeContext()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(room.take, place(20), context, "one")
        assert context.waits.wait(10)
        room.advance(20, 1, 0)
        room.open(place(20), "slot")
        assert waiting.result(10) == "slot"


def test_one_caller_takes_only_its_own_places() -> None:
    room: WaitingRoom[str] = WaitingRoom()
    room.advance(5, 1, 0)
    contexts = [FakeContext() for _ in range(MAX_WAITING_PER_CALLER)]
    with ThreadPoolExecutor(MAX_WAITING_PER_CALLER + 1) as threads:
        waiting = [threads.submit(room.take, place(6), context, "one") for context in contexts]
        assert all(context.waits.wait(10) for context in contexts)

        with pytest.raises(Busy, match="of one"):
            room.take(place(6), FakeContext(), "one")
        other = FakeContext()
        also_waiting = threads.submit(room.take, place(6, neighbour=2), other, "two")
        assert other.waits.wait(10)

        room.advance(7, 1, 0)
        assert all(isinstance(future.exception(10), StaleEpoch) for future in (*waiting, also_waiting))
    assert not room._waiting
