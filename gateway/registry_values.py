"""The values of the registry: what a node says about itself, what is known of it, and what is answered.

All are frozen, so that an answer can leave the registry's lock and be encoded outside of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from raftgossip.errors import ConfigError
from raftgossip.ids import Address, NodeId

ACTIVE = "active"
SUSPECTED = "suspected"
OWNER_KEY = "owner"
"""Metadata under this key is a secret of the node's data directory: it proves that an id is the sender's own. Only its
digest gets here."""
MAX_VERSION = 2**31 - 1
"""The version travels as an int32; after this it starts again at 1."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A reading of the clock."""

    monotonic_ms: int
    """Never goes back; decides who is silent for too long."""
    wall_seconds: float
    """Seconds since the Unix epoch; shown, and orders what different gateways heard without knowing of each other."""


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """What may change while the gateway runs.

    Raises:
        ConfigError: a limit is out of its range.
    """

    node_timeout_ms: int = 300_000
    """Silence after which a node is forgotten. If shorter than three heartbeats, a lost packet drops healthy nodes."""
    max_nodes: int = 20_000
    """More registrations than this are refused, which bounds the memory that strangers can make the gateway use."""
    rebuild_grace_ms: int = 5_000
    """A gateway without memory waits so long for members of a cluster to appear before it lets anybody found one.
    Longer than members need to notice that it is back; 0: there is no cluster yet, and nobody need wait."""
    other_gateways: tuple[str, ...] = ()
    """The other gateways, as `host:port`. Each of them must have been heard once before a bootstrap is named."""

    def __post_init__(self) -> None:
        if self.node_timeout_ms < 2:
            raise ConfigError(f"node_timeout is {self.node_timeout_ms} ms; it must be at least 2 ms")
        if self.max_nodes < 1:
            raise ConfigError(f"max_nodes is {self.max_nodes}; it must be at least 1")
        if self.rebuild_grace_ms < 0:
            raise ConfigError(f"rebuild_grace is {self.rebuild_grace_ms} ms; it must not be negative")

    @property
    def half_timeout_ms(self) -> int:
        """Silence after which a node is suspected."""
        return self.node_timeout_ms // 2


@dataclass(frozen=True, slots=True)
class Registration:
    """What a node says about itself, checked."""

    node_id: NodeId
    address: Address
    capabilities: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    """Sorted (key, value) pairs, all of them shown to other nodes."""
    owner: str = ""
    """What the id is bound to, never shown: a digest of the node's secret, or its SPIFFE name; empty: nothing."""
    identity: str = ""
    """The SPIFFE name in the certificate that it registered with; empty: it showed none."""
    cluster_id: str = ""
    """The cluster that it belongs to; empty: none yet."""
    can_wait: bool = False
    """It asks again when it was not named bootstrap, so it may be told to wait."""

    @property
    def principal(self) -> str:
        """Whom the id belongs to: two registrations with the same one come from the same node."""
        return self.identity or self.owner or str(self.address)

    def is_shown_as(self, other: Registration) -> bool:
        """Whether nobody who reads the list can tell them apart."""
        return (
            self.address == other.address
            and self.capabilities == other.capabilities
            and self.metadata == other.metadata
            and self.identity == other.identity
        )


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A registered node as a gateway knows it."""

    registration: Registration
    status: str
    """`active` or `suspected`."""
    joined_seconds: float
    """Wall time of the first registration."""
    seen_seconds: float
    """Wall time of the last sign of life, for display; of a node at another gateway, as that one told last."""
    heard_ms: int
    """Monotonic time of the last sign of life, by this machine's clock."""
    gateway_id: str = ""
    """The gateway that hears it; empty: this one."""
    stamp_ms: int = 0
    """Orders the claims of several gateways to one node, see `syncing.py`."""

    @property
    def node_id(self) -> NodeId:
        """Whose record it is."""
        return self.registration.node_id


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a registration."""

    status: str
    """`registered` for a node that was not there, `updated` for one that was."""
    is_bootstrap: bool
    """Whether this node may found the cluster; a hint, for at most one node at a time."""
    bootstrap_wait_ms: int = 0
    """The gateway cannot say yet who founds; the node should ask again after so long. 0: what it says stands."""


@dataclass(frozen=True, slots=True)
class LeaderHint:
    """Who was last reported to lead; only a hint."""

    record: NodeRecord
    term: int
    """0: reported by a client that knows no terms."""
    age_ms: int
    """Since the last report."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the list, by node id."""

    records: tuple[NodeRecord, ...]
    next_after: int
    """The next page begins behind this id; 0: this was the last."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a node: the last of the changes that happened to it."""

    version: int
    """The registry's version after it; a reader that has seen all changes up to here resumes from this version."""
    node_id: NodeId
    record: NodeRecord | None
    """As it is now; None: it is gone."""


@dataclass(frozen=True, slots=True)
class LeaderChange:
    """The leader is another one than it was, or there is none any more."""

    version: int
    record: NodeRecord | None
    term: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since some version; a node that changed twice stands in it once."""

    version: int
    """Where to go on: the registry's now, or that of the last change if a limit cut them."""
    events: tuple[Change, ...]
    """By version, the oldest first."""
    leader: LeaderChange | None
    """None: the leader is who it was. Its version may lie between those of `events`."""

    @property
    def nodes(self) -> tuple[NodeRecord, ...]:
        """Those that are there, as they are now."""
        return tuple(event.record for event in self.events if event.record is not None)

    @property
    def removed(self) -> tuple[NodeId, ...]:
        """Those that are gone."""
        return tuple(event.node_id for event in self.events if event.record is None)


@dataclass(frozen=True, slots=True)
class Stats:
    """The registry in numbers."""

    total_nodes: int
    active_nodes: int
    suspected_nodes: int
    leader_id: int
    """0: no leader is known."""
    registry_version: int
    bootstrap_initiated: bool
    """Whether a node was named bootstrap and is still there, or a cluster is known."""
    cluster_id: str
    """The cluster that was heard of first; empty: none."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a gateway keeps over a restart."""

    registry_id: str
    gateway_id: str
    version: int
    cluster_ids: tuple[str, ...] = ()
    """In the order in which they were heard of."""
    bootstrap: NodeId | None = None
    """The node that was named, while it is there and no cluster is known."""
    bootstrap_principal: str = ""
    leader_id: NodeId | None = None
    leader_term: int = 0
    leader_was_reported: bool = False
    records: tuple[NodeRecord, ...] = ()
    """The nodes that this gateway heard itself."""

    @property
    def is_empty(self) -> bool:
        """Whether it tells nothing of any node or cluster."""
        return not (self.cluster_ids or self.records or self.leader_was_reported or self.bootstrap is not None)


@dataclass(frozen=True, slots=True)
class Unsaved:
    """What is not on disk yet."""

    memory: Memory
    """All that there is to keep, but of the nodes only those that changed."""
    gone: tuple[NodeId, ...]
    is_whole: bool
    """`memory` holds all nodes; others that are on disk are gone."""
    step: int
    """Where to go on once this is on disk."""
    num_facts: int
    """So many facts about founding are on disk then."""
