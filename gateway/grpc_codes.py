"""Errors to gRPC status codes and back, for both ends of the gateway's connection."""

from __future__ import annotations

import grpc

from raftgossip.errors import (
    AlreadyExists,
    Busy,
    ConfigError,
    NotFound,
    Oversized,
    PermissionDenied,
    RaftGossipError,
    RemoteError,
    TransportError,
    WireError,
)

_CODES: tuple[tuple[type[RaftGossipError], grpc.StatusCode], ...] = (
    (WireError, grpc.StatusCode.INVALID_ARGUMENT),
    (ConfigError, grpc.StatusCode.INVALID_ARGUMENT),
    (AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Oversized, grpc.StatusCode.RESOURCE_EXHAUSTED),
)
_UNREACHABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


def code_of(error: RaftGossipError) -> grpc.StatusCode:
    """The status code that tells a caller about `error`; INTERNAL is a bug of ours."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return grpc.StatusCode.INTERNAL


def error_of(failure: grpc.RpcError) -> RaftGossipError:
    """The error that a failed call stands for: `TransportError` if no answer came, else what the gateway refused."""
    if not isinstance(failure, grpc.Call):
        return TransportError(str(failure))
    code, text = failure.code(), failure.details() or "the gateway gave no reason"
    if code in _UNREACHABLE:
        return TransportError(f"{code.name}: {text}")
    for kind, known in _CODES:
        if code == known:
            return kind(text)
    return RemoteError(f"{code.name}: {text}")
