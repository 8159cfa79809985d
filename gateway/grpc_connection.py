"""One connection to a gateway, shared by all threads of a client: deadlines, retries, redialling.

A call is tried again when no answer came or the gateway was busy, after pauses that double, with jitter so that the
clients of a gateway that comes back do not arrive together. All attempts and pauses share one deadline.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import TypeVar

import grpc

from gateway.clock import monotonic_seconds
from raftgossip.errors import Busy, ConfigError, RaftGossipError, TransportError
from raftgossip.ids import Address
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from raftgossip.wire.status import error_from_rpc

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0

CHANNEL_OPTIONS = (
    # Otherwise a new channel would take over the old one's dead connection and its back-off.
    ("grpc.use_local_subchannel_pool", 1),
    # The gateway is dialled directly, as peers are.
    ("grpc.enable_http_proxy", 0),
)

Answer = TypeVar("Answer")
Send = Callable[[pb_grpc.GatewayServiceStub, float], Answer]
"""Sends one request, given the stub and the seconds that it may take; may be called several times."""

logger = logging.getLogger(__name__)


class GatewayConnection:
    """Calls one gateway; any number of threads may share it.

    Invariant: at most one channel is current; a replaced one is closed when the last call that uses it has ended.
    """

    def __init__(
        self, address: Address, timeout: float, max_attempts: int, rng: random.Random, on_lost: Callable[[str], None]
    ) -> None:
        """Dials when first used.

        Args:
            address: of the gateway.
            timeout: seconds after which a call has ended, whatever happens.
            max_attempts: tries per call, from 1 on.
            rng: draws the pauses' jitter.
            on_lost: called with the reason, once each time that a gateway which answered before does so no more.

        Raises:
            ConfigError: `timeout` or `max_attempts` is not positive.
        """
        if not 0 < timeout <= threading.TIMEOUT_MAX:
            raise ConfigError(f"timeout is {timeout} s; it must be positive and finite")
        if max_attempts < 1:
            raise ConfigError(f"max_retry_attempts is {max_attempts}; it must be at least 1")
        self.address = address
        self.timeout = timeout
        self.max_attempts = max_attempts
        self._rng = rng
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._link: _Link | None = None
        self._open_links: list[_Link] = []
        self._answered_last: bool | None = None

    def call(self, send: Send[Answer]) -> Answer:
        """Send a request, and again if that may help; ends within `timeout`.

        Raises:
            TransportError: no answer came in time, or the connection was closed.
            RaftGossipError: the gateway refused; see `wire.status`.
        """
        deadline = monotonic_seconds() + self.timeout
        for attempts_left in reversed(range(self.max_attempts)):
            remaining = deadline - monotonic_seconds()
            try:
                # A dead connection may swallow an attempt whole; half of the time is kept for a new one.
                answer = self._try(send, remaining / 2 if attempts_left else remaining)
            except RaftGossipError as error:
                attempt = self.max_attempts - attempts_left - 1
                pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt) * self._rng.uniform(0.5, 1.0)
                may_retry = isinstance(error, TransportError | Busy) and attempts_left > 0
                if not may_retry or monotonic_seconds() + pause >= deadline or self._closed.wait(pause):
                    self._note(error)
                    raise
            else:
                self._note(None)
                return answer
        raise AssertionError("the last attempt returns or raises")

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def close(self) -> None:
        """End the calls that run and refuse new ones."""
        self._closed.set()
        with self._lock:
            links, self._open_links, self._link = self._open_links, [], None
        for link in links:
            link.channel.close()

    def _try(self, send: Send[Answer], timeout: float) -> Answer:
        link = self._take()
        try:
            return send(link.stub, timeout)
        except grpc.RpcError as failure:
            error = error_from_rpc(failure)
            if isinstance(error, TransportError):
                self._retire(link)
            raise error from None
        except ValueError:  # what a closed channel raises
            if not self._closed.is_set():
                raise
            raise TransportError("the connection was closed") from None
        finally:
            self._release(link)

    def _take(self) -> _Link:
        with self._lock:
            if self._closed.is_set():
                raise TransportError("the connection was closed")
            if self._link is None:
                self._link = _Link(self.address)
                self._open_links.append(self._link)
            self._link.num_calls += 1
            return self._link

    def _retire(self, link: _Link) -> None:
        """Let the next attempt dial anew: a channel whose connection silently died would not notice for minutes."""
        with self._lock:
            if self._link is link:
                self._link = None

    def _release(self, link: _Link) -> None:
        with self._lock:
            link.num_calls -= 1
            if link.num_calls > 0 or self._link is link or link not in self._open_links:
                return
            self._open_links.remove(link)
        link.channel.close()

    def _note(self, error: RaftGossipError | None) -> None:
        """Tell once when the gateway falls silent, and once when it answers again."""
        answered = not isinstance(error, TransportError)
        with self._lock:
            before, self._answered_last = self._answered_last, answered
        if before is False and answered:
            logger.info("the gateway %s answers again", self.address)
        elif before is not False and not answered and not self._closed.is_set():
            logger.warning("the gateway %s does not answer; going on without it: %s", self.address, error)
            if before:
                self._on_lost(str(error))


class _Link:
    """A channel, its stub, and how many calls use them now."""

    def __init__(self, address: Address) -> None:
        self.channel = grpc.insecure_channel(str(address), options=CHANNEL_OPTIONS)
        self.stub = pb_grpc.GatewayServiceStub(self.channel)
        self.num_calls = 0
