"""What stands between gRPC and every handler: find out who calls, judge, decode, answer, and never say UNKNOWN.

Every call is handled as if it were a stream of requests, also where only the first is read. On the wire that is the
same, but so a caller is judged and counted before a byte of its request is waited for, in a thread that others need.

Handlers raise our errors; only this file turns them into a status. `sweep` judges the streams that stay open again, and
cuts off the calls whose request does not come.
They use the way to answer that the standard health service uses (`experimental_non_blocking`): the handler is given a
function that sends, so that another thread can end a stream with its proper status while the handler waits for bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar, cast

import grpc

from raftgossip.errors import Busy, DeadlineExceeded, RaftGossipError, WireError
from raftgossip.runtime.clock import Clock
from raftgossip.runtime.guard import Guard
from raftgossip.trust.callers import Caller
from raftgossip.trust.limits import TokenBuckets
from raftgossip.wire.status import status_of, trailing_metadata_of

SERVICE = "/PeerService/"
MAX_STREAMS: Mapping[str, int] = {"Raft": 4, "Exchange": 16, "FetchModel": 8}
"""Streams of one verified caller that may be open at once; a neighbour in step with the run needs one of each."""
GIVING_WAY = frozenset({"Raft"})
"""Here the oldest stream ends instead: it may be what a cut of the network left behind, and the newest is alive."""
UNCOUNTED = frozenset({"Raft", "Exchange"})
"""Streams that the rate of calls does not count."""
MAX_STREAM_MS: Mapping[str, int] = {"Exchange": 3_600_000, "FetchModel": 3_600_000}
"""The longest that a stream may stay open, whatever deadline the caller asked for."""
MESSAGE_PATIENCE_MS = 10_000
"""The one request of a call must arrive within it, whatever deadline the caller asked for; the next `sweep` ends it."""
STILL_JUDGED_MS = 1_000
"""A request that comes later than so long after its caller was judged is handled only if the caller still may call."""
REPEATED = "PublishRevocations, passed on again"
SELDOM: Mapping[str, tuple[float, float]] = {"PublishRevocations": (1.0, 10.0), REPEATED: (1.0, 1.0)}
"""What one verified caller may do so often in a second, and so often at once, since each time others have work too."""

Request = TypeVar("Request")
Handler = Callable[[Request, grpc.ServicerContext, Caller], Any]
StreamHandler = Callable[[Request, grpc.ServicerContext, Caller], Generator[Any, None, None]]
Send = Callable[[Any], None]


def abort(context: grpc.ServicerContext, error: RaftGossipError) -> NoReturn:
    """End the call with the status that `wire.status` gives this error."""
    code, details = status_of(error)
    context.set_trailing_metadata(trailing_metadata_of(error))
    context.abort(code, details)
    raise AssertionError("abort() raises")


class Gate:
    """Wraps handlers, and keeps the streams that are open. Thread-safe."""

    def __init__(self, guard: Guard, clock: Clock) -> None:
        self._guard = guard
        self._clock = clock
        self._lock = threading.Lock()
        self._streams: dict[_Stream, None] = {}
        """The oldest first."""
        self._awaited: dict[int, tuple[int, grpc.ServicerContext]] = {}
        """Calls whose one request has not come yet, and since when; each operation is one of the dict's own."""
        self._seldom = {what: TokenBuckets(rate_per_s, burst) for what, (rate_per_s, burst) in SELDOM.items()}

    # --- calls with one answer

    def unary(self, name: str, message: type[Request], handler: Handler[Request]) -> grpc.RpcMethodHandler[Any, Any]:
        """A method with one request and one answer, both protobuf messages."""

        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            try:
                _, caller = self._identify(context)
                self._guard.take_call(caller)
                self._guard.admit(caller, SERVICE + name)
                if name in SELDOM:
                    self._take_seldom(name, caller)
                with self._guard.under_way(caller):
                    return handler(self._receive(name, message, requests, context), context, caller)
            except RaftGossipError as error:
                abort(context, error)
            except grpc.RpcError:
                raise  # the caller went away, or was cut off
            except Exception:
                _blame_ourselves(context)
                raise

        return grpc.stream_unary_rpc_method_handler(behave, response_serializer=_serialise)

    def wait_ms(self, what: str, caller: Caller) -> int:
        """Count one of what a caller may do only seldom; `what`: a key of `SELDOM`. 0: it may. Else it is not counted,
        and so many milliseconds later it may."""
        if caller.identity is None:
            return 0
        with self._lock:
            return self._seldom[what].take(caller.principal, self._clock.now_ms())

    def _take_seldom(self, name: str, caller: Caller) -> None:
        wait_ms = self.wait_ms(name, caller)
        if wait_ms:
            rate_per_s, _ = SELDOM[name]
            raise Busy(f"{caller.principal} calls {name} more than {rate_per_s:g} times a second", wait_ms)

    def _receive(
        self, name: str, message: type[Request], requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Request:
        """Wait for the one request of a call that was let in.

        Raises:
            WireError: it is malformed, or the caller has ended its side without one.
            Unauthenticated, PermissionDenied: it took its time, and meanwhile its caller has lost its right.
            grpc.RpcError: the caller went away, or was cut off.
        """
        since_ms = self._clock.now_ms()
        self._awaited[id(context)] = since_ms, context
        try:
            data = next(requests, None)
        finally:
            del self._awaited[id(context)]
        if data is None:
            raise WireError(f"the call brought no {message.__name__}")
        if self._clock.now_ms() - since_ms > STILL_JUDGED_MS:
            self._guard.admit(self._identify(context)[1], SERVICE + name)
        return _decode(message, data)

    # --- streams

    def answering(
        self, name: str, message: type[Request], handler: StreamHandler[Request]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """A method with one request and many answers, all protobuf messages."""

        def receive_and_handle(
            requests: Iterator[bytes], context: grpc.ServicerContext, caller: Caller
        ) -> Generator[Any, None, None]:
            yield from handler(self._receive(name, message, requests, context), context, caller)

        behaviour: Any = _StreamBehaviour(self, name, receive_and_handle)
        return grpc.stream_stream_rpc_method_handler(behaviour, response_serializer=_serialise)

    def streaming(self, name: str, handler: StreamHandler[Iterator[bytes]]) -> grpc.RpcMethodHandler[Any, Any]:
        """A method with many raw messages in both directions."""
        behaviour: Any = _StreamBehaviour(self, name, handler)
        return grpc.stream_stream_rpc_method_handler(behaviour)

    def serve_stream(
        self,
        name: str,
        handler: StreamHandler[Iterator[bytes]],
        requests: Iterator[bytes],
        context: grpc.ServicerContext,
        send: Send,
    ) -> None:
        """One stream from its first to its last byte, in a thread of its own."""
        stream = _Stream(name, context, send, self._clock.now_ms())
        try:
            stream.pem, stream.caller = self._identify(context)
            if name not in UNCOUNTED:
                self._guard.take_call(stream.caller)
            self._guard.admit(stream.caller, SERVICE + name)
            with self._entered(stream):
                stream.answer(handler(requests, context, stream.caller))
            stream.end(None)
        except RaftGossipError as error:
            stream.end(error)
        except grpc.RpcError:
            stream.end(None)  # the caller went away
        except Exception:
            stream.blame()
            raise

    @contextmanager
    def _entered(self, stream: _Stream) -> Iterator[None]:
        """Keep a stream among the open ones for as long as it is served.

        Raises:
            Busy: its caller has too many of its kind.
        """
        surplus: list[_Stream] = []
        with self._lock:
            if stream.caller.identity is not None:
                limit, principal = MAX_STREAMS[stream.name], stream.caller.principal
                like = [each for each in self._streams if each.name == stream.name and each.principal == principal]
                if len(like) >= limit and stream.name not in GIVING_WAY:
                    raise Busy(f"{limit} streams {stream.name} of {principal} are open; wait until one ends")
                surplus = like[: max(0, len(like) + 1 - limit)]
            self._streams[stream] = None
        for oldest in surplus:
            oldest.end(Busy(f"{oldest.principal} has opened newer streams {oldest.name}"))
        try:
            yield
        finally:
            with self._lock:
                del self._streams[stream]

    def sweep(self) -> None:
        """End the calls whose request did not come in time; judge every open stream again, and end those whose caller
        may not be here any more. Called every few seconds, by one thread."""
        self._cut_off_silent()
        with self._lock:
            streams = tuple(self._streams)
        now_ms = self._clock.now_ms()
        for stream in streams:
            try:
                limit_ms = MAX_STREAM_MS.get(stream.name)
                if limit_ms is not None and now_ms - stream.opened_ms > limit_ms:
                    raise DeadlineExceeded(f"a stream {stream.name} may not stay open for longer")
                self._guard.admit(self._guard.identify(stream.pem, stream.address), SERVICE + stream.name)
            except RaftGossipError as error:
                stream.end(error)

    def _cut_off_silent(self) -> None:
        limit_ms = self._clock.now_ms() - MESSAGE_PATIENCE_MS
        for since_ms, context in tuple(self._awaited.values()):
            if since_ms <= limit_ms:
                context.cancel()

    def _identify(self, context: grpc.ServicerContext) -> tuple[bytes, Caller]:
        pem = b""
        if self._guard.credentials is not None:
            certificates: Mapping[str, Any] = context.auth_context()
            pem = next(iter(certificates.get("x509_pem_cert", ())), b"")
        return pem, self._guard.identify(pem, context.peer())


class _StreamBehaviour:
    """What gRPC calls for each stream."""

    experimental_non_blocking = True

    def __init__(self, gate: Gate, name: str, handler: StreamHandler[Iterator[bytes]]) -> None:
        self._gate, self._name, self._handler = gate, name, handler

    def __call__(self, requests: Iterator[bytes], context: grpc.ServicerContext, send: Send) -> None:
        self._gate.serve_stream(self._name, self._handler, requests, context, send)


class _Stream:
    """An open stream: who it is with, and the one place where its status is sent, once."""

    def __init__(self, name: str, context: grpc.ServicerContext, send: Send, opened_ms: int) -> None:
        self.name = name
        self.opened_ms = opened_ms
        self.address = context.peer()
        self.pem = b""
        self.caller = Caller(None)
        self._context = context
        self._send = send
        self._lock = threading.Lock()
        self._has_ended = False

    @property
    def principal(self) -> str:
        return self.caller.principal

    def answer(self, answers: Generator[Any, None, None]) -> None:
        """Send what a handler says, as fast as the caller reads, until one of them has enough."""
        try:
            for answer in answers:
                self._send(answer)
                if not self._context.is_active():
                    break
        finally:
            answers.close()

    def end(self, error: RaftGossipError | None) -> None:
        """Send the status. Repeated, it only makes sure that the stream does end, though its caller does not read."""
        with self._lock:
            is_first, self._has_ended = not self._has_ended, True
        if not is_first:
            if error is not None:
                self._context.cancel()
            return
        if error is not None:
            code, details = status_of(error)
            self._context.set_trailing_metadata(trailing_metadata_of(error))
            self._context.set_code(code)
            self._context.set_details(details)
        self._send(None)

    def blame(self) -> None:
        """The handler raised: gRPC will send the status."""
        with self._lock:
            is_first, self._has_ended = not self._has_ended, True
        if is_first:
            _blame_ourselves(self._context)


def _decode(message: type[Request], data: bytes) -> Request:
    """Inside the handler, where a malformed message can be answered with INVALID_ARGUMENT."""
    request = message()
    try:
        cast(Any, request).ParseFromString(data)
    except Exception as error:  # noqa: BLE001 - protobuf's DecodeError differs between its backends
        raise WireError(f"the request is not a {message.__name__}: {type(error).__name__}") from None
    return request


def _serialise(answer: Any) -> bytes:
    data: bytes = answer.SerializeToString()
    return data


def _blame_ourselves(context: grpc.ServicerContext) -> None:
    """A bug of ours, which gRPC would call UNKNOWN."""
    context.set_code(grpc.StatusCode.INTERNAL)
    context.set_details("this node failed while it answered; its log says why")
