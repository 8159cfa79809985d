"""A client's way to its gateways, shared by all its threads: deadlines, retries, redialling, failing over, TLS.

A call goes to the gateway that answered last; where that one is silent, to the next that answers, which then stays the
current one. What may succeed later is tried again after pauses that double, with jitter so that the clients of a
gateway that comes back do not arrive together. All attempts at all gateways and all pauses share one deadline.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import grpc

from gateway.clock import monotonic_seconds
from raftgossip.errors import Busy, ConfigError, DeadlineExceeded, RaftGossipError, TransportError
from raftgossip.ids import Address
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role, role_server_name
from raftgossip.wire.channels import open_channel
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
Message = TypeVar("Message", covariant=True)
Send = Callable[[pb_grpc.GatewayServiceStub, float], Answer]
"""Sends one request, given the stub and the seconds that it may take; may be called several times."""

logger = logging.getLogger(__name__)


class Messages(Protocol[Message]):
    """What gRPC gives for a call that is answered by a stream."""

    def __next__(self) -> Message:
        """The next message; waits for it."""

    def cancel(self) -> bool:
        """End the stream."""


@dataclass(slots=True)
class _Course:
    """What one call has met so far."""

    deadline: float
    credentials: LiveCredentials | None
    silent: dict[int, TransportError] = field(default_factory=dict)
    """Position of a gateway -> why it did not answer."""
    answered_by: int | None = None


_NOBODY_ASKED = -1


class GatewayConnection:
    """Calls gateways; any number of threads may share it.

    Invariant: at most one channel per gateway is current; a replaced one is closed when the last call that uses it
    has ended.
    """

    def __init__(
        self,
        gateways: Sequence[Address],
        timeout: float,
        max_attempts: int,
        rng: random.Random,
        credentials: Callable[[], LiveCredentials | None] = lambda: None,
        on_lost: Callable[[str], object] = lambda _: None,
        on_found: Callable[[], object] = lambda: None,
    ) -> None:
        """Dials when first used.

        Args:
            gateways: one or several; the first is asked first.
            timeout: seconds after which a call has ended, whatever happens.
            max_attempts: how often a request is sent to one gateway, from 1 on.
            rng: draws the pauses' jitter.
            credentials: what is shown to gateways, asked anew for each call; its result None: nothing, in the open. It
                may raise `ConfigError`.
            on_lost: called with the reason, once each time that a gateway which answered before does so no more.
            on_found: called when another gateway answers than before, or one answers again.

        Raises:
            ConfigError: there is no gateway, or `timeout` or `max_attempts` is not positive.
        """
        if not gateways:
            raise ConfigError("no gateway is given; give at least one host:port")
        if not 0 < timeout <= threading.TIMEOUT_MAX:
            raise ConfigError(f"timeout is {timeout} s; it must be positive and finite")
        if max_attempts < 1:
            raise ConfigError(f"max_retry_attempts is {max_attempts}; it must be at least 1")
        self.gateways = tuple(gateways)
        self.timeout = timeout
        self.max_attempts = max_attempts
        self._rng = rng
        self._credentials = credentials
        self._on_lost = on_lost
        self._on_found = on_found
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._position = 0
        self._links: dict[int, _Link] = {}
        self._open_links: list[_Link] = []
        self._answered_last: int | None = _NOBODY_ASKED
        """Which gateway answered the last call; None: none did."""

    @property
    def current(self) -> Address:
        """The gateway that the next call goes to first."""
        return self.gateways[self._position]

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def call(self, send: Send[Answer], within: float | None = None) -> Answer:
        """Send a request, and again if that may help; ends within so many seconds (None: `timeout`).

        Raises:
            TransportError: no answer came in time, or the connection was closed.
            ConfigError: the keys cannot be used.
            RaftGossipError: a gateway refused; see `wire.status`.
        """
        deadline = monotonic_seconds() + (self.timeout if within is None else within)
        course = _Course(deadline, self._credentials())
        for attempts_left in reversed(range(self.max_attempts)):
            try:
                answer = self._ask_each(send, course, attempts_left > 0)
            except RaftGossipError as error:
                pause = self.pause_after(error, self.max_attempts - attempts_left - 1)
                may_retry = isinstance(error, TransportError | Busy) and attempts_left > 0
                if not may_retry or monotonic_seconds() + pause >= deadline or self._closed.wait(pause):
                    self._note(course, error)
                    raise
            else:
                self._note(course, None)
                return answer
        raise AssertionError("the last attempt returns or raises")

    def stream(self, send: Send[Messages[Answer]], seconds: float) -> GatewayStream[Answer]:
        """Open a stream at the current gateway, for so many seconds at most. It ends earlier when a call notices that
        the gateway is silent: a stream alone cannot tell that from having nothing to say.

        Raises:
            TransportError: the connection was closed.
            ConfigError: the keys cannot be used.
        """
        link = self._take(self._position, self._credentials())
        try:
            messages = send(link.stub, seconds)
        except ValueError:  # what a closed channel raises
            self._release(link)
            raise TransportError("the connection was closed") from None
        with self._lock:
            link.streams.append(messages)
        return GatewayStream(messages, lambda error: self._end_stream(link, messages, error))

    def pause_after(self, error: RaftGossipError, attempt: int) -> float:
        """Seconds to wait after the n-th failure in a row, n from 0 on."""
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**attempt) * self._rng.uniform(0.5, 1.0)
        return max(pause, error.retry_after_ms / 1000) if isinstance(error, Busy) else pause

    def close(self) -> None:
        """End the calls and streams that run and refuse new ones."""
        self._closed.set()
        with self._lock:
            links, self._open_links = self._open_links, []
            self._links.clear()
        for link in links:
            link.channel.close()

    def _ask_each(self, send: Send[Answer], course: _Course, may_come_again: bool) -> Answer:
        """Ask the current gateway, then the others, until one answers."""
        first, num_gateways = self._position, len(self.gateways)
        for turn in range(num_gateways):
            position = (first + turn) % num_gateways
            # A gateway may swallow an attempt whole; the others, and a second round, keep their part of the time.
            parts = num_gateways - turn + (1 if may_come_again else 0)
            try:
                answer = self._try(send, position, (course.deadline - monotonic_seconds()) / parts, course.credentials)
            except TransportError as error:
                course.silent[position] = error
            except RaftGossipError:
                self._settle(position, first, course)
                raise
            else:
                self._settle(position, first, course)
                return answer
        if num_gateways == 1:
            raise course.silent[first]
        texts = (f"{self.gateways[position]}: {error}" for position, error in sorted(course.silent.items()))
        raise TransportError("no gateway answers (" + "; ".join(texts) + ")")

    def _settle(self, position: int, first: int, course: _Course) -> None:
        course.answered_by = position
        if position != first:
            self._position = position

    def _try(self, send: Send[Answer], position: int, timeout: float, credentials: LiveCredentials | None) -> Answer:
        link = self._take(position, credentials)
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

    def _take(self, position: int, credentials: LiveCredentials | None) -> _Link:
        outdated = None
        with self._lock:
            if self._closed.is_set():
                raise TransportError("the connection was closed")
            link = self._links.get(position)
            if link is None or not link.shows(credentials):
                outdated, link = link, _Link(position, self.gateways[position], credentials)
                self._links[position] = link
                self._open_links.append(link)
            link.num_calls += 1
            if outdated is not None:
                outdated.num_calls += 1
        if outdated is not None:
            self._release(outdated)
        return link

    def _retire(self, link: _Link) -> None:
        """Let the next attempt dial anew: a channel whose connection silently died would not notice for minutes."""
        with self._lock:
            if self._links.get(link.position) is link:
                del self._links[link.position]
            streams, link.streams = link.streams, []
        for messages in streams:
            messages.cancel()

    def _release(self, link: _Link) -> None:
        with self._lock:
            link.num_calls -= 1
            if link.num_calls > 0 or self._links.get(link.position) is link or link not in self._open_links:
                return
            self._open_links.remove(link)
        link.channel.close()

    def _end_stream(self, link: _Link, messages: Messages[object], error: RaftGossipError | None) -> None:
        with self._lock:
            if messages in link.streams:
                link.streams.remove(messages)
        if isinstance(error, TransportError) and not isinstance(error, DeadlineExceeded):
            self._retire(link)
        self._release(link)

    def _note(self, course: _Course, error: RaftGossipError | None) -> None:
        """Tell once when a gateway falls silent, and once when one answers again."""
        now = course.answered_by
        with self._lock:
            before = self._answered_last
            # An older call may end after a younger one that moved on; it has not seen that the other is silent.
            if before not in (None, _NOBODY_ASKED, now) and before not in course.silent:
                return
            self._answered_last = now
        if now == before or self._closed.is_set():
            return
        lost = None if before is None else course.silent.get(before)
        if now is None:
            names = ", ".join(str(address) for address in self.gateways)
            logger.warning("the gateway %s does not answer; going on without it: %s", names, error)
        elif lost is not None and before is not None:
            logger.warning(
                "the gateway %s does not answer, %s does: %s", self.gateways[before], self.gateways[now], lost
            )
        elif before is None:
            logger.info("the gateway %s answers again", self.gateways[now])
        if lost is not None:
            self._on_lost(str(lost))
        if now is not None and before != _NOBODY_ASKED:
            self._on_found()


class GatewayStream(Generic[Answer]):
    """Messages of a gateway as they come; whoever is done with it reads it to its end or cancels it."""

    def __init__(self, messages: Messages[Answer], on_end: Callable[[RaftGossipError | None], None]) -> None:
        self._messages = messages
        self._on_end = on_end
        self._lock = threading.Lock()
        self._is_over = False

    def __iter__(self) -> GatewayStream[Answer]:
        return self

    def __next__(self) -> Answer:
        """Wait for the next message; only one thread may.

        Raises:
            DeadlineExceeded: its time is over.
            TransportError: the connection broke, or the stream was cancelled.
            RaftGossipError: the gateway refused to go on; see `wire.status`.
        """
        try:
            return next(self._messages)
        except StopIteration:
            self._end(None)
            raise
        except grpc.RpcError as failure:
            error = error_from_rpc(failure)
            self._end(error)
            raise error from None

    def cancel(self) -> None:
        """End it; any thread may, also while another waits for a message."""
        self._messages.cancel()
        self._end(None)

    def _end(self, error: RaftGossipError | None) -> None:
        with self._lock:
            was_over, self._is_over = self._is_over, True
        if not was_over:
            self._on_end(error)


class _Link:
    """A channel, its stub, and what uses them now."""

    def __init__(self, position: int, address: Address, credentials: LiveCredentials | None) -> None:
        self.position = position
        self._credentials = credentials
        self._generation = 0 if credentials is None else credentials.generation
        federation = "" if credentials is None else credentials.current().identity.federation
        self.channel = open_channel(address, credentials, role_server_name(Role.GATEWAY, federation), CHANNEL_OPTIONS)
        self.stub = pb_grpc.GatewayServiceStub(self.channel)
        self.num_calls = 0
        self.streams: list[Messages[object]] = []

    def shows(self, credentials: LiveCredentials | None) -> bool:
        """Whether the channel was made with these credentials as they are now."""
        return self._credentials is credentials and (credentials is None or self._generation == credentials.generation)
