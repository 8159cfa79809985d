"""The replicated commands: everything that can change the ledger. Frozen; who proposes them is not known here."""

from __future__ import annotations

from dataclasses import dataclass, field

from raftgossip.core.epoch.config import RunSpec
from raftgossip.ids import Address, Epoch, Incarnation, NodeId


@dataclass(frozen=True, slots=True)
class StartRun:
    """Proposed once by the founder: what is trained, and the digest of the common initial model."""

    specification: RunSpec
    initial_digest: bytes


@dataclass(frozen=True, slots=True)
class AddPeer:
    """A joining or returning node: where to dial it, and which life of it this is."""

    node_id: NodeId
    address: Address
    incarnation: Incarnation
    metadata: tuple[tuple[str, str], ...] = ()
    """Sorted (key, value) pairs for display, e.g. ("hospital", "cleveland")."""
    owner: str = ""
    """The SPIFFE name in the node's certificate, or without certificates a random token that lives in its state
    directory: the id belongs to it. Another owner is refused, because a node that lost its Raft state must not come
    back under the id with which it voted."""
    token_id: str = ""
    """Of the join token that the leader verified; empty: none was shown."""
    token_expires_s: int = 0
    """Seconds since the Unix epoch; says only when other used tokens may be forgotten."""


@dataclass(frozen=True, slots=True)
class RemovePeer:
    """A node that leaves for good."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class OpenEpoch:
    """Proposed by the leader: these peers take part in this epoch's first attempt."""

    epoch: Epoch
    participants: tuple[NodeId, ...]
    """Sorted."""
    plan_digest: bytes
    """SHA-256 of the plan that the leader derived; a peer that derives another one reports an error."""
    leader: NodeId
    exact: bool
    """After the plan's steps everybody holds exactly the mean: the epoch closes only if every edge completed."""


@dataclass(frozen=True, slots=True)
class RetryExchange:
    """Proposed by the leader: the exchange of `attempt - 1` did not complete everywhere; the survivors run it again."""

    epoch: Epoch
    attempt: int
    participants: tuple[NodeId, ...]
    """The survivors, sorted; a subset of the epoch's participants."""
    plan_digest: bytes
    exact: bool
    """As in `OpenEpoch`, for the survivors' plan."""


@dataclass(frozen=True, slots=True)
class LinkBytes:
    """Model bytes that crossed one link during an attempt, as counted by the reporter."""

    node_id: NodeId
    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class FailedEdge:
    """A neighbour with whom the exchange did not complete."""

    node_id: NodeId
    reason: str
    refused: bool
    """True: what the neighbour sent was wrong (shape, NaN, hash), so that it should be dropped, not waited for."""


@dataclass(frozen=True, slots=True)
class ReportEpoch:
    """A participant's account of one attempt."""

    epoch: Epoch
    attempt: int
    node_id: NodeId
    digest: bytes
    """SHA-256 of the resulting vector's float32 little-endian bytes; empty if the exchange did not complete."""
    num_samples: int
    metrics: tuple[tuple[str, float], ...]
    """Sorted (name, value), e.g. ("accuracy", 0.97): of the resulting model, averaged by num_samples in the record."""
    links: tuple[LinkBytes, ...] = ()
    failed_edges: tuple[FailedEdge, ...] = ()
    error: str = ""
    """Not empty: this node cannot contribute to this epoch at all, e.g. its training failed."""

    @property
    def completed(self) -> bool:
        """Whether every edge of this participant completed."""
        return bool(self.digest) and not self.failed_edges and not self.error

    @property
    def contributes(self) -> bool:
        """Whether it has a model to show, though edges may have failed: all that an approximate plan asks for."""
        return bool(self.digest) and not self.error


@dataclass(frozen=True, slots=True)
class CloseEpoch:
    """Proposed by the leader: the open epoch ends, `closed` or `failed`."""

    epoch: Epoch
    attempt: int
    outcome: str
    reason: str
    leader: NodeId
    closed_at_ms: int = 0
    """The leader's wall clock in milliseconds since the Unix epoch, for display only; nothing is decided by it."""


Command = StartRun | AddPeer | RemovePeer | OpenEpoch | RetryExchange | ReportEpoch | CloseEpoch


@dataclass(frozen=True, slots=True)
class Envelope:
    """A command with its proposer's stamp, so that a repeated proposal is applied once (thesis section 6.3)."""

    client: str
    """Node and incarnation, e.g. `3/9f2c`."""
    sequence: int
    """Counts the client's proposals from 1."""
    first_unanswered: int
    """The client waits for no result below this sequence; the ledger may forget those."""
    command: Command


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One ended epoch as the ledger keeps it."""

    epoch: Epoch
    attempt: int
    outcome: str
    participants: tuple[NodeId, ...]
    contributors: tuple[NodeId, ...]
    """Whose vectors are in the average: the participants of the last attempt if closed, nobody if failed."""
    model_digest: bytes
    """The digest that the contributor with the smallest id reported; empty if failed."""
    digests: tuple[tuple[NodeId, bytes], ...]
    """Each contributor's own digest (equal for bit-equal patterns, else equal models up to rounding)."""
    metrics: tuple[tuple[str, float], ...]
    """Averaged over the contributors by num_samples."""
    bytes_sent: int
    """Model bytes sent by all participants in all attempts that were reported."""
    leader: NodeId
    closed_at_ms: int
    reason: str
    log_index: int
    """Where the closing entry stands in the log."""


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """A peer that the ledger knows."""

    node_id: NodeId
    address: Address
    incarnation: Incarnation
    metadata: tuple[tuple[str, str], ...] = field(default=())
    owner: str = ""


@dataclass(frozen=True, slots=True)
class OpenEpochState:
    """The epoch that is open now."""

    epoch: Epoch
    attempt: int
    first_participants: tuple[NodeId, ...]
    """Who was planned when it opened."""
    participants: tuple[NodeId, ...]
    """Who takes part in the current attempt."""
    plan_digest: bytes
    leader: NodeId
    reports: tuple[ReportEpoch, ...]
    """Of the current attempt, sorted by node id; a later report of a node replaces its earlier one."""
    bytes_sent: int
    """Of earlier attempts."""
    exact: bool = True
    """Of the current attempt's plan."""
    lost: tuple[NodeId, ...] = ()
    """Participants of the current attempt that restarted or left since the epoch opened, sorted: they no longer hold
    the vector that they trained. A report that they made before still counts; they cannot make another one."""
    repeated: bool = False
    """The last `RetryExchange` kept all participants: dropping nobody did not help, should this attempt fail too."""
