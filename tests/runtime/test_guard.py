"""The guard judges callers: by role and membership, by how often they call, and by how much is under way."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest

from raftgossip.errors import Busy, PermissionDenied
from raftgossip.ids import NodeId
from raftgossip.runtime.guard import CALL_BURST, CALLS_PER_S, MAX_CALLS_AT_ONCE, Guard, check_senders, node_id_of
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Identity, Role
from tests.support.fakes import FakePeer
from tests.support.golden import MESSAGES


class StillClock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        return self.ms

    def wall_ms(self) -> int:
        return self.ms


def caller_of(role: Role, name: str) -> Caller:
    return Caller(Identity("hearts.example", "north", role, name), b"k" * 32, "10.0.0.1")


ONE, TWO = caller_of(Role.PEER, "1"), caller_of(Role.PEER, "2")
ALICE = caller_of(Role.OPERATOR, "alice")
ANYBODY = Caller(None, address="10.0.0.1")


def test_only_a_verified_peer_has_a_node_id() -> None:
    assert [node_id_of(caller) for caller in (ONE, ALICE, ANYBODY)] == [1, None, None]


def test_membership_is_asked_of_peers_alone_and_not_when_they_join() -> None:
    peer = FakePeer()
    guard = Guard(peer, None, StillClock())
    peer.removed = {ONE.principal, ALICE.principal}

    guard.admit(ALICE, "/PeerService/Status")
    guard.admit(ANYBODY, "/PeerService/Raft")
    guard.admit(ONE, "/PeerService/Join")
    with pytest.raises(PermissionDenied, match="rule member"):
        guard.admit(ONE, "/PeerService/Status")


def test_the_rate_of_calls_is_each_callers_own_and_fills_again() -> None:
    clock = StillClock()
    guard = Guard(FakePeer(), None, clock)
    for _ in range(CALL_BURST):
        guard.take_call(ONE)
    with pytest.raises(Busy) as caught:
        guard.take_call(ONE)
    assert 0 < caught.value.retry_after_ms <= 1000 / CALLS_PER_S
    guard.take_call(TWO)
    clock.ms += caught.value.retry_after_ms
    guard.take_call(ONE)


def test_calls_under_way_are_counted_until_they_end() -> None:
    guard = Guard(FakePeer(), None, StillClock())
    with ExitStack() as stack:
        for _ in range(MAX_CALLS_AT_ONCE):
            stack.enter_context(guard.under_way(ONE))
        with pytest.raises(Busy, match="under way"), guard.under_way(ONE):
            pass
        with guard.under_way(TWO):
            pass
    with guard.under_way(ONE):
        pass
    assert not guard._num_calls


def test_in_the_open_nobody_is_counted_since_nobody_is_known() -> None:
    guard = Guard(FakePeer(), None, StillClock())
    with ExitStack() as stack:
        for _ in range(2 * CALL_BURST):
            guard.take_call(ANYBODY)
            stack.enter_context(guard.under_way(ANYBODY))


def test_messages_are_their_senders_own() -> None:
    mine = MESSAGES["heartbeat"]
    check_senders(ONE, [mine, mine])
    check_senders(ANYBODY, [mine, replace(mine, sender=NodeId(9))])
    for caller in (TWO, ALICE):
        with pytest.raises(PermissionDenied, match=r"own-messages.*node 1"):
            check_senders(caller, [mine])
    with pytest.raises(PermissionDenied, match="node 2"):
        check_senders(ONE, [mine, replace(mine, sender=NodeId(2))])
