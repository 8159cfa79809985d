"""The one table between our errors and gRPC's status codes, for both ends of a connection.

Who raised an error, and what a caller does about it, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio

from raftgossip.errors import (
    AlreadyExists,
    Busy,
    ClusterUnreachable,
    CommandRefused,
    ConfigError,
    DeadlineExceeded,
    IntegrityError,
    NoQuorum,
    NotFound,
    NotLeader,
    Oversized,
    PermissionDenied,
    RaftGossipError,
    RemoteError,
    StaleEpoch,
    StorageError,
    StorageFull,
    TransportError,
    WireError,
    WrongCluster,
)

LEADER_KEY = "raftgossip-leader"
"""Trailing metadata of a `NotLeader` answer: the id of the leader, 0 if none is known."""
MAX_DETAILS = 1000
"""Bytes of an error's text that travel; HTTP/2 trailers hold 8 KiB, and each byte may take three there."""

_TABLE: tuple[tuple[type[RaftGossipError], grpc.StatusCode], ...] = (
    (NotLeader, grpc.StatusCode.FAILED_PRECONDITION),
    (CommandRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (WireError, grpc.StatusCode.INVALID_ARGUMENT),
    (ConfigError, grpc.StatusCode.INVALID_ARGUMENT),
    (Oversized, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (IntegrityError, grpc.StatusCode.DATA_LOSS),
    (StorageFull, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (StorageError, grpc.StatusCode.DATA_LOSS),
    (StaleEpoch, grpc.StatusCode.OUT_OF_RANGE),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (WrongCluster, grpc.StatusCode.PERMISSION_DENIED),
    (PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (TransportError, grpc.StatusCode.UNAVAILABLE),
    (NoQuorum, grpc.StatusCode.UNAVAILABLE),
    (ClusterUnreachable, grpc.StatusCode.UNAVAILABLE),
)
"""A subclass stands before its parent: the first match counts."""

_ERRORS: dict[grpc.StatusCode, type[RaftGossipError]] = {
    grpc.StatusCode.FAILED_PRECONDITION: CommandRefused,
    grpc.StatusCode.INVALID_ARGUMENT: WireError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Busy,
    grpc.StatusCode.DATA_LOSS: IntegrityError,
    grpc.StatusCode.OUT_OF_RANGE: StaleEpoch,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAVAILABLE: TransportError,
    grpc.StatusCode.CANCELLED: TransportError,
    grpc.StatusCode.ABORTED: Busy,
}


def status_of(error: RaftGossipError) -> tuple[grpc.StatusCode, str]:
    """The code and the sentence that tell a caller about `error`. INTERNAL: a bug of ours; UNKNOWN never."""
    for kind, code in _TABLE:
        if isinstance(error, kind):
            return code, _details(error)
    return grpc.StatusCode.INTERNAL, _details(error)


def trailing_metadata_of(error: RaftGossipError) -> tuple[tuple[str, str], ...]:
    """What travels beside the status: the leader, if that is what the caller needs."""
    return ((LEADER_KEY, str(error.leader or 0)),) if isinstance(error, NotLeader) else ()


def error_from_rpc(failure: grpc.RpcError) -> RaftGossipError:
    """The error that a failed call stands for, of either of gRPC's two stacks."""
    if not isinstance(failure, grpc.Call | grpc.aio.AioRpcError):
        return TransportError(str(failure) or "the call failed")
    code, text = failure.code(), failure.details() or "no reason was given"
    leader = _leader_of(failure.trailing_metadata() or ())
    if code is grpc.StatusCode.FAILED_PRECONDITION and leader is not None:
        return NotLeader(leader or None)
    kind = _ERRORS.get(code)
    if kind is None:
        return RemoteError(f"{code.name}: {text}")
    return kind(text)


def _details(error: RaftGossipError) -> str:
    return str(error).encode(errors="replace")[:MAX_DETAILS].decode(errors="ignore")


def _leader_of(metadata: Iterable[Any]) -> int | None:
    for key, value in metadata:
        if key == LEADER_KEY and isinstance(value, str) and value.isdecimal():
            return int(value)
    return None
