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


@dataclass(frozen=True, slots=True)
class News:
    """The last change of a node, or of who leads."""

    step: int
    key: NodeId
    """`LEADER`: who leads is another one than it was."""
    record: NodeRecord | None
    """Of the node, or of the leader, as it is now; None: it is gone, or nobody leads."""
    came: int
    """The step at which the node came; 0: it is gone."""
    term: int = 0
    """The leader's."""


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

    def news(self, step: int, begun: int, limit: int | None, report: Report | None) -> list[News] | None:
        """What changed after a step, the oldest first, at most `limit` of it; None: it cannot be told any more.

        `begun`: as for the log. `report`: who leads now.
        """
        entries = self.log.since(step, limit, begun)
        if entries is None:
            return None
        found: list[News] = []
        for entry in entries:
            if entry.key != LEADER:
                found.append(News(entry.step, entry.key, self.records.get(entry.key), entry.came))
            elif report is None:
                found.append(News(entry.step, LEADER, None, entry.came))
            else:
                found.append(News(entry.step, LEADER, self.records[report.node_id], entry.came, report.term))
        return found

    def changes(self, since_version: int, limit: int | None, report: Report | None) -> Changes | None:
        """The same since a version; the answer's version is that of the last change if there were `limit` of them."""
        news = self.news(self.log.step_of(since_version), 0, limit, report)
        if news is None:
            return None
        version = version_of(news[-1].step) if news and len(news) == limit else self.log.version
        events = (Change(version_of(each.step), each.key, each.record) for each in news if each.key != LEADER)
        leaders = (LeaderChange(version_of(each.step), each.record, each.term) for each in news if each.key == LEADER)
        return Changes(version, tuple(events), next(leaders, None))

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        self.log.check_invariants()
        self.listed.check_invariants()
        assert set(self.log.keys()) - {LEADER} == set(self.records)
        assert self.num_active == sum(record.status == ACTIVE for record in self.records.values())
        assert all(record.status != ACTIVE or node_id in self.listed for node_id, record in self.records.items())
        assert all(self.records[node_id].gateway_id for node_id in self.waiting_elsewhere)
