"""How often one caller may call, and how much at once: who calls too often is made to wait, then refused.

A refusal costs almost as much as an answer, so a caller in a closed loop that is refused at once only calls more often.
It is therefore *held* for a while first: its own calls in flight slow it down, and leave the time to others.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

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

    def __init__(
        self,
        settings: GatewaySettings,
        monotonic_ms: Callable[[], int],
        waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """`waiting`: around the time for which a call is held, so that another thread may do the work of its own."""
        self._monotonic_ms = monotonic_ms
        self._waiting = waiting
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._running: dict[str, int] = {}
        self._held: Counter[str] = Counter()
        self._num_held = 0
        self.change(settings)

    def change(self, settings: GatewaySettings) -> None:
        """Let other limits count from now on; everybody begins with a full bucket."""
        with self._lock:
            self._max_running = settings.max_calls_per_caller
            many = NODES_BEHIND_AN_ADDRESS
            self._of_identities = TokenBuckets(settings.rate_per_s, settings.burst)
            self._of_addresses = TokenBuckets(settings.rate_per_s * many, settings.burst * many)

    def stop(self) -> None:
        """Let go of the calls that are held, and hold none any more."""
        self._stopping.set()

    @contextmanager
    def under_way(self, caller: Caller) -> Iterator[None]:
        """`enter` and `leave` around what a call does.

        Raises:
            Busy: as `enter`.
        """
        self.enter(caller)
        try:
            yield
        finally:
            self.leave(caller)

    def enter(self, caller: Caller) -> None:
        """Count a call that begins. Returns late, with a refusal, if the caller calls too often.

        Raises:
            Busy: it does, or too many of its calls are running; says when to come again.
        """
        principal, wait_ms = caller.principal, 0
        is_known = caller.identity is not None
        many = 1 if is_known else NODES_BEHIND_AN_ADDRESS
        buckets = self._of_identities if is_known else self._of_addresses
        now_ms = self._monotonic_ms()
        with self._lock:
            running = self._running.get(principal, 0)
            is_too_much = running >= self._max_running * many
            if not is_too_much:
                wait_ms = buckets.take(principal, now_ms)
                if not wait_ms:
                    self._running[principal] = running + 1
                    return
        self._hold_and_refuse(principal, wait_ms, buckets.rate_per_s, self._max_running * many)

    def leave(self, caller: Caller) -> None:
        """Count a call that has ended."""
        principal = caller.principal
        with self._lock:
            running = self._running[principal] - 1
            if running:
                self._running[principal] = running
            else:
                del self._running[principal]

    def _hold_and_refuse(self, principal: str, wait_ms: int, rate_per_s: float, max_running: int) -> None:
        """Those of the caller that are held already come first, so it waits for as many more calls as they are."""
        with self._lock:
            wait_ms += int(1000 * (1 + self._held[principal]) / rate_per_s)
            is_held = self._num_held < MAX_HELD
            if is_held:
                self._held[principal] += 1
                self._num_held += 1
        if is_held:
            with self._waiting():
                self._stopping.wait(min(wait_ms, LONGEST_HOLD_MS) / 1000)
            with self._lock:
                self._num_held -= 1
                self._held[principal] -= 1
                if not self._held[principal]:
                    del self._held[principal]
        raise Busy(
            f"{principal} calls too often: at most {rate_per_s:g} calls a second are answered, and "
            f"{max_running} at once; wait {wait_ms} ms",
            max(1, wait_ms),
        )
