"""What is fuzzed: every request of the gateway and of a peer, and everything that reads tokens and certificates.

A target takes any bytes. It raises `AssertionError` if the code under test lets anything but its documented errors out,
answers INTERNAL or UNKNOWN, or puts its own insides (paths, class names, tracebacks) into a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import grpc

from raftgossip.errors import RaftGossipError

Target = Callable[[bytes], None]

LEAKS = re.compile(
    r"Traceback|site-packages|\.py\b|object at 0x|google\.protobuf|cryptography\.|<class|sqlite3|0x[0-9a-f]{6}"
)
"""What a message to a stranger must not hold."""
BUGS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


def judge(details: str) -> None:
    """Refuse a message that tells a stranger about our insides."""
    found = LEAKS.search(details)
    assert found is None, f"the message {details!r} leaks {found.group(0)!r}"  # type: ignore[union-attr]
    assert details.isprintable(), f"the message {details!r} has control characters"


def judge_status(error: grpc.RpcError) -> None:
    """Refuse a status that no call may end with, or a message that leaks."""
    assert isinstance(error, grpc.Call)
    assert error.code() not in BUGS, f"answered {error.code()}: {error.details()}"
    judge(error.details() or "")


def parser_of(parse: Callable[[bytes], object]) -> Target:
    """A target that feeds a parser, whose refusals are our own errors."""

    def target(data: bytes) -> None:
        try:
            parse(data)
        except RaftGossipError as error:
            judge(str(error))

    return target
