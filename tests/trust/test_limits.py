"""Token buckets: closed forms, and what holds for every series of calls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.errors import ConfigError
from raftgossip.trust import limits
from raftgossip.trust.limits import TokenBuckets

RATES = st.floats(0.01, 10_000)
BURSTS = st.floats(1, 1000)


def num_taken(buckets: TokenBuckets, principal: str, times_ms: list[int]) -> int:
    return sum(buckets.take(principal, now_ms) == 0 for now_ms in times_ms)


def test_a_burst_is_taken_at_once_and_no_more() -> None:
    assert num_taken(TokenBuckets(10, 5), "a", [0] * 20) == 5


def test_in_the_long_run_the_rate_is_taken() -> None:
    # 100 s at 10/s and a burst of 5, asked for 1,000 times a second: 5 at the start, and 10 in each second after it.
    assert num_taken(TokenBuckets(10, 5), "a", list(range(100_001))) == 5 + 1000


def test_a_caller_within_its_rate_is_never_refused() -> None:
    assert num_taken(TokenBuckets(10, 1), "a", list(range(0, 100_000, 100))) == 1000


def test_rest_fills_a_bucket_to_its_burst_only() -> None:
    buckets = TokenBuckets(10, 5)
    num_taken(buckets, "a", [0] * 20)
    assert num_taken(buckets, "a", [1_000_000] * 20) == 5


def test_the_wait_is_told() -> None:
    buckets = TokenBuckets(4, 1)
    assert buckets.take("a", 0) == 0
    assert buckets.take("a", 0) == 250
    assert buckets.take("a", 100) == 150
    assert buckets.take("a", 250) == 0


def test_one_callers_rate_is_nothing_to_another() -> None:
    buckets = TokenBuckets(1, 1)
    assert num_taken(buckets, "a", [0] * 50) == 1
    assert buckets.take("b", 0) == 0


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    buckets = TokenBuckets(10, 1)
    assert buckets.take("a", 1000) == 0
    assert buckets.take("a", 500) == 100
    assert buckets.take("a", 1050) == 50
    assert buckets.take("a", 1100) == 0


@given(RATES, BURSTS, st.lists(st.integers(0, 5000), max_size=60))
def test_no_series_of_calls_gets_more_than_burst_and_rate(rate: float, burst: float, gaps_ms: list[int]) -> None:
    buckets = TokenBuckets(rate, burst)
    now_ms = taken = 0
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        taken += buckets.take("a", now_ms) == 0
    assert taken <= burst + rate * now_ms / 1000 + 1e-6


@given(RATES, BURSTS, st.lists(st.integers(0, 200), max_size=40))
def test_after_the_wait_that_was_told_one_call_is_there_and_before_it_none(
    rate: float, burst: float, gaps_ms: list[int]
) -> None:
    buckets = TokenBuckets(rate, burst)
    now_ms = 0
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        wait_ms = buckets.take("a", now_ms)
        if wait_ms:
            if wait_ms > 1:
                assert buckets.take("a", now_ms + wait_ms - 1) == 1
            now_ms += wait_ms
            assert buckets.take("a", now_ms) == 0


def test_the_bucket_unused_for_longest_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PRINCIPALS", 2)
    buckets = TokenBuckets(1, 1)
    for principal in ("a", "b", "a", "c"):  # b goes
        buckets.take(principal, 0)
    assert buckets.take("a", 0) > 0
    assert buckets.take("b", 0) == 0


@pytest.mark.parametrize(
    ("rate", "burst"),
    [(0, 1), (-1, 1), (1, 0), (1, 0.9), (float("nan"), 1), (1, float("nan")), (float("inf"), 1), (1, float("inf"))],
)
def test_a_rate_that_is_none_is_refused(rate: float, burst: float) -> None:
    with pytest.raises(ConfigError):
        TokenBuckets(rate, burst)
