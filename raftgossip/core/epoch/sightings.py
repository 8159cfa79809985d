"""What a coordinator remembers by itself: since when it has seen what the ledger says, and who seems alive.

Nothing here decides what an epoch is; a new leader that lacks these memories is only more patient.
"""

from __future__ import annotations

from collections.abc import Sequence

from raftgossip.core.epoch.ledger import LedgerView
from raftgossip.ids import NodeId


class Liveness:
    """Who acknowledges this leader. Built anew with each leadership; a node is alive, dead, or not known yet.

    A node that appears may have restarted and not have said so yet: it is settled when the ledger showed a new
    incarnation of it, or when `rejoin_ms` passed.
    """

    def __init__(self, node_id: NodeId, grace_ms: int, rejoin_ms: int, now_ms: int) -> None:
        self.since_ms = now_ms
        """When this leadership began here."""
        self.grace_ends_ms = now_ms + grace_ms
        """Until then silence means nothing."""
        self._rejoin_ms = rejoin_ms
        self._known = {node_id: True}
        self._settled_ms = {node_id: now_ms + rejoin_ms}
        self._announced: set[NodeId] = set()
        self._silent_ms: dict[NodeId, int] = {}

    def set_responsive(self, node_id: NodeId, now_ms: int) -> None:
        """It acknowledges."""
        if not self.is_alive(node_id):
            self._settled_ms[node_id] = now_ms + self._rejoin_ms
        self._known[node_id] = True
        self._silent_ms.pop(node_id, None)

    def set_unresponsive(self, node_id: NodeId, now_ms: int) -> None:
        """It has not acknowledged for too long."""
        if self.is_alive(node_id):
            self._silent_ms[node_id] = now_ms
        self._known[node_id] = False
        self._announced.discard(node_id)

    def set_announced(self, node_id: NodeId) -> None:
        """The ledger shows a new incarnation of it."""
        self._announced.add(node_id)

    def all_settled_ms(self, nodes: Sequence[NodeId]) -> int:
        """When the last of these nodes is settled, as far as they are alive; 0: they are."""
        waiting = (node for node in nodes if node not in self._announced and self.is_alive(node))
        return max((self._settled_ms[node] for node in waiting), default=0)

    def is_alive(self, node_id: NodeId) -> bool:
        """Whether it has acknowledged in this leadership, and did not fall silent since."""
        return self._known.get(node_id, False)

    def is_dead(self, node_id: NodeId, now_ms: int) -> bool:
        """Whether it fell silent, or has said nothing within the grace."""
        return not self._known.get(node_id, now_ms < self.grace_ends_ms)

    def silent_since_ms(self, node_id: NodeId) -> int | None:
        """Since when it is known not to answer: since it fell silent, or since this leadership began, for a new leader
        does not know how long its predecessor waited. None: it answers."""
        return None if self.is_alive(node_id) else self._silent_ms.get(node_id, self.since_ms)

    def any_unknown(self, nodes: Sequence[NodeId], now_ms: int) -> bool:
        """Whether one of them has neither acknowledged nor fallen silent, and the grace is not over."""
        return now_ms < self.grace_ends_ms and any(node not in self._known for node in nodes)


class Sightings:
    """When this node first saw the ledger's current state, on followers too. Times in monotonic milliseconds."""

    def __init__(self) -> None:
        self.opened_ms = 0
        """When the newest opening was seen (of the open epoch, or of the last ended one)."""
        self.attempt_ms = 0
        """When the open epoch's current attempt was seen."""
        self.ended_ms = 0
        """When the last epoch was seen to have ended."""
        self.report_ms: dict[NodeId, int] = {}
        """When the first report of each node in the current attempt was seen."""
        self.trained: set[NodeId] = set()
        """Who has reported without error in any attempt of the open epoch, as far as seen: its training is over."""
        self._newest = 0
        self._attempt = 0
        self._last_epoch = 0

    def observe(self, view: LedgerView, now_ms: int) -> None:
        """Note what is new in this view."""
        opened = view.open_epoch
        newest = opened.epoch if opened is not None else view.last_epoch
        attempt = opened.attempt if opened is not None else 0
        if newest != self._newest:
            self._newest, self._attempt = newest, 0
            self.opened_ms = now_ms
            self.trained.clear()
        if attempt != self._attempt:
            self._attempt = attempt
            self.attempt_ms = now_ms
            self.report_ms.clear()
        if view.last_epoch != self._last_epoch:
            self._last_epoch = view.last_epoch
            self.ended_ms = now_ms
        for report in opened.reports if opened is not None else ():
            self.report_ms.setdefault(report.node_id, now_ms)
            if not report.error:
                self.trained.add(report.node_id)
