"""Follows the list of nodes: one stream after another, each beginning where the last one ended.

Every event carries the version of the list that it makes, one for each change; so the version of the last event that
arrived says where to go on, also in the middle of a first listing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from gateway.answers import NodeEventDict, event_to_dict
from gateway.grpc_connection import GatewayConnection, GatewayStream
from raftgossip.errors import (
    Busy,
    ConfigError,
    DeadlineExceeded,
    PermissionDenied,
    RaftGossipError,
    TransportError,
    Unauthenticated,
)
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

STREAM_S = 60.0
"""One stream lasts so long at most: then it is noticed that a gateway froze, if no call has noticed before."""
CLOSE_PATIENCE_S = 0.8
"""`close` waits so long for a callback that runs."""
MAX_WATCHES = 64
"""Of one client, open at a time."""

logger = logging.getLogger(__name__)


class NodeWatch:
    """An iterator of the list's changes. It waits for the next one, through lost connections too, until it is closed;
    one thread may iterate, any may close.

    It begins with a `reset` and everybody who is there as `joined`, then goes on with changes, each once. Another
    gateway, or one that lost its memory, counts versions of its own: there it begins again with a `reset`.
    """

    def __init__(self, connection: GatewayConnection, watches: list[NodeWatch]) -> None:
        """Asks when first iterated. It stands in `watches` until it is closed.

        Raises:
            ConfigError: `MAX_WATCHES` are open already.
        """
        if len(watches) >= MAX_WATCHES:
            raise ConfigError(f"{MAX_WATCHES} watches are open already; close those that nobody reads")
        self._connection = connection
        self._watches = watches
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._stream: GatewayStream[pb.NodeEvent] | None = None
        self._version = 0
        self._registry_id = ""
        self._is_reset = False
        """The last event was a reset."""
        self._num_failures = 0
        """Streams in a row that brought nothing."""
        watches.append(self)

    def __iter__(self) -> NodeWatch:
        return self

    def __next__(self) -> NodeEventDict:
        """Wait for the next change.

        Raises:
            StopIteration: it was closed.
            RaftGossipError: the gateway refuses, or knows no such call: it is one of the original eight calls.
        """
        while not self._is_over:
            try:
                event = next(self._stream or self._open())
            except StopIteration:
                self._drop(TransportError("the gateway ended the stream"))
            except RaftGossipError as error:
                self._drop(error)
            else:
                self._num_failures = 0
                if self._is_news(event):
                    return event_to_dict(event)
        raise StopIteration

    def __enter__(self) -> NodeWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, callback: Callable[[NodeEventDict], object]) -> None:
        """Iterate in a thread of its own, and give each event to `callback`, which must not raise."""
        self._thread = threading.Thread(target=self._run, args=(callback,), name="gateway-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; whoever waits for the next event stops waiting. A callback may call this."""
        self._closed.set()
        if (stream := self._stream) is not None:
            stream.cancel()
        if self in self._watches:
            self._watches.remove(self)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_PATIENCE_S)

    @property
    def _is_over(self) -> bool:
        return self._closed.is_set() or self._connection.is_closed

    def _open(self) -> GatewayStream[pb.NodeEvent]:
        # A stream that says nothing may be one of a gateway that is gone; a call tells, and goes to the next one.
        self._connection.call(lambda stub, s: stub.HealthCheck(pb.HealthCheckRequest(), timeout=s))
        request = pb.WatchNodesRequest(since_version=self._version, registry_id=self._registry_id)
        stream = self._connection.stream(lambda stub, s: stub.WatchNodes(request, timeout=s), STREAM_S)
        self._stream = stream
        if self._closed.is_set():
            stream.cancel()
        return stream

    def _drop(self, error: RaftGossipError) -> None:
        """Make ready for the next stream, after a pause where one failed; raise where another would fail too."""
        was_open, self._stream = self._stream is not None, None
        if self._is_over or (was_open and isinstance(error, DeadlineExceeded)):
            return
        self._num_failures += 1
        # A certificate may have been renewed since the stream was opened: the first refusal is not the last word.
        may_retry = isinstance(error, TransportError | Busy) or (
            isinstance(error, Unauthenticated | PermissionDenied) and self._num_failures == 1
        )
        if not may_retry:
            self.close()
            raise error
        logger.debug("a watch goes on after: %s", error)
        self._closed.wait(self._connection.pause_after(error, self._num_failures - 1))

    def _is_news(self, event: pb.NodeEvent) -> bool:
        """Remember where to go on; False: a reset behind another one, from a stream that broke in between."""
        is_reset, was_reset = event.kind == "reset", self._is_reset
        self._registry_id, self._is_reset = event.registry_id, is_reset
        # What follows a reset is not known yet, whatever its version is.
        self._version = 0 if is_reset else event.registry_version
        return not (is_reset and was_reset)

    def _run(self, callback: Callable[[NodeEventDict], object]) -> None:
        try:
            for event in self:
                callback(event)
        except RaftGossipError as error:
            logger.warning("the list of nodes is not watched any more: %s", error)
