"""What is fuzzed: every request of the gateway and of a peer, and everything that reads tokens and certificates.

A target takes any bytes. It raises `AssertionError` if the code under test lets anything but its documented errors out,
answers INTERNAL or UNKNOWN, or puts its own insides (paths, class names, tracebacks) into a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from raftgossip.errors import RaftGossipError

Target = Callable[[bytes], None]

LEAKS = re.compile(r"Traceback|site-packages|\.py\b|object at 0x|google\.protobuf|cryptography\.|<class|sqlite3|0x[0-9a-f]{6}")
"""What a message to a stranger must not hold."""
BUGS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


class _Aborted(Exception):
    """What `abort` raises, as gRPC's own does."""


@dataclass(slots=True)
class FuzzContext:
    """A call's context without a network: what the handlers use of it, and the status that they gave."""

    auth: Mapping[str, Iterable[bytes]] = field(default_factory=dict)
    status: grpc.StatusCode | None = None
    details: str = ""
    callbacks: list[Callable[[], None]] = field(default_factory=list)

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return self.auth

    def peer(self) -> str:
        return "ipv4:10.9.8.7:6543"

    def time_remaining(self) -> float:
        return 0.5

    def is_active(self) -> bool:
        return True

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self.callbacks.append(callback)
        return True

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def send_initial_metadata(self, metadata: object) -> None:
        pass

    def set_trailing_metadata(self, metadata: object) -> None:
        pass

    def set_code(self, code: grpc.StatusCode) -> None:
        self.status = code

    def set_details(self, details: str) -> None:
        self.details = details

    def code(self) -> grpc.StatusCode | None:
        return self.status

    def cancel(self) -> None:
        pass

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.status, self.details = code, details
        raise _Aborted


def judge(details: str) -> None:
    """Refuse a message that tells a stranger about our insides."""
    found = LEAKS.search(details)
    assert found is None, f"the message {details!r} leaks {found.group(0)!r}"  # type: ignore[union-attr]
    assert details.isprintable(), f"the message {details!r} has control characters"


def call_of(handler: grpc.RpcMethodHandler[Any, Any], auth: Mapping[str, Iterable[bytes]], limit: int = 4) -> Target:
    """A target that sends bytes to one method, as one request or as the first message of a stream."""

    def target(data: bytes) -> None:
        context = FuzzContext(auth)
        try:
            _answer(handler, data, context, limit)
        except _Aborted:
            pass
        assert context.status not in BUGS, f"answered {context.status}: {context.details}"
        judge(context.details)

    return target


def _answer(handler: Any, data: bytes, context: FuzzContext, limit: int) -> None:
    requests: Iterator[bytes] | bytes = iter((data,)) if handler.request_streaming else data
    name = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
    answer = getattr(handler, name)(requests, context)
    if handler.response_streaming:
        for _ in zip(range(limit), answer, strict=False):
            pass


def parser_of(parse: Callable[[bytes], object]) -> Target:
    """A target that feeds a parser, whose refusals are our own errors."""

    def target(data: bytes) -> None:
        try:
            parse(data)
        except RaftGossipError as error:
            judge(str(error))

    return target
