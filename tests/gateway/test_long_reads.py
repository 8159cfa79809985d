"""Nobody slows the gateway by reading its whole list again and again, or takes all places of those who follow it."""

from __future__ import annotations

import pytest

from gateway.long_reads import BURST, FREE_NODES, MAX_STREAMS, LongReads
from raftgossip.errors import Busy
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Identity, Role

ALICE = Caller(Identity("hearts.example", "clinic", Role.OBSERVER, "alice"))
BOB = Caller(Identity("hearts.example", "clinic", Role.OBSERVER, "bob"))


def test_a_long_list_may_be_read_whole_now_and_then_by_each() -> None:
    now_ms = 0
    reads = LongReads(lambda: now_ms)
    for _ in range(int(BURST)):
        reads.admit(ALICE, FREE_NODES + 1)
    with pytest.raises(Busy, match="pages of at most") as refused:
        reads.admit(ALICE, FREE_NODES + 1)
    reads.admit(BOB, FREE_NODES + 1)
    now_ms = refused.value.retry_after_ms
    reads.admit(ALICE, FREE_NODES + 1)


def test_a_short_list_may_be_read_at_any_time() -> None:
    reads = LongReads(lambda: 0)
    for _ in range(100):
        reads.admit(ALICE, FREE_NODES)


def test_one_caller_does_not_take_all_places_of_those_who_follow() -> None:
    reads = LongReads(lambda: 0)
    streams = [reads.stream(ALICE) for _ in range(MAX_STREAMS)]
    for stream in streams:
        stream.__enter__()
    with pytest.raises(Busy, match="end one of them"), reads.stream(ALICE):
        pass
    with reads.stream(BOB):
        pass
    streams[0].__exit__(None, None, None)
    with reads.stream(ALICE):
        pass
