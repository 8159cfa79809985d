"""Who is registered, and until when. Pure: the time is passed in, and nothing is locked, logged or sent.

A node is `active` from its registration or heartbeat on, `suspected` after half the timeout without one, and forgotten
after the whole of it. Both spans are the same for all nodes, so keeping nodes in the order in which they were last
heard makes letting time pass cost only what it changes: no operation looks at all nodes to find the silent ones.
(An `OrderedDict` finds its first entry at once; a plain dict that is deleted from in front does not.)
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from raftgossip.errors import AlreadyExists, Busy, ConfigError
from raftgossip.ids import Address, NodeId

ACTIVE = "active"
SUSPECTED = "suspected"
OWNER_KEY = "owner"
"""Metadata under this key is a secret of the node's data directory: it proves that an id is the sender's own."""
MAX_VERSION = 2**31 - 1
"""The version travels as an int32; after this it starts again at 1."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A reading of the clock."""

    monotonic_ms: int
    """Never goes back; decides who is silent for too long."""
    wall_seconds: float
    """Seconds since the Unix epoch; only ever shown."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a node says about itself, checked."""

    node_id: NodeId
    address: Address
    capabilities: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    """Sorted (key, value) pairs, all of them shown to other nodes."""
    owner: str = ""
    """The node's secret (see `OWNER_KEY`), never shown; empty: it has none."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A registered node as the gateway knows it."""

    registration: Registration
    status: str
    """`active` or `suspected`."""
    joined_seconds: float
    """Wall time of the registration, for display."""
    seen_seconds: float
    """Wall time of the last sign of life, for display."""
    heard_ms: int
    """Monotonic time of the last sign of life."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a registration."""

    status: str
    """`registered` for a node that was not there, `updated` for one that was."""
    is_bootstrap: bool
    """Whether this node may found the cluster; a hint, for at most one node at a time."""


@dataclass(frozen=True, slots=True)
class Stats:
    """The registry in numbers."""

    total_nodes: int
    active_nodes: int
    leader_id: int
    """0: no leader is known."""
    registry_version: int
    bootstrap_initiated: bool
    """Whether a node was named bootstrap and is still there, or a leader was ever reported."""


@dataclass(slots=True)
class Registry:
    """The nodes, the leader and the bootstrap node of one gateway's life.

    Every operation first lets time pass (`expire`), so no answer ever contains a node that is silent for too long.
    `version` moves when, and only when, the list changes: a node, its status, or who leads.

    Invariants (`check_invariants`): no node is both active and suspected; both are ordered by when they were last
    heard; the leader is registered; the bootstrap node is registered and there is none once a leader was reported.

    Raises:
        ConfigError: a limit is not positive.
    """

    node_timeout_ms: int = 300_000
    """Silence after which a node is forgotten. If shorter than three heartbeats, a lost packet drops healthy nodes."""
    max_nodes: int = 20_000
    """More registrations than this are refused, which bounds the memory that strangers can make the gateway use."""
    version: int = field(default=0, init=False)
    _active: OrderedDict[NodeId, NodeRecord] = field(default_factory=OrderedDict, init=False)
    _suspected: OrderedDict[NodeId, NodeRecord] = field(default_factory=OrderedDict, init=False)
    _sorted_ids: list[NodeId] = field(default_factory=list, init=False)
    _leader: NodeId | None = field(default=None, init=False)
    _leader_was_reported: bool = field(default=False, init=False)
    _bootstrap: NodeId | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.node_timeout_ms < 2:
            raise ConfigError(f"node_timeout is {self.node_timeout_ms} ms; it must be at least 2 ms")
        if self.max_nodes < 1:
            raise ConfigError(f"max_nodes is {self.max_nodes}; it must be at least 1")

    def register(self, registration: Registration, now: Moment) -> Outcome:
        """Enter a node, or renew what is known of it.

        Raises:
            AlreadyExists: the id belongs to another owner that is alive.
            Busy: the registry is full.
        """
        self.expire(now)
        old = self._find(registration.node_id)
        if old is not None and not _may_take_over(old, registration):
            raise AlreadyExists(
                f"the node id {registration.node_id} is registered by a live node at another address; "
                "choose another id, or wait until that node has left"
            )
        if old is None and len(self._sorted_ids) >= self.max_nodes:
            raise Busy(f"the registry is full with {self.max_nodes} nodes; retry when some have left")
        joined_seconds = now.wall_seconds if old is None else old.joined_seconds
        if old is None:
            bisect.insort(self._sorted_ids, registration.node_id)
        self._enter(NodeRecord(registration, ACTIVE, joined_seconds, now.wall_seconds, now.monotonic_ms))
        if old is None or old.status != ACTIVE or old.registration != registration:
            self._move_version()
        return Outcome("registered" if old is None else "updated", self._is_bootstrap(registration.node_id))

    def heartbeat(self, node_id: NodeId, now: Moment) -> bool:
        """A sign of life; False: no such node, it must register again."""
        self.expire(now)
        old = self._find(node_id)
        if old is None:
            return False
        self._enter(replace(old, status=ACTIVE, seen_seconds=now.wall_seconds, heard_ms=now.monotonic_ms))
        if old.status != ACTIVE:
            self._move_version()
        return True

    def remove(self, node_id: NodeId, now: Moment) -> bool:
        """Forget a node; False: no such node."""
        self.expire(now)
        if self._find(node_id) is None:
            return False
        self._forget(node_id)
        self._move_version()
        return True

    def update_leader(self, node_id: NodeId, now: Moment) -> bool:
        """Note who leads; False: no such node, and nothing changed."""
        self.expire(now)
        if self._find(node_id) is None:
            return False
        if self._leader != node_id:
            self._leader = node_id
            self._move_version()
        self._leader_was_reported = True
        self._bootstrap = None
        return True

    def leader(self, now: Moment) -> NodeRecord | None:
        """The last reported leader; None: never reported, or it has left since."""
        self.expire(now)
        return None if self._leader is None else self._find(self._leader)

    def active_nodes(self, now: Moment, excluded: int = 0) -> list[NodeRecord]:
        """All active nodes but `excluded`, by id."""
        return self.successors(now, excluded, self.max_nodes)

    def successors(self, now: Moment, asker: int, limit: int) -> list[NodeRecord]:
        """At most `limit` active nodes but the asker, by id.

        If there are more, the ones that follow the asker on the ring of ids: every asker gets another part, and the
        parts together connect all nodes.
        """
        self.expire(now)
        start = bisect.bisect_right(self._sorted_ids, asker)
        found: list[NodeRecord] = []
        for offset in range(len(self._sorted_ids)):
            node_id = self._sorted_ids[(start + offset) % len(self._sorted_ids)]
            record = self._active.get(node_id)
            if record is not None and node_id != asker:
                found.append(record)
            if len(found) == limit:
                break
        return sorted(found, key=lambda record: record.registration.node_id)

    def stats(self, now: Moment) -> Stats:
        """The registry in numbers."""
        self.expire(now)
        return Stats(
            total_nodes=len(self._sorted_ids),
            active_nodes=len(self._active),
            leader_id=self._leader or 0,
            registry_version=self.version,
            bootstrap_initiated=self._leader_was_reported or self._bootstrap is not None,
        )

    def expire(self, now: Moment) -> list[NodeId]:
        """Let time pass: suspect and forget silent nodes; returns the forgotten, the longest silent first."""
        suspect_before = now.monotonic_ms - self.node_timeout_ms // 2
        silent = _heard_until(self._active, suspect_before)
        for record in silent:
            node_id = record.registration.node_id
            del self._active[node_id]
            self._suspected[node_id] = replace(record, status=SUSPECTED)
        gone = [r.registration.node_id for r in _heard_until(self._suspected, now.monotonic_ms - self.node_timeout_ms)]
        for node_id in gone:
            self._forget(node_id)
        if silent or gone:
            self._move_version()
        return gone

    def deadline_ms(self, now: Moment) -> int:
        """When time must pass again at the latest, though nodes may come and renew until then; later than `now`."""
        self.expire(now)
        half_ms = self.node_timeout_ms // 2
        patience_ms = ((self._active, half_ms), (self._suspected, self.node_timeout_ms))
        first_due = [next(iter(records.values())).heard_ms + span for records, span in patience_ms if records]
        return min([now.monotonic_ms + half_ms, *first_due])

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        assert not self._active.keys() & self._suspected.keys()
        assert sorted([*self._active, *self._suspected]) == self._sorted_ids
        for status, records in ((ACTIVE, self._active), (SUSPECTED, self._suspected)):
            times = [record.heard_ms for record in records.values()]
            assert times == sorted(times)
            assert all(record.status == status for record in records.values())
        assert self._leader is None or self._find(self._leader) is not None
        assert self._bootstrap is None or (self._find(self._bootstrap) is not None and not self._leader_was_reported)
        assert 0 <= self.version <= MAX_VERSION

    def _find(self, node_id: NodeId) -> NodeRecord | None:
        return self._active.get(node_id) or self._suspected.get(node_id)

    def _enter(self, record: NodeRecord) -> None:
        """Put an active record last: it was heard just now."""
        node_id = record.registration.node_id
        self._active.pop(node_id, None)
        self._suspected.pop(node_id, None)
        self._active[node_id] = record

    def _forget(self, node_id: NodeId) -> None:
        self._active.pop(node_id, None)
        self._suspected.pop(node_id, None)
        del self._sorted_ids[bisect.bisect_left(self._sorted_ids, node_id)]
        if self._leader == node_id:
            self._leader = None
        if self._bootstrap == node_id:
            self._bootstrap = None

    def _is_bootstrap(self, node_id: NodeId) -> bool:
        """Decide for a node that has just registered.

        Once a leader was reported there is a cluster, and a second one must never be founded, whoever leaves. Before
        that exactly one node may found it, until it leaves. The same node may ask again, e.g. because the first answer
        was lost, but only while it is alone: others may have joined what it founded before it lost its state.
        """
        if self._leader_was_reported:
            return False
        if self._bootstrap is None:
            self._bootstrap = node_id
            return True
        return self._bootstrap == node_id and len(self._sorted_ids) == 1

    def _move_version(self) -> None:
        self.version = self.version % MAX_VERSION + 1


def _may_take_over(old: NodeRecord, registration: Registration) -> bool:
    """Whether a registration comes from the owner of the old record, or the old one seems dead.

    A node that restarts comes back at its old address, or proves by its secret that the id is its own.
    """
    same_owner = old.registration.owner != "" and old.registration.owner == registration.owner
    return same_owner or old.registration.address == registration.address or old.status != ACTIVE


def _heard_until(records: OrderedDict[NodeId, NodeRecord], limit_ms: int) -> list[NodeRecord]:
    """The records that were last heard at or before `limit_ms`; `records` is ordered by that time."""
    found: list[NodeRecord] = []
    for record in records.values():
        if record.heard_ms > limit_ms:
            break
        found.append(record)
    return found
