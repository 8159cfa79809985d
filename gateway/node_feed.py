"""The list of nodes in the order of its changes, for those who follow it: what a newcomer is told, and what comes next.

Every change has a version of its own. Told in that order, each event says by its version that everything up to it was
told, so a follower resumes wherever its stream broke, also in the middle of the first listing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from itertools import pairwise

from gateway.registry import Registry
from gateway.registry_values import MAX_VERSION, SUSPECTED, LeaderChange, Moment, NodeRecord
from raftgossip.ids import NodeId

PAGE = 1_000


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One change of the list."""

    kind: str
    """`reset` (forget everybody), `joined`, `updated`, `suspected`, `left` or `leader`."""
    version: int
    """The list's after it; 0: so much is still to come that who breaks off here must begin again."""
    node_id: NodeId | None = None
    """None: a reset, or nobody leads any more."""
    record: NodeRecord | None = None
    """As it is now; None: it is gone, or there is none."""
    term: int = 0


@dataclass(slots=True)
class NodeFeed:
    """Which node came when and changed when; kept beside a registry by calling `follow` after every operation on it.

    Invariant: the nodes are ordered by when they changed last.
    """

    version: int = 0
    """What it has seen of the registry."""
    _changed: OrderedDict[NodeId, int] = field(default_factory=OrderedDict, init=False)
    _came: dict[NodeId, int] = field(default_factory=dict, init=False)
    _leader: LeaderChange | None = field(default=None, init=False)

    def follow(self, registry: Registry, now: Moment) -> bool:
        """Take up what has changed; False: nothing has."""
        if registry.version == self.version:
            return False
        changes = registry.changes(self.version, registry.registry_id)
        if changes is None:
            self._begin(registry, now)
            return True
        for event in changes.events:
            self._changed.pop(event.node_id, None)
            if event.record is None:
                self._came.pop(event.node_id, None)
                continue
            self._came.setdefault(event.node_id, event.version)
            self._changed[event.node_id] = event.version
        if changes.leader is not None:
            self._leader = changes.leader
        self.version = registry.version
        return True

    def begin(self, registry: Registry) -> list[FeedEvent]:
        """What to tell a follower who has seen nothing, or what cannot be told on from: a reset, then everybody."""
        events = self._everybody(registry)
        return [FeedEvent("reset", 0 if events else self.version), *events]

    def since(self, version: int, registry_id: str, registry: Registry) -> list[FeedEvent] | None:
        """What to tell a follower who has seen all up to `version` of a registry; None: he must begin again."""
        if registry_id == registry.registry_id and version in (0, registry.version):
            return [] if version == registry.version else self._everybody(registry)
        changes = registry.changes(version, registry_id)
        if changes is None:
            return None
        events: list[FeedEvent] = []
        for change in changes.events:
            if change.record is None:
                events.append(FeedEvent("left", change.version, change.node_id))
                continue
            came = _steps(version, self._came.get(change.node_id, version))
            is_new = 0 < came <= _steps(version, change.version)
            events.append(_event(change.version, change.record, "joined" if is_new else "updated"))
        if changes.leader is not None:
            events.append(_leader_event(changes.leader))
        return sorted(events, key=lambda event: _steps(version, event.version))

    def _everybody(self, registry: Registry) -> list[FeedEvent]:
        events: list[FeedEvent] = []
        for node_id, version in self._changed.items():
            record = registry.record(node_id)
            if record is not None:
                events.append(_event(version, record, "joined"))
        if self._leader is not None and self._leader.record is not None:
            current = registry.record(self._leader.record.node_id)
            events.append(_leader_event(LeaderChange(self._leader.version, current, self._leader.term)))
        events.sort(key=lambda event: _steps(event.version, self.version), reverse=True)
        # Those that were read at once share a version: who has heard only some of them must begin again.
        for position, (event, later) in enumerate(pairwise(list(events))):
            if event.version == later.version:
                events[position] = replace(event, version=0)
        return events

    def _begin(self, registry: Registry, now: Moment) -> None:
        """Read the registry anew, as after a start."""
        self._changed.clear()
        self._came.clear()
        after, version = 0, registry.version
        while True:
            page = registry.page(now, 0, after, PAGE)
            for record in page.records:
                self._changed[record.node_id] = self._came[record.node_id] = version
            after = page.next_after
            if not after:
                break
        hint = registry.leader(now)
        self._leader = None if hint is None else LeaderChange(version, hint.record, hint.term)
        self.version = version


def _event(version: int, record: NodeRecord, kind: str) -> FeedEvent:
    return FeedEvent("suspected" if record.status == SUSPECTED else kind, version, record.node_id, record)


def _leader_event(change: LeaderChange) -> FeedEvent:
    node_id = None if change.record is None else change.record.node_id
    return FeedEvent("leader", change.version, node_id, change.record, change.term)


def _steps(earlier: int, later: int) -> int:
    """How many changes lie between two versions of one registry, which start again at 1."""
    return (later - earlier) % MAX_VERSION
