"""The whole exception tree.

Sorted by whose fault it is. `RemoteError` and below: a peer sent something bad; the message is dropped, counted, and
nobody crashes. `ConfigError`: the operator's mistake, named at start. `StorageError`, `TransportError`,
`DeadlineExceeded`: the world. Our own bugs are `AssertionError` and `RuntimeError` and end the process. The table to
gRPC status codes is in `wire/status.py`, not here.
"""

from __future__ import annotations


class RaftGossipError(Exception):
    """The root: everything that this package raises on purpose."""


class ConfigError(RaftGossipError):
    """The operator's mistake: names the key or argument and what is allowed. Nothing changed; retrying cannot help."""


class RemoteError(RaftGossipError):
    """A remote peer's input is at fault. Nothing changed here; the same message will be refused again."""


class WireError(RemoteError):
    """Bytes that are malformed or out of bounds: undecodable, wrong shape, not finite, wrong order."""


class SchemaMismatch(WireError):
    """A model of another shape: names the first tensor that differs."""


class IntegrityError(RemoteError):
    """Bytes that do not have the hash that was promised, or fewer or more of them than were promised."""


class Oversized(RemoteError):
    """More bytes or items were declared or sent than the limit allows."""


class StaleEpoch(RemoteError):
    """An epoch, attempt or step that is over, or has not come: the sender should look at the ledger again."""


class NotFound(RemoteError):
    """An unknown node, epoch or model digest."""


class AlreadyExists(RemoteError):
    """The id is taken by another owner, or the item was delivered before."""


class PermissionDenied(RemoteError):
    """The rule named in the text forbids this to this sender."""


class Unauthenticated(RemoteError):
    """The sender did not prove who it is: a certificate or token that is missing, foreign, expired or revoked."""


class WrongCluster(RemoteError):
    """The sender belongs to another cluster."""


class NotLeader(RaftGossipError):
    """Only the leader can do this. Nothing changed; retry at `leader` (None: unknown, wait for an election), which is
    at `address`, where that is told."""

    def __init__(self, leader: int | None, address: str = "") -> None:
        hint = "no leader is known" if leader is None else f"node {leader} leads"
        super().__init__(f"this node is not the leader; {hint}")
        self.leader = leader
        self.address = address


class CommandRefused(RaftGossipError):
    """The ledger refused a committed command; all replicas agree on that. Retrying the same cannot help."""


class Busy(RaftGossipError):
    """A queue is full, or the caller calls too often. Nothing changed; retry later: `retry_after_ms` says when, where
    that is known (0: it is not)."""

    def __init__(self, text: str = "", retry_after_ms: int = 0) -> None:
        super().__init__(text)
        self.retry_after_ms = retry_after_ms


class NoQuorum(RaftGossipError):
    """A majority could not be reached in time. The proposal may still commit later; retrying the same is safe."""


class ClusterUnreachable(RaftGossipError):
    """No peer of the cluster answered. Nothing changed; check the addresses and retry."""


class StorageError(RaftGossipError):
    """The disk failed or holds damaged data: names the file. The process must stop."""


class StorageFull(StorageError):
    """No room is left on the disk: names the file. The process must stop; nothing that was confirmed is lost, and with
    room it starts again where it was."""


class TransportError(RaftGossipError):
    """A connection failed or broke. The other side may or may not have received what was sent."""


class DeadlineExceeded(TransportError):
    """No answer came in time. The other side may or may not have acted."""


class TrainingFailed(RaftGossipError):
    """The user's task raised, or produced a vector that is not finite. This node sits the epoch out."""


class TrainingStopped(RaftGossipError):
    """The training was asked to stop, for its epoch is over. Nothing is kept of it."""
