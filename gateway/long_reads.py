"""Reading the whole of a long list costs what hundreds of heartbeats do, so each caller may do it only now and then.

A page of it (`GetNodes` with a `limit`) and what has changed since a moment ago cost little and are not counted here.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.limits import NODES_BEHIND_AN_ADDRESS
from raftgossip.errors import Busy
from raftgossip.trust.callers import Caller
from raftgossip.trust.limits import TokenBuckets

FREE_NODES = 500
"""A list of so many nodes is short."""
RATE_PER_S, BURST = 0.5, 5.0
"""Long reads of one caller: on and on, and at once after a pause. A new gateway's follower needs one."""
MAX_STREAMS = 4
"""Of one caller that follows the list: more would take the places of others."""


class LongReads:
    """Counts by principal; any number of threads may share it. Without certificates a caller is an address, behind
    which many nodes may be."""

    def __init__(self, monotonic_ms: Callable[[], int]) -> None:
        many = NODES_BEHIND_AN_ADDRESS
        self._monotonic_ms = monotonic_ms
        self._lock = threading.Lock()
        self._of_identities = TokenBuckets(RATE_PER_S, BURST)
        self._of_addresses = TokenBuckets(RATE_PER_S * many, BURST * many)
        self._streams: Counter[str] = Counter()

    def admit(self, caller: Caller, num_nodes: int) -> None:
        """Let a caller read a list of so many nodes at once.

        Raises:
            Busy: it has read long ones too often; says when to come again, and how to do without.
        """
        if num_nodes <= FREE_NODES:
            return
        buckets = self._of_addresses if caller.identity is None else self._of_identities
        with self._lock:
            wait_ms = buckets.take(caller.principal, self._monotonic_ms())
        if wait_ms:
            raise Busy(
                f"{caller.principal} reads all {num_nodes} nodes too often; read pages of at most {FREE_NODES} "
                "(limit, after_node_id), or only what changed (since_version)",
                wait_ms,
            )

    @contextmanager
    def stream(self, caller: Caller) -> Iterator[None]:
        """Count a caller that follows the list, for as long as it does.

        Raises:
            Busy: it does so on several streams already.
        """
        most = MAX_STREAMS * (NODES_BEHIND_AN_ADDRESS if caller.identity is None else 1)
        principal = caller.principal
        with self._lock:
            if self._streams[principal] >= most:
                raise Busy(f"{principal} follows the list on {most} streams already; end one of them")
            self._streams[principal] += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams[principal] -= 1
                if not self._streams[principal]:
                    del self._streams[principal]
