"""How often one caller may call, and how much at once: who calls too often is made to wait, then refused.

A refusal costs almost as much as an answer, so a caller in a closed loop that is refused at once only calls more often.
It is therefore *held* for a while first: its own calls in flight slow it down, and leave the time to others.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.settings import GatewaySettings
from raftgossip.errors import Busy
from raftgossip.trust.callers import Caller
from raftgossip.trust.limits import TokenBuckets

MAX_HELD = 128
"""Calls that are held at once, each in a thread; more are refused at once."""
LONGEST_HOLD_MS = 1_000
NODES_BEHIND_AN_ADDRESS = 25
"""Without certificates a caller is only an address, which many nodes may share: so it may do so many times as much."""


class CallLimits:
    """Counts calls by principal; any number of threads may share it.

    Invariants: no principal has more calls running than it may; at most `MAX_HELD` are held.
    """

    def __init__(self, settings: GatewaySettings, monotonic_ms: Callable[[], int]) -> None:
        self._monotonic_ms = monotonic_ms
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._running: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._num_held = 0
        self.change(settings)

    def change(self, settings: GatewaySettings) -> None:
        """Let other limits count from now on; everybody begins with a full bucket."""
        with self._lock:
            self._rate_per_s = settings.rate_per_s
            self._max_running = settings.max_calls_per_caller
            many = NODES_BEHIND_AN_ADDRESS
            self._of_identities = TokenBuckets(settings.rate_per_s, settings.burst)
            self._of_addresses = TokenBuckets(settings.rate_per_s * many, settings.burst * many)

    def stop(self) -> None:
        """Let go of the calls that are held, and hold none any more."""
        self._stopping.set()

    @contextmanager
    def under_way(self, caller: Caller) -> Iterator[None]:
        """Count a call for as long as it runs. Returns late, with a refusal, if the caller calls too often.

        Raises:
            Busy: it does, or too many of its calls are running; says when to come again.
        """
        principal, many = caller.principal, 1 if caller.identity is not None else NODES_BEHIND_AN_ADDRESS
        with self._lock:
            is_too_much = self._running[principal] >= self._max_running * many
            wait_ms = 0
            if not is_too_much:
                buckets = self._of_identities if many == 1 else self._of_addresses
                wait_ms = buckets.take(principal, self._monotonic_ms())
            if not is_too_much and not wait_ms:
                self._running[principal] += 1
            rate_per_s = self._rate_per_s * many
        if is_too_much or wait_ms:
            self._hold_and_refuse(principal, wait_ms, rate_per_s)
        try:
            yield
        finally:
            with self._lock:
                self._running[principal] -= 1
                if not self._running[principal]:
                    del self._running[principal]

    def _hold_and_refuse(self, principal: str, wait_ms: int, rate_per_s: float) -> None:
        """Those of the caller that are held already come first, so it waits for as many more calls as they are."""
        with self._lock:
            wait_ms += int(1000 * (1 + self._held[principal]) / rate_per_s)
            is_held = self._num_held < MAX_HELD
            if is_held:
                self._held[principal] += 1
                self._num_held += 1
        if is_held:
            self._stopping.wait(min(wait_ms, LONGEST_HOLD_MS) / 1000)
            with self._lock:
                self._num_held -= 1
                self._held[principal] -= 1
                if not self._held[principal]:
                    del self._held[principal]
        raise Busy(
            f"{principal} calls too often: at most {rate_per_s:g} calls a second are answered, and "
            f"{self._max_running} at once; wait {wait_ms} ms",
            max(1, wait_ms),
        )
