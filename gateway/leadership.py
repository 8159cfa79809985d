"""Who was last reported to lead. Only a hint: Raft decides, and the peers that are dialled prove it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from raftgossip.errors import CommandRefused
from raftgossip.ids import NodeId

MAX_TERM = 2**53
"""No cluster gets there; a report of a later term would keep out all that are true."""
MAX_TERM_JUMP = 1_000_000
"""A report may be so many terms later than the one that is known: that many elections take weeks."""


@dataclass(frozen=True, slots=True)
class Report:
    """A gateway was told who leads."""

    node_id: NodeId
    term: int
    """0: by a client that knows no terms."""
    gateway_id: str
    reported_ms: int
    """Monotonic, here; of another gateway's report, when it was first read."""


@dataclass(slots=True)
class Leadership:
    """The reports of this gateway and of the others, and the one that counts.

    It is the one of the latest term, then of the smallest gateway id, of those whose node is on the list. When that
    node goes, so does its report, and its term is no bound any more; so it is with a report that is not repeated.
    """

    gateway_id: str
    own: Report | None = field(default=None, init=False)
    """The last report made at this gateway; given up when another gateway has a different one that counts before it."""
    current: Report | None = field(default=None, init=False)

    def report(self, node_id: NodeId, term: int, now_ms: int) -> None:
        """A registered node was reported to lead; to be settled then. A client without terms is believed, as ever.

        Raises:
            CommandRefused: a later term is known, or an earlier one from which it takes weeks to this one.
        """
        known = 0 if self.current is None else self.current.term
        if self.current is not None and 0 < term < known:
            raise CommandRefused(
                f"node {node_id} led in term {term}, but node {self.current.node_id} was reported to lead in term "
                f"{known}; ask the cluster who leads now"
            )
        latest = min(MAX_TERM, known + MAX_TERM_JUMP) if known else MAX_TERM
        if term > latest:
            raise CommandRefused(
                f"node {node_id} is reported to lead in term {term}; nothing beyond term {latest} is believed now"
            )
        self.own = Report(node_id, term, self.gateway_id, now_ms)

    def lapse(self, limit_ms: int) -> bool:
        """Give up the own report if it was last made at or before `limit_ms`; True: it was, and this is to be settled
        anew. Clients without terms report once, and bind nobody: theirs stays."""
        if self.own is None or self.own.term == 0 or self.own.reported_ms > limit_ms:
            return False
        self.own = None
        return True

    def due_ms(self, lapse_after_ms: int) -> list[int]:
        """When time must pass for something here."""
        return [self.own.reported_ms + lapse_after_ms] if self.own is not None and self.own.term else []

    def note_gone(self, node_id: NodeId) -> bool:
        """A node has left the list; True: this is to be settled anew."""
        if self.own is not None and self.own.node_id == node_id:
            self.own = None
        return self.current is not None and self.current.node_id == node_id

    def settle(self, others: Iterable[Report]) -> bool:
        """Weigh the own report against those of other gateways about listed nodes; True: another leader or term."""
        before = self.current
        reports = [*others] if self.own is None else [*others, self.own]
        self.current = min(reports, key=_latest_first, default=None)
        if self.own is not None and self.current is not None and _leads(self.own) != _leads(self.current):
            self.own = None  # but one that says the same is kept: the other gateway may lose its memory
        if self.current is None or before is None:
            return self.current is not before
        return (before.node_id, before.term) != (self.current.node_id, self.current.term)


def _latest_first(report: Report) -> tuple[int, str]:
    return -report.term, report.gateway_id


def _leads(report: Report) -> tuple[int, int]:
    return report.node_id, report.term
