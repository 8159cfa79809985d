"""The one way into the gateway: who calls, may he, too often, is the request one; then the call, or a refusal's code.

Every call is handled as if it were a stream of requests, of which the first is read. On the wire that is the same, but
so a caller is judged before a byte of its request is waited for, and one that sends none can be cut off. Requests
arrive as bytes and are decoded here: gRPC's own decoding would call a malformed one an internal error of the gateway.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from gateway.clock import monotonic_seconds
from gateway.limits import CallLimits
from gateway.log_lines import Event
from gateway.metrics import CallCounts
from raftgossip.errors import Busy, RaftGossipError, Unauthenticated, WireError
from raftgossip.trust.callers import Caller, Callers
from raftgossip.trust.limits import TokenBuckets
from raftgossip.trust.policy import require_right
from raftgossip.wire.status import status_of, trailing_metadata_of

MESSAGE_PATIENCE_S = 10.0
"""A caller's request must arrive within it, whatever deadline the caller asks for; its answer follows at once. So no
call that answers once holds a thread for a minute."""
SILENT_S = 0.1
"""Whose request has not come by then says nothing for now; another thread takes the place of the one that waits."""
LOGGED_REFUSALS_PER_S = 0.1
LOGGED_REFUSALS = 5
"""Of one caller at once; so refusals cannot fill the log."""
UNKNOWN_METHOD = "unknown"
"""What calls of methods that do not exist are counted as."""
MAX_METHOD_CHARACTERS = 100

logger = logging.getLogger(__name__)
RequestT = TypeVar("RequestT", bound=Message)
Recheck = Callable[[], None]
"""Judges the caller of a stream again. Raises `Unauthenticated` or `PermissionDenied`."""
Stream = Callable[[RequestT, Caller, grpc.ServicerContext, Recheck], Iterator[Message]]


class CallGate:
    """Judges all calls; any number of threads may share it."""

    def __init__(self, callers: Callers, limits: CallLimits, counts: CallCounts) -> None:
        self._callers = callers
        self._limits = limits
        self._counts = counts
        self._awaited: dict[int, tuple[float, grpc.ServicerContext]] = {}
        self._logged = TokenBuckets(LOGGED_REFUSALS_PER_S, LOGGED_REFUSALS)
        self._lock = threading.Lock()

    def unary(
        self, method: str, request_class: type[RequestT], call: Callable[[RequestT, Caller], Message]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a call that answers once. `method`: its full name, as in `policy.RIGHTS`."""

        def answer(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            started_s = monotonic_seconds()
            code = "CANCELLED"
            try:
                caller = self._authenticate(context)
                self._limits.enter(caller)
                try:
                    require_right(caller, method)
                    data = call(self._receive(request_class, requests, context), caller).SerializeToString()
                finally:
                    self._limits.leave(caller)
                code = "OK"
                return data
            except grpc.RpcError:  # the caller has gone
                raise
            except Exception as error:  # noqa: BLE001 - the border: a code for everything, and a log line
                status, text = self._refuse(error, method, context)
                code = status.name
            finally:
                self._counts.note(method, code, monotonic_seconds() - started_s)
            context.abort(status, text)
            raise AssertionError("abort() raises")

        return grpc.stream_unary_rpc_method_handler(answer)

    def stream(
        self, method: str, request_class: type[RequestT], call: Stream[RequestT], threads: ThreadPoolExecutor
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a call that answers with a stream, in threads of its own."""

        def answer(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            started_s = monotonic_seconds()
            code = "CANCELLED"
            try:
                caller = self._authenticate(context)
                with self._limits.under_way(caller):  # only its beginning counts; what is open has its own limit
                    require_right(caller, method)
                    request = self._receive(request_class, requests, context)
                for message in call(request, caller, context, lambda: self._recheck(context, method)):
                    yield message.SerializeToString()
                code = "OK"
                return
            except grpc.RpcError:  # the caller has gone
                raise
            except Exception as error:  # noqa: BLE001 - the border: a code for everything, and a log line
                status, text = self._refuse(error, method, context)
                code = status.name
            finally:
                self._counts.note(method, code, monotonic_seconds() - started_s)
            context.abort(status, text)

        handle: Any = answer
        handle.experimental_thread_pool = threads
        return grpc.stream_stream_rpc_method_handler(handle)

    def unknown(self, method: str, known: str) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a method that does not exist. `known`: completes "it has …"."""

        def answer(_requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            started_s = monotonic_seconds()
            status = grpc.StatusCode.UNIMPLEMENTED
            text = f"the gateway has no method {method[:MAX_METHOD_CHARACTERS]}; it has {known}"
            try:
                with self._limits.under_way(self._authenticate(context)):
                    pass
            except RaftGossipError as error:
                status, text = self._refuse(error, UNKNOWN_METHOD, context)
            self._counts.note(UNKNOWN_METHOD, status.name, monotonic_seconds() - started_s)
            context.abort(status, text)
            raise AssertionError("abort() raises")

        return grpc.stream_unary_rpc_method_handler(answer)

    def cut_off_silent(self) -> None:
        """End the calls whose request did not come in time; call it every few seconds."""
        limit_s = monotonic_seconds() - MESSAGE_PATIENCE_S
        for since_s, context in list(self._awaited.values()):
            if since_s < limit_s:
                context.cancel()

    def num_silent(self) -> int:
        """So many threads have waited for a request for longer than a request takes that was sent with its call."""
        limit_s = monotonic_seconds() - SILENT_S
        return sum(since_s < limit_s for since_s, _ in list(self._awaited.values()))

    def _authenticate(self, context: grpc.ServicerContext) -> Caller:
        connection = context.auth_context()
        # Who shows a certificate is told apart by it, and reading the address takes a tenth of a heartbeat's time.
        address = "" if "x509_pem_cert" in connection else context.peer()
        try:
            return self._callers.of_connection(connection, address)  # type: ignore[arg-type]  # stubs: str
        except Unauthenticated:
            nobody = Caller(None, address=context.peer().rpartition(":")[0])
            with self._limits.under_way(nobody):  # so that strangers cannot call without end
                raise

    def _recheck(self, context: grpc.ServicerContext, method: str) -> None:
        require_right(self._authenticate(context), method)

    def _receive(
        self, request_class: type[RequestT], requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> RequestT:
        self._awaited[id(context)] = monotonic_seconds(), context
        try:
            data = next(requests, None)
        finally:
            del self._awaited[id(context)]
        if data is None:
            raise WireError(f"the call brought no {request_class.__name__}")
        try:
            return request_class.FromString(data)
        except DecodeError:
            raise WireError(f"the request is not a {request_class.__name__}") from None

    def _refuse(self, error: Exception, method: str, context: grpc.ServicerContext) -> tuple[grpc.StatusCode, str]:
        """The code and the sentence for a call that failed; sets what travels beside them."""
        if not isinstance(error, RaftGossipError):
            logger.error(Event("a call failed", method=method), exc_info=error)
            return grpc.StatusCode.INTERNAL, "the gateway failed; its log says why"
        code, text = status_of(error)
        metadata = trailing_metadata_of(error)
        if metadata:
            context.set_trailing_metadata(metadata)
        address = context.peer()
        with self._lock:
            wait_ms = self._logged.take(f"{address.rpartition(':')[0]} {code.name}", int(monotonic_seconds() * 1000))
        if wait_ms == 0:
            level = logging.WARNING if isinstance(error, Busy | Unauthenticated) else logging.INFO
            logger.log(level, Event("refused a call", method=method, caller=address, code=code.name, reason=text))
        return code, text


class Routes(grpc.GenericRpcHandler):
    """All methods by their full names; any other one is answered as unknown."""

    def __init__(self, gate: CallGate, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._gate = gate
        self._handlers = handlers
        self._known = ", ".join(sorted(handlers))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of one call; asked by gRPC."""
        method = str(handler_call_details.method)
        return self._handlers.get(method) or self._gate.unknown(method, self._known)
