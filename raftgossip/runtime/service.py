"""What a peer offers to the network, in values: the seam between the gRPC handlers and the peer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from raftgossip.core.epoch.command import EpochRecord, OpenEpochState
from raftgossip.core.epoch.config import RunSpec
from raftgossip.core.raft.message import Message
from raftgossip.ids import Address, Incarnation, LogIndex, NodeId, Term
from raftgossip.trust.callers import Caller
from raftgossip.update import FloatVector


@dataclass(frozen=True, slots=True)
class JoinAsk:
    """A node that wants in, or comes back."""

    node_id: NodeId
    address: Address
    incarnation: Incarnation
    owner: str
    schema_digest: bytes
    task: str
    cluster_id: str
    """The cluster that it remembers; empty: none."""
    metadata: tuple[tuple[str, str], ...]
    forwarded: bool = False
    """A member that does not lead passes the request on once."""
    join_token: str = ""
    """An organisation's permission to enter, as the newcomer shows it; empty: none."""
    identity: str = ""
    """The SPIFFE name on the connection that the request came on; where there is one, it is a part of `owner`, too."""
    key_digest: bytes = b""
    """SHA-256 of that connection's public key."""


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """It is in: the cluster, its peers, and what is trained."""

    cluster_id: str
    peers: tuple[tuple[NodeId, Address], ...]
    leader: NodeId | None
    specification: RunSpec | None
    names: tuple[tuple[NodeId, str], ...] = ()
    """Which SPIFFE name each node id belongs to; empty without certificates."""


@dataclass(frozen=True, slots=True)
class ProposeAnswer:
    """What the ledger did with a forwarded command."""

    index: int
    applied: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One peer as this node knows it; `responsive`, `match_index` and `flow` are the leader's knowledge."""

    node_id: NodeId
    address: Address
    role: str
    responsive: bool
    match_index: int
    incarnation: Incarnation
    metadata: tuple[tuple[str, str], ...]
    flow: str = ""
    """How the leader feeds it: `probe`, `replicate` or `snapshot`; empty: unknown."""
    identity: str = ""
    """The SPIFFE name that its id belongs to; empty without certificates."""


@dataclass(frozen=True, slots=True)
class StatusView:
    """Everything that an operator asks a peer about itself."""

    cluster_id: str
    node_id: NodeId
    role: str
    term: int
    leader: NodeId | None
    commit_index: int
    applied_index: int
    last_index: int
    peers: tuple[PeerRow, ...]
    specification: RunSpec | None
    open_epoch: OpenEpochState | None
    last_closed_epoch: int
    model_digest: bytes
    phase: str
    metrics: tuple[tuple[str, float], ...]
    message: str
    uptime_ms: int
    run_finished: bool
    first_index: int = 1
    """The oldest entry that is kept."""
    snapshot_index: int = 0
    """The newest entry that the snapshot covers; 0: there is none."""
    outgoing: tuple[NodeId, ...] = ()
    """While a joint change is going on: the voters before it."""


@dataclass(frozen=True, slots=True)
class LogRow:
    """One entry of the log, as operators see it."""

    index: LogIndex
    term: Term
    kind: str
    """`command`, `noop` or `configuration`."""
    data_bytes: int
    applied_at_ms: int
    """This node's wall clock; 0: not applied yet, or before its last start."""
    summary: str
    """What the entry does, in a few words."""


@dataclass(frozen=True, slots=True)
class LogView:
    """A part of the log, and how far it reaches."""

    rows: tuple[LogRow, ...]
    first_index: LogIndex
    """The oldest entry that is kept; the ones before it are in the snapshot."""
    last_index: LogIndex
    commit_index: LogIndex
    applied_index: LogIndex


@dataclass(frozen=True, slots=True)
class LeaderAnswer:
    """Who leads, and since which term."""

    leader: NodeId
    term: Term


class PeerService(Protocol):
    """Implemented by the peer. The async methods run on the peer's event loop and raise `RaftGossipError`s."""

    def deliver(self, messages: Sequence[Message]) -> None:
        """Take Raft messages; called on the event loop, never blocks, drops what does not fit."""

    def check_member(self, caller: Caller) -> None:
        """Refuse a peer that is no member of this node's cluster under exactly the name that calls. Any thread.

        Raises:
            PermissionDenied: names the rule.
        """

    def server_name_of(self, node_id: NodeId) -> str:
        """Whom TLS must find where this node is dialled: it alone if the roster knows its name, else any peer. Any
        thread."""

    async def propose_forwarded(self, envelope: bytes, caller: Caller) -> ProposeAnswer:
        """Propose another peer's stamped command, if this node leads and the command is the caller's own affair."""

    async def join(self, ask: JoinAsk) -> JoinAnswer:
        """Add a node to the roster, or pass the request on to the leader."""

    async def leave(self) -> str:
        """Leave the cluster for good and stop; returns a sentence for the operator."""

    async def catch_up_for_read(self) -> None:
        """Return when this node's state holds everything that was confirmed anywhere before the call.

        Raises:
            NoQuorum: no majority could be asked in time.
        """

    async def status(self) -> StatusView:
        """What this node knows now."""

    async def epochs(self, first: int, limit: int) -> tuple[EpochRecord, ...]:
        """Ended epochs from `first` on, at most `limit`."""

    async def log(self, first: int, limit: int) -> LogView:
        """Entries of this node's log from `first` on (0: the newest), at most `limit`."""

    async def add_member(self, node_id: NodeId, address: Address) -> str:
        """Put a node that has not come yet into the roster; returns a sentence for the operator.

        Raises:
            NotLeader: another node leads; carries its id. So do the next three.
        """

    async def remove_member(self, node_id: NodeId) -> str:
        """Take a node out of the roster and wait until it has no vote; returns a sentence."""

    async def promote_member(self, node_id: NodeId) -> str:
        """Make a learner that has caught up a voter now; returns a sentence."""

    async def transfer_leadership(self, target: NodeId | None) -> LeaderAnswer:
        """Let `target` lead, or the most caught-up voter; returns who does."""

    def model(self, digest: bytes) -> FloatVector:
        """A model held here, by content hash; called from a worker thread, may block on the disk.

        Raises:
            NotFound: this node does not hold it.
        """


@dataclass(frozen=True, slots=True)
class Hints:
    """What discovery says. Never trusted: the dialled peer proves or refutes it."""

    is_bootstrap: bool
    """Discovery knows no cluster and names this node the one that may found it."""
    peers: tuple[tuple[NodeId, Address], ...]
    cluster_id: str = ""
    """The cluster that discovery knows of; empty: none."""
    wait_ms: int = 0
    """Discovery has just started and names no bootstrap before so much time has passed."""
