"""What stands between gRPC and every handler: decode, find out who calls, judge, answer, and never say UNKNOWN.

Handlers raise our errors; only this file turns them into a status. Streams that stay open are judged again by `sweep`.
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

    # --- calls with one answer

    def unary(self, name: str, message: type[Request], handler: Handler[Request]) -> grpc.RpcMethodHandler[Any, Any]:
        """A method with one request and one answer, both protobuf messages."""

        def behave(data: bytes, context: grpc.ServicerContext) -> Any:
            try:
                _, caller = self._identify(context)
                self._guard.take_call(caller)
                self._guard.admit(caller, SERVICE + name)
                with self._guard.under_way(caller):
                    return handler(_decode(message, data), context, caller)
            except RaftGossipError as error:
                abort(context, error)
            except Exception:
                _blame_ourselves(context)
                raise

        return grpc.unary_unary_rpc_method_handler(behave, response_serializer=_serialise)

    # --- streams

    def answering(
        self, name: str, message: type[Request], handler: StreamHandler[Request]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """A method with one request and many answers, all protobuf messages."""

        def decode_and_handle(data: bytes, context: grpc.ServicerContext, caller: Caller) -> Generator[Any, None, None]:
            yield from handler(_decode(message, data), context, caller)

        behaviour: Any = _StreamBehaviour(self, name, decode_and_handle)
        return grpc.unary_stream_rpc_method_handler(behaviour, response_serializer=_serialise)

    def streaming(self, name: str, handler: StreamHandler[Iterator[bytes]]) -> grpc.RpcMethodHandler[Any, Any]:
        """A method with many raw messages in both directions."""
        behaviour: Any = _StreamBehaviour(self, name, handler)
        return grpc.stream_stream_rpc_method_handler(behaviour)

    def serve_stream(
        self, name: str, handler: StreamHandler[Any], request: Any, context: grpc.ServicerContext, send: Send
    ) -> None:
        """One stream from its first to its last byte, in a thread of its own."""
        stream = _Stream(name, context, send, self._clock.now_ms())
        try:
            stream.pem, stream.caller = self._identify(context)
            if name not in UNCOUNTED:
                self._guard.take_call(stream.caller)
            self._guard.admit(stream.caller, SERVICE + name)
            with self._entered(stream):
                stream.answer(handler(request, context, stream.caller))
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
        """Judge every open stream again, and end those whose caller may not be here any more. Called every few seconds,
        by one thread."""
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

    def _identify(self, context: grpc.ServicerContext) -> tuple[bytes, Caller]:
        pem = b""
        if self._guard.credentials is not None:
            certificates: Mapping[str, Any] = context.auth_context()
            pem = next(iter(certificates.get("x509_pem_cert", ())), b"")
        return pem, self._guard.identify(pem, context.peer())


class _StreamBehaviour:
    """What gRPC calls for each stream."""

    experimental_non_blocking = True

    def __init__(self, gate: Gate, name: str, handler: StreamHandler[Any]) -> None:
        self._gate, self._name, self._handler = gate, name, handler

    def __call__(self, request: Any, context: grpc.ServicerContext, send: Send) -> None:
        self._gate.serve_stream(self._name, self._handler, request, context, send)


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
