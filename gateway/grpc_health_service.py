"""The standard health service of gRPC, for load balancers and container platforms: does this gateway serve?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]  # there are no stubs for it

from gateway.grpc_calls import CallGate, Recheck
from raftgossip.errors import Busy, NotFound
from raftgossip.trust.callers import Caller

SERVICES = ("", "GatewayService", "grpc.health.v1.Health")
"""What may be asked about; the empty name stands for the whole program."""
MAX_HEALTH_WATCHERS = 8
"""Each takes a thread."""
MAX_OF_IDENTITY = 2
"""Of these; without certificates a caller is only an address, behind which all of them may be."""
RECHECK_S = 5.0
"""Whoever watches is judged again so often."""
METHODS = "/grpc.health.v1.Health/"


class HealthService:
    """Serving, until it is stopped."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._watchers: list[str] = []
        """The principals of those who watch."""

    def stop(self) -> None:
        """Tell from now on that the gateway does not serve; watchers hear it at once, and are let go."""
        self._stopping.set()

    def check(self, request: health_pb2.HealthCheckRequest, _caller: Caller) -> health_pb2.HealthCheckResponse:
        """Whether it serves now.

        Raises:
            NotFound: no such service.
        """
        if request.service not in SERVICES:
            raise NotFound(f"the gateway has no service {request.service[:80]!r}")
        return health_pb2.HealthCheckResponse(status=self._status())

    def watch(
        self,
        request: health_pb2.HealthCheckRequest,
        caller: Caller,
        context: grpc.ServicerContext,
        recheck: Recheck,
    ) -> Iterator[health_pb2.HealthCheckResponse]:
        """Whether it serves, now and whenever that changes. As the standard wants it, a service that is unknown is no
        error here.

        Raises:
            Busy: too many watch, or the caller does so too often.
            Unauthenticated: the watcher's certificate does not count any more.
            PermissionDenied: its rights were taken.
        """
        self._enter(caller)
        try:
            if request.service not in SERVICES:
                unknown = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
                yield health_pb2.HealthCheckResponse(status=unknown)
            else:
                yield health_pb2.HealthCheckResponse(status=self._status())
            while context.is_active() and not self._stopping.wait(RECHECK_S):
                recheck()
            yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)
        finally:
            with self._lock:
                self._watchers.remove(caller.principal)

    def _enter(self, caller: Caller) -> None:
        principal = caller.principal
        with self._lock:
            if len(self._watchers) >= MAX_HEALTH_WATCHERS:
                raise Busy(f"{MAX_HEALTH_WATCHERS} callers watch the health already; ask with Check instead", 10_000)
            if caller.identity is not None and self._watchers.count(principal) >= MAX_OF_IDENTITY:
                raise Busy(
                    f"{principal} watches the health {MAX_OF_IDENTITY} times already; ask with Check instead", 10_000
                )
            self._watchers.append(principal)

    def _status(self) -> health_pb2.HealthCheckResponse.ServingStatus:
        answer = health_pb2.HealthCheckResponse
        return answer.NOT_SERVING if self._stopping.is_set() else answer.SERVING


def health_handlers(
    gate: CallGate, health: HealthService, threads: ThreadPoolExecutor
) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Its two calls by their full names. `threads`: at least `MAX_HEALTH_WATCHERS` must be free for watchers."""
    request_class = health_pb2.HealthCheckRequest
    return {
        f"{METHODS}Check": gate.unary(f"{METHODS}Check", request_class, health.check),
        f"{METHODS}Watch": gate.stream(f"{METHODS}Watch", request_class, health.watch, threads),
    }
