"""Gateways that misbehave as told, for tests of the client."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc

from gateway.clock import monotonic_seconds
from raftgossip.errors import RaftGossipError
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.wire.channels import open_port
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.status import status_of, trailing_metadata_of

CALLS: dict[str, type] = {
    "RegisterNode": pb.RegisterNodeRequest,
    "GetNodes": pb.GetNodesRequest,
    "GetLeader": pb.GetLeaderRequest,
    "UpdateLeader": pb.UpdateLeaderRequest,
    "Heartbeat": pb.HeartbeatRequest,
    "HealthCheck": pb.HealthCheckRequest,
    "RemoveNode": pb.RemoveNodeRequest,
    "GetStats": pb.GetStatsRequest,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call that arrived."""

    method: str
    peer: str
    """Address and port of the caller: one for each TCP connection."""
    at_s: float
    request: bytes
    identity: str
    """The SPIFFE name that the caller showed; empty: none."""


Answered = bytes | grpc.StatusCode | RaftGossipError


class ScriptedGateway:
    """A bare gRPC server that notes each call; `answer(method, n)` is what the n-th gets: a message, code or error."""

    def __init__(
        self, answer: Callable[[str, int], Answered], address: str = "127.0.0.1:0", keys: LiveCredentials | None = None
    ) -> None:
        self.calls: list[Call] = []
        self._answer = answer
        self._arrived = threading.Condition()
        self._threads = ThreadPoolExecutor(32)
        self._server = grpc.server(self._threads, options=(("grpc.so_reuseport", 0),))
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            name: grpc.unary_unary_rpc_method_handler(self._handler(name)) for name in CALLS
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("GatewayService", handlers),))
        self.port = open_port(self._server, address, keys)
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> ScriptedGateway:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()
        self._threads.shutdown()

    def wait_for_calls(self, number: int, seconds: float) -> list[Call]:
        """All calls so far, as soon as there are so many; fails when the time is up."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.calls) >= number, seconds), self.calls
            return list(self.calls)

    def _handler(self, method: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
            with self._arrived:
                names: Any = context.auth_context().get("peer_spiffe_id")  # bytes, whatever the stubs say
                shown = names[0].decode() if names else ""
                self.calls.append(Call(method, context.peer(), monotonic_seconds(), request, shown))
                position = sum(call.method == method for call in self.calls)
                self._arrived.notify_all()
            answer = self._answer(method, position)
            if isinstance(answer, bytes):
                return answer
            if isinstance(answer, RaftGossipError):
                context.set_trailing_metadata(trailing_metadata_of(answer))
                context.abort(*status_of(answer))
            context.abort(answer, "as the test wants it")
            raise AssertionError("abort() raises")

        return handle


class BlackHole:
    """A port that takes connections and never says a word."""

    def __enter__(self) -> BlackHole:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def accept(self, seconds: float) -> socket.socket:
        """The next connection, which stays open when the port is closed."""
        self._socket.settimeout(seconds)
        return self._socket.accept()[0]
