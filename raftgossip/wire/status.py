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
    Unauthenticated,
    WireError,
    WrongCluster,
)

LEADER_KEY = "raftgossip-leader"
"""Trailing metadata of a `NotLeader` answer: the id of the leader, 0 if none is known."""
LEADER_ADDRESS_KEY = "raftgossip-leader-address"
"""Beside it, where the caller must go there itself: the leader's host:port."""
MAX_ADDRESS_CHARACTERS = 300
RETRY_KEY = "grpc-retry-pushback-ms"
"""Trailing metadata of a `Busy` answer: after how many milliseconds to try again; gRPC's own name for it."""
MAX_RETRY_MS = 60_000
"""What a server asks for beyond it is not obeyed."""
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
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
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
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
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
    """What travels beside the status: the leader, or when to try again, if that is what the caller needs."""
    match error:
        case NotLeader(address=""):
            return ((LEADER_KEY, str(error.leader or 0)),)
        case NotLeader():
            return ((LEADER_KEY, str(error.leader or 0)), (LEADER_ADDRESS_KEY, error.address))
        case Busy(retry_after_ms=int(milliseconds)) if milliseconds > 0:
            return ((RETRY_KEY, str(milliseconds)),)
        case _:
            return ()


def error_from_rpc(failure: grpc.RpcError) -> RaftGossipError:
    """The error that a failed call stands for, of either of gRPC's two stacks."""
    if not isinstance(failure, grpc.Call | grpc.aio.AioRpcError):
        return TransportError(str(failure) or "the call failed")
    code, text = failure.code(), failure.details() or "no reason was given"
    metadata = tuple(failure.trailing_metadata() or ())
    leader = _number_in(metadata, LEADER_KEY)
    if code is grpc.StatusCode.FAILED_PRECONDITION and leader is not None:
        told = next((value for key, value in metadata if key == LEADER_ADDRESS_KEY), "")
        return NotLeader(leader or None, str(told)[:MAX_ADDRESS_CHARACTERS])
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Busy(text, min(_number_in(metadata, RETRY_KEY) or 0, MAX_RETRY_MS))
    kind = _ERRORS.get(code)
    if kind is None:
        return RemoteError(f"{code.name}: {text}")
    return kind(text)


def _details(error: RaftGossipError) -> str:
    return str(error).encode(errors="replace")[:MAX_DETAILS].decode(errors="ignore")


def _number_in(metadata: Iterable[Any], wanted: str) -> int | None:
    for key, value in metadata:
        if key == wanted and isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
            return int(value)
    return None
