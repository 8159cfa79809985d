"""The nodes that this gateway hears itself, in the order in which it last heard them.

The spans of silence are the same for all nodes, so letting time pass costs only what it changes: no operation looks at
all nodes to find the silent ones. (An `OrderedDict` finds its first entry at once; a plain dict that is deleted from in
front does not.)
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

from gateway.registry_values import ACTIVE, SUSPECTED, NodeRecord
from raftgossip.ids import NodeId


@dataclass(slots=True)
class HeardNodes:
    """Own nodes: first `recent`, after half the timeout `silent`, after the whole of it none of ours.

    Recent ones are active; only those that a restarted gateway remembers are suspected until they are heard again.
    Invariants: no node is both recent and silent; both are ordered by when they were last heard; the silent are
    suspected.
    """

    _recent: OrderedDict[NodeId, NodeRecord] = field(default_factory=OrderedDict, init=False)
    _silent: OrderedDict[NodeId, NodeRecord] = field(default_factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._recent) + len(self._silent)

    def find(self, node_id: NodeId) -> NodeRecord | None:
        """What is known of the node."""
        return self._recent.get(node_id) or self._silent.get(node_id)

    def is_recent(self, node_id: NodeId) -> bool:
        """Whether it was heard within half the timeout, or is remembered for no longer."""
        return node_id in self._recent

    def hear(self, record: NodeRecord) -> None:
        """Put a record last: it was heard just now."""
        node_id = record.registration.node_id
        self._silent.pop(node_id, None)
        self._recent[node_id] = record
        self._recent.move_to_end(node_id)

    def amend(self, record: NodeRecord) -> None:
        """Replace what is known of a node without having heard it; its times must be the same."""
        records = self._recent if record.node_id in self._recent else self._silent
        assert records[record.node_id].heard_ms == record.heard_ms
        records[record.node_id] = record

    def forget(self, node_id: NodeId) -> bool:
        """Drop a node; False: it was none of ours."""
        was_recent = self._recent.pop(node_id, None) is not None
        return self._silent.pop(node_id, None) is not None or was_recent

    def fall_silent(self, limit_ms: int) -> list[NodeRecord]:
        """Suspect those that were last heard at or before `limit_ms`; returns them as they are now."""
        fallen: list[NodeRecord] = []
        for record in _heard_until(self._recent, limit_ms):
            del self._recent[record.node_id]
            suspect = record if record.status == SUSPECTED else replace(record, status=SUSPECTED)
            self._silent[record.node_id] = suspect
            fallen.append(suspect)
        return fallen

    def silent_until(self, limit_ms: int) -> list[NodeRecord]:
        """The silent ones that were last heard at or before `limit_ms`, the longest silent first."""
        return _heard_until(self._silent, limit_ms)

    def first_due_ms(self, suspect_after_ms: int, forget_after_ms: int) -> int | None:
        """When the first node changes by silence alone; None: there is none."""
        due = [
            next(iter(records.values())).heard_ms + span
            for records, span in ((self._recent, suspect_after_ms), (self._silent, forget_after_ms))
            if records
        ]
        return min(due, default=None)

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        assert not self._recent.keys() & self._silent.keys()
        for records in (self._recent, self._silent):
            times = [record.heard_ms for record in records.values()]
            assert times == sorted(times)
            assert all(record.gateway_id == "" for record in records.values())
        assert all(record.status == SUSPECTED for record in self._silent.values())
        assert all(record.status in (ACTIVE, SUSPECTED) for record in self._recent.values())

    def ids(self) -> set[NodeId]:
        """All of them."""
        return {*self._recent, *self._silent}


def _heard_until(records: OrderedDict[NodeId, NodeRecord], limit_ms: int) -> list[NodeRecord]:
    """The records that were last heard at or before `limit_ms`; `records` is ordered by that time."""
    found: list[NodeRecord] = []
    for record in records.values():
        if record.heard_ms > limit_ms:
            break
        found.append(record)
    return found
