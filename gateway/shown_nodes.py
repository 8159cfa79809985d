"""The list that is shown: every registered node as it counts, which of them are listed, and what changed when."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from gateway.change_log import ChangeLog, version_of
from gateway.leadership import Report
from gateway.node_list import NodeList
from gateway.registry_values import ACTIVE, Change, Changes, LeaderChange, NodeRecord
from raftgossip.ids import NodeId

LEADER = NodeId(0)
"""The leader's key among the changes; no node has it."""


@dataclass(slots=True)
class ShownNodes:
    """All records by id.

    Invariants: the log holds them all; `listed` holds at least the active ones; `waiting_elsewhere` are some of them.
    """

    log: ChangeLog
    """Its version is the registry's."""
    records: dict[NodeId, NodeRecord] = field(default_factory=dict, init=False)
    listed: NodeList = field(default_factory=NodeList, init=False)
    """Those that are told to who asks for nodes."""
    waiting_elsewhere: OrderedDict[NodeId, None] = field(default_factory=OrderedDict, init=False)
    """Nodes in no cluster that wait for a bootstrap, at other gateways."""
    num_active: int = field(default=0, init=False)

    def show(self, record: NodeRecord, is_listed: bool) -> None:
        """This is what counts of a node now."""
        node_id, registration = record.node_id, record.registration
        old, was_listed = self.records.get(node_id), node_id in self.listed
        self.records[node_id] = record
        is_active = record.status == ACTIVE
        self.num_active += is_active - (old is not None and old.status == ACTIVE)
        if is_listed:
            self.listed.add(node_id)
        else:
            self.listed.discard(node_id)
        if record.gateway_id and is_active and registration.can_wait and not registration.cluster_id:
            self.waiting_elsewhere[node_id] = None
        else:
            self.waiting_elsewhere.pop(node_id, None)
        if (
            old is None
            or (old.status, was_listed) != (record.status, is_listed)
            or not old.registration.is_shown_as(registration)
        ):
            self.log.touch(node_id)

    def renew(self, record: NodeRecord) -> None:
        """The same node was heard again: nothing but its times is another."""
        self.records[record.registration.node_id] = record

    def hide(self, node_id: NodeId) -> bool:
        """The node is gone; False: it was not there."""
        old = self.records.pop(node_id, None)
        if old is None:
            return False
        self.num_active -= old.status == ACTIVE
        self.listed.discard(node_id)
        self.waiting_elsewhere.pop(node_id, None)
        self.log.drop(node_id)
        return True

    def changes(self, since_version: int, report: Report | None) -> Changes | None:
        """What changed since a version; None: it cannot be told any more. `report`: who leads now."""
        entries = self.log.since(self.log.step_of(since_version))
        if entries is None:
            return None
        events: list[Change] = []
        leader: LeaderChange | None = None
        for entry in entries:
            version = version_of(entry.step)
            if entry.key != LEADER:
                events.append(Change(version, entry.key, self.records.get(entry.key)))
            elif report is None:
                leader = LeaderChange(version, None, 0)
            else:
                leader = LeaderChange(version, self.records[report.node_id], report.term)
        return Changes(self.log.version, tuple(events), leader)

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        self.log.check_invariants()
        self.listed.check_invariants()
        assert set(self.log.keys()) - {LEADER} == set(self.records)
        assert self.num_active == sum(record.status == ACTIVE for record in self.records.values())
        assert all(record.status != ACTIVE or node_id in self.listed for node_id, record in self.records.items())
        assert all(self.records[node_id].gateway_id for node_id in self.waiting_elsewhere)
