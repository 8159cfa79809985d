"""WatchNodes: pushes every change of the list to those who follow it, each in a thread of its own.

A follower that reads slowly holds up only itself: what it missed is told at once when it reads on, each node as it is
then. One that reads nothing for too long is cut off, because it could not be judged again in the meantime.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from gateway.clock import monotonic_seconds
from gateway.grpc_calls import Recheck
from gateway.long_reads import FREE_NODES, LongReads
from gateway.node_feed import FeedEvent, NodeFeed
from gateway.registry_values import NodeRecord
from gateway.request_checks import position_from_proto
from gateway.shared_registry import SharedRegistry
from raftgossip.errors import Busy, TransportError
from raftgossip.trust.callers import Caller
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

RECHECK_S = 5.0
"""Whoever watches is judged again so often; a revoked certificate must not be served for a minute."""
PATIENCE_S = 15.0
"""Who has not read for so long is cut off."""
GATHER_S = 0.05
"""Changes that come within it are told together, so that a storm of them does not wake every follower for each."""
TURNED_AWAY_MS = 10_000
NOTHING_SENT = float("inf")
SPARE_THREADS = 16
"""For those who watch the health, and for telling that all places are taken."""


class Watch:
    """The followers of one gateway's list."""

    def __init__(
        self,
        shared: SharedRegistry,
        to_proto: Callable[[NodeRecord], pb.NodeInfo],
        max_watchers: int,
        long_reads: LongReads,
    ) -> None:
        self._long_reads = long_reads
        self.threads = ThreadPoolExecutor(max_watchers + SPARE_THREADS, thread_name_prefix="gateway-watch")
        self._shared = shared
        self._to_proto = to_proto
        self._max_watchers = max_watchers
        self._lock = threading.Lock()
        self._sending: dict[grpc.ServicerContext, float] = {}
        """Followers -> when they were last given something to read, by the monotonic clock."""

    @property
    def num_watchers(self) -> int:
        """So many follow now."""
        return len(self._sending)

    def watch(
        self, request: pb.WatchNodesRequest, caller: Caller, context: grpc.ServicerContext, recheck: Recheck
    ) -> Iterator[pb.NodeEvent]:
        """Tell a follower everything from where it left off, until it goes.

        Raises:
            Busy: all places are taken, or the caller has several, or began anew too often.
            WireError: it says where it left off in numbers that cannot be.
            Unauthenticated: its certificate does not count any more.
            PermissionDenied: its rights were taken.
            TransportError: the gateway stops.
        """
        version, registry_id = position_from_proto(request.since_version, request.registry_id)
        feed = NodeFeed(version, registry_id)
        with self._long_reads.stream(caller):
            backlog = self._shared.backlog(feed)
            if backlog > FREE_NODES:
                self._long_reads.admit(caller, backlog)
            yield from self._follow(feed, context, recheck)

    def _follow(self, feed: NodeFeed, context: grpc.ServicerContext, recheck: Recheck) -> Iterator[pb.NodeEvent]:
        self._enter(context)
        try:
            judged_s = monotonic_seconds()
            while context.is_active():
                for event in self._shared.next_events(feed):
                    now_s = self._sending[context] = monotonic_seconds()
                    if now_s - judged_s >= RECHECK_S:
                        recheck()
                        judged_s = now_s
                    yield self._event_to_proto(event, feed.registry_id)
                self._sending[context] = NOTHING_SENT
                if not feed.is_behind:
                    self._shared.wait_for_change(feed.version, RECHECK_S, context.is_active)
                    self._shared.pause(GATHER_S)
                if self._shared.is_stopping:
                    raise TransportError("the gateway stops; watch another one, or this one when it is back")
                if monotonic_seconds() - judged_s >= RECHECK_S:
                    recheck()
                    judged_s = monotonic_seconds()
        finally:
            self._sending.pop(context, None)

    def cut_off_slow(self) -> None:
        """End the streams of those who do not read; call it every few seconds."""
        limit_s = monotonic_seconds() - PATIENCE_S
        for context, since_s in list(self._sending.items()):
            if since_s < limit_s:
                context.cancel()

    def _enter(self, context: grpc.ServicerContext) -> None:
        with self._lock:
            if len(self._sending) >= self._max_watchers:
                raise Busy(
                    f"{self._max_watchers} callers watch the list already; ask with GetNodes and since_version "
                    "instead, or come again later",
                    TURNED_AWAY_MS,
                )
            self._sending[context] = NOTHING_SENT
        context.add_callback(self._shared.wake)  # else who has gone would be noticed late

    def _event_to_proto(self, event: FeedEvent, registry_id: str) -> pb.NodeEvent:
        return pb.NodeEvent(
            kind=event.kind,
            registry_version=event.version,
            registry_id=registry_id,
            node_id=event.node_id or 0,
            node=None if event.record is None else self._to_proto(event.record),
            term=event.term,
        )
