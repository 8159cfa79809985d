"""How often one caller may call: pure but for the threads in which calls are held."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.limits import MAX_HELD, NODES_BEHIND_AN_ADDRESS, CallLimits
from gateway.settings import GatewaySettings
from raftgossip.errors import Busy
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Identity, Role

ALICE = Caller(Identity("f.example", "clinic", Role.OPERATOR, "alice"))
NODE = Caller(Identity("f.example", "clinic", Role.PEER, "7"))
STRANGER = Caller(None, address="10.0.0.1")


def limits(**settings: float) -> CallLimits:
    """Limits at a time that stands still, which hold nobody up."""
    made = CallLimits(GatewaySettings(**settings), lambda: 1000)  # type: ignore[arg-type]  # numbers
    made.stop()
    return made


def count(made: CallLimits, caller: Caller, calls: int) -> int:
    """So many of the calls are let through, one after the other."""
    through = 0
    for _ in range(calls):
        try:
            with made.under_way(caller):
                through += 1
        except Busy:
            pass
    return through


def test_a_caller_has_its_burst_and_no_other_caller_pays_for_it() -> None:
    made = limits(rate_per_s=1, burst=5)
    assert count(made, NODE, 9) == 5
    assert count(made, ALICE, 9) == 5


def test_an_address_stands_for_many_nodes() -> None:
    assert count(limits(rate_per_s=1, burst=2), STRANGER, 100) == 2 * NODES_BEHIND_AN_ADDRESS


def test_calls_at_once_are_limited_and_counted_down_when_they_end() -> None:
    made = limits(max_calls_per_caller=1)
    with made.under_way(NODE):
        with pytest.raises(Busy, match="1 at once"), made.under_way(NODE):
            pass
        assert count(made, ALICE, 1) == 1
    assert count(made, NODE, 1) == 1


def test_a_call_that_fails_is_counted_down_too() -> None:
    made = limits(max_calls_per_caller=1)
    with pytest.raises(ZeroDivisionError), made.under_way(NODE):
        raise ZeroDivisionError
    assert count(made, NODE, 1) == 1


def test_a_refusal_says_who_calls_too_often_and_when_to_come_again() -> None:
    made = limits(rate_per_s=4, burst=1)
    count(made, NODE, 1)
    with pytest.raises(Busy, match=r"spiffe://f\.example/clinic/7 calls too often: at most 4 calls a second") as caught:
        made.under_way(NODE).__enter__()
    assert caught.value.retry_after_ms == 500


def test_other_limits_count_from_the_next_call_on() -> None:
    made = limits(rate_per_s=1, burst=1)
    assert count(made, NODE, 3) == 1
    made.change(GatewaySettings(rate_per_s=1, burst=3))
    assert count(made, NODE, 9) == 3


def test_who_calls_too_often_is_held_up_for_longer_the_more_of_its_calls_are_held() -> None:
    made = CallLimits(GatewaySettings(rate_per_s=10, burst=1), lambda: 1000)
    count(made, NODE, 1)
    waits: list[int] = []

    def call() -> None:
        try:
            with made.under_way(NODE):
                pass
        except Busy as busy:
            waits.append(busy.retry_after_ms)

    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(call)
    assert sorted(waits) == [200, 300, 400, 500]


def test_no_more_than_so_many_calls_are_held_and_stopping_lets_them_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.limits.LONGEST_HOLD_MS", 20_000)
    made = CallLimits(GatewaySettings(rate_per_s=0.01, burst=1), lambda: 1000)
    count(made, NODE, 1)
    left = threading.Semaphore(0)

    def call() -> None:
        with pytest.raises(Busy):
            made.under_way(NODE).__enter__()
        left.release()

    with ThreadPoolExecutor(MAX_HELD + 10) as threads:
        for _ in range(MAX_HELD + 10):
            threads.submit(call)
        assert all(left.acquire(timeout=5) for _ in range(10))  # those who are beyond it are refused at once
        assert not left.acquire(blocking=False)
        made.stop()
        assert all(left.acquire(timeout=5) for _ in range(MAX_HELD))
