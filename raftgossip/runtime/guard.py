"""Who may call this node, how often, and how much at once: one judge for gRPC's calls and for the Raft sockets.

Without certificates a caller is only an address, which many nodes may share. So limits count verified callers alone.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from raftgossip.core.raft.message import Message
from raftgossip.errors import Busy, PermissionDenied
from raftgossip.ids import NodeId
from raftgossip.runtime.clock import Clock
from raftgossip.runtime.service import PeerService
from raftgossip.trust.callers import Caller, Callers
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role
from raftgossip.trust.limits import TokenBuckets
from raftgossip.trust.policy import require_right

CALLS_PER_S = 200
"""What one caller may call on and on; a peer that forwards what it proposes needs a few in a second."""
CALL_BURST = 400
MAX_CALLS_AT_ONCE = 32
"""Calls of one caller that may be under way: a quarter of the server's threads, so that nobody takes them all."""
FOR_NEWCOMERS = frozenset({"/PeerService/Join"})
"""What a peer may ask that is no member; the ledger decides whether it comes in."""


class Guard:
    """Judges callers. Thread-safe."""

    def __init__(self, service: PeerService, credentials: LiveCredentials | None, clock: Clock) -> None:
        """`credentials`: this node's own; None: it runs in the open."""
        self.credentials = credentials
        self._service = service
        self._clock = clock
        self._callers = Callers(credentials, lambda: clock.wall_ms() / 1000)
        self._lock = threading.Lock()
        self._buckets = TokenBuckets(CALLS_PER_S, CALL_BURST)
        self._num_calls: Counter[str] = Counter()

    def identify(self, pem: bytes, address: str) -> Caller:
        """Who holds the certificate that a connection's handshake verified, as of now. `address`: as gRPC writes it.

        Raises:
            Unauthenticated: the certificate is missing, foreign, expired, not valid yet or revoked.
        """
        return self._callers.of_certificate(pem, address)

    def admit(self, caller: Caller, method: str) -> None:
        """Let a caller call a method. May be asked again at any time, for a stream that stays open.

        Raises:
            PermissionDenied: its role may not, or it is a peer and no member; names the rule.
        """
        require_right(caller, method)
        if node_id_of(caller) is not None and method not in FOR_NEWCOMERS:
            self._service.check_member(caller)

    def take_call(self, caller: Caller) -> None:
        """Count one call.

        Raises:
            Busy: the caller calls too often; says when to come again.
        """
        if caller.identity is None:
            return
        with self._lock:
            wait_ms = self._buckets.take(caller.principal, self._clock.now_ms())
        if wait_ms:
            raise Busy(f"{caller.principal} calls more than {CALLS_PER_S} times a second", wait_ms)

    @contextmanager
    def under_way(self, caller: Caller) -> Iterator[None]:
        """Count a call for as long as it takes.

        Raises:
            Busy: too many of this caller's are under way.
        """
        if caller.identity is None:
            yield
            return
        principal = caller.principal
        with self._lock:
            if self._num_calls[principal] >= MAX_CALLS_AT_ONCE:
                raise Busy(f"{MAX_CALLS_AT_ONCE} calls of {principal} are under way; wait for their answers")
            self._num_calls[principal] += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_calls[principal] -= 1
                if not self._num_calls[principal]:
                    del self._num_calls[principal]


def node_id_of(caller: Caller) -> NodeId | None:
    """Which node calls; None: no peer, or nobody knows, since there are no certificates."""
    if caller.identity is None or caller.identity.role is not Role.PEER:
        return None
    return caller.identity.node_id


def check_senders(caller: Caller, messages: Sequence[Message]) -> None:
    """Refuse Raft messages that say that another node sent them.

    Raises:
        PermissionDenied: names the rule `own-messages`.
    """
    if caller.identity is None:
        return
    node_id = node_id_of(caller)
    for message in messages:
        if message.sender != node_id:
            raise PermissionDenied(
                f"rule own-messages: {caller.identity.uri} brought a Raft message of node {message.sender}"
            )
