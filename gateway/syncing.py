"""How several gateways come to hold one list: what one tells another, and what is made of it.

A gateway *claims* the nodes that it hears itself. It tells every other gateway its own claims, and nothing of what it
learned from third ones, so all gateways must list each other. Each keeps a *mirror* of every other gateway's claims;
the list that it shows is a function of its own claims and the mirrors, the same everywhere (`choose`). So gateways that
have read each other hold the same list, whatever the order in which they read.

Claims to one node are ordered by a stamp, a hybrid logical clock (S. Kulkarni, M. Demirbas, D. Madappa, B. Avva,
M. Leone, "Logical Physical Clocks", 2014, section 3): the wall clock in ms, but later than every claim to this node
that the gateway knows of. A claim made in knowledge of another therefore supersedes it however wrong the clocks are;
only claims made in ignorance of each other are ordered by the clocks. Unlike the paper's clock it is kept for each
node, so that it does not run ahead of the wall clock where many claims are made.

- A node that comes to another gateway is claimed there. The gateway that held it sees a later claim, and lets go when
  all others have had time to see it too.
- A node that is removed leaves a *removal* with a stamp, and no earlier claim counts, until it is forgotten again.
- Two nodes with one id: the one that joined first keeps it, then the one whose owner sorts first. The loser's gateway
  lets go, so that the loser must register again, and is refused.
- A gateway that is out of contact is like a silent node: its claims are suspected after half the timeout, and forgotten
  after the whole of it. Contact is one number for all of them; they need no renewal one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gateway.registry_values import ACTIVE, SUSPECTED, NodeRecord, Registration
from raftgossip.ids import NodeId

MAX_MIRRORS = 16
"""Gateways whose claims are kept, those included that are gone but whose nodes are not given up yet."""
MAX_GATEWAY_IDS = 64
"""Ids of gateways that one may tell, and that are remembered for having asked."""
MAX_CHANGES = 2_000
"""Changes that one answer tells; who asks goes on asking until an answer tells fewer."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a gateway says of a node that it hears, or has removed."""

    node_id: NodeId
    registration: Registration | None
    """None: the node was removed, and earlier claims to it do not count."""
    stamp_ms: int
    status: str = ACTIVE
    """`active` or `suspected`; without meaning for a removal."""
    joined_seconds: float = 0.0
    age_ms: int = 0
    """Since the node was heard or removed, when the answer was made."""


@dataclass(frozen=True, slots=True)
class ClaimChange:
    """A claim that is new or different, or one that was given up."""

    version: int
    """Of the answering gateway's claims, after this change."""
    node_id: NodeId
    claim: Claim | None
    """None: given up."""


@dataclass(frozen=True, slots=True)
class SyncAnswer:
    """What one gateway tells another. A prefix of its changes is a whole answer too, with the version of the last."""

    gateway_id: str
    log_id: str
    """Versions can be compared only within one; a gateway that restarts begins a new one."""
    version: int
    """What the reader has seen when it has read this answer, and asks from the next time."""
    is_delta: bool
    """False: what was told before does not count; the changes are all claims, from the beginning."""
    changes: tuple[ClaimChange, ...]
    """The oldest first."""
    leader_id: int = 0
    """Who was reported to lead, at this gateway itself; 0: nobody, or another gateway has heard of a later term."""
    leader_term: int = 0
    cluster_ids: tuple[str, ...] = ()
    gateway_ids: tuple[str, ...] = ()
    """Itself and those that it is in contact with."""
    bootstrap: NodeId | None = None
    """The node that it has named, or knows to be named."""


@dataclass(slots=True)
class Mirror:
    """What one other gateway claims, as it told last."""

    gateway_id: str
    contact_ms: int
    """When it last answered, by this machine's monotonic clock."""
    log_id: str = ""
    version: int = 0
    is_suspected: bool = False
    """Out of contact for half the timeout: all its nodes are suspected."""
    records: dict[NodeId, NodeRecord] = field(default_factory=dict)
    removals: dict[NodeId, int] = field(default_factory=dict)
    """Removed node -> the removal's stamp."""
    leader_id: int = 0
    leader_term: int = 0
    leader_ms: int = 0
    """When it first told so."""
    gateway_ids: tuple[str, ...] = ()
    bootstrap: NodeId | None = None

    def record(self, node_id: NodeId) -> NodeRecord | None:
        """Its claim to a node, suspected if the gateway itself is."""
        found = self.records.get(node_id)
        if found is None or not self.is_suspected or found.status == SUSPECTED:
            return found
        return replace(found, status=SUSPECTED)

    def take(self, answer: SyncAnswer, now_ms: int, wall_seconds: float, max_nodes: int) -> list[NodeId]:
        """Take up an answer; returns the ids about which it now says something else.

        A delta to what was forgotten here in the meantime is of no use; the next answer will be whole. Claims beyond
        `max_nodes` are left out, so that one gateway cannot fill the memory of another.
        """
        changed: dict[NodeId, None] = {}
        self.contact_ms = now_ms
        if answer.is_delta and answer.log_id != self.log_id:
            return []
        if not answer.is_delta:
            changed = dict.fromkeys((*self.records, *self.removals))
            self.records.clear()
            self.removals.clear()
        for change in answer.changes:
            changed[change.node_id] = None
            self.records.pop(change.node_id, None)
            self.removals.pop(change.node_id, None)
            claim = change.claim
            if claim is None or len(self.records) + len(self.removals) >= max_nodes:
                continue
            if claim.registration is None:
                self.removals[change.node_id] = claim.stamp_ms
                continue
            self.records[change.node_id] = NodeRecord(
                claim.registration,
                claim.status,
                claim.joined_seconds,
                wall_seconds - claim.age_ms / 1000,
                now_ms - claim.age_ms,
                self.gateway_id,
                claim.stamp_ms,
            )
        self.log_id, self.version = answer.log_id, answer.version
        if (self.leader_id, self.leader_term) != (answer.leader_id, answer.leader_term):
            self.leader_ms = now_ms
        self.leader_id, self.leader_term = answer.leader_id, answer.leader_term
        self.gateway_ids, self.bootstrap = answer.gateway_ids, answer.bootstrap
        return list(changed)


def choose(records: Sequence[NodeRecord], own_gateway_id: str) -> NodeRecord | None:
    """The claim that counts, of those that no removal ended: the latest one of the owner that joined first.

    Joining counts by the earliest claim of the same owner, for the others were made in ignorance of it.
    """
    if len(records) < 2:
        return records[0] if records else None
    joined: dict[str, float] = {}
    for record in records:
        principal = record.registration.principal
        joined[principal] = min(record.joined_seconds, joined.get(principal, record.joined_seconds))
    winner = min(joined, key=lambda principal: (joined[principal], principal))
    mine = [record for record in records if record.registration.principal == winner]
    return min(mine, key=lambda record: _latest_first(record, own_gateway_id))


def settle(own: NodeRecord, rivals: Sequence[NodeRecord], own_gateway_id: str) -> NodeRecord | None:
    """What becomes of an own claim in sight of others that no removal ended; None: it is given up.

    An own claim that was made in ignorance of an earlier one by the same owner takes over its time of joining; and if
    the node was heard here after it was heard there, it is made anew. Then the smallest in one order of all claims
    stays (`_rank`), wherever it is, so that the gateways cannot all let go at once.
    """
    same = [rival for rival in rivals if rival.registration.principal == own.registration.principal]
    for rival in same:
        is_later = _latest_first(own, own_gateway_id) < _latest_first(rival, own_gateway_id)
        if own.heard_ms > rival.heard_ms and not is_later:
            own, is_later = replace(own, stamp_ms=rival.stamp_ms + 1), True
        if is_later and rival.joined_seconds < own.joined_seconds:
            own = replace(own, joined_seconds=rival.joined_seconds)
    own_rank = _rank(own, own_gateway_id)
    return None if any(_rank(rival, own_gateway_id) < own_rank for rival in rivals) else own


def _latest_first(record: NodeRecord, own_gateway_id: str) -> tuple[int, str]:
    return -record.stamp_ms, record.gateway_id or own_gateway_id


def _rank(record: NodeRecord, own_gateway_id: str) -> tuple[float, str, int, str]:
    """A total order of claims in which the smallest is never given up.

    It agrees with `choose` wherever claims of one owner have the same time of joining, as they have once their gateways
    have read each other.
    """
    return record.joined_seconds, record.registration.principal, *_latest_first(record, own_gateway_id)


def join_answers(parts: Sequence[SyncAnswer]) -> SyncAnswer:
    """Several answers, each asked for from where the one before ended, as one. Where the other gateway could not go on,
    what it told before does not count."""
    begin = max((place for place, part in enumerate(parts) if not part.is_delta), default=0)
    changes = tuple(change for part in parts[begin:] for change in part.changes)
    return replace(parts[-1], is_delta=parts[begin].is_delta, changes=changes)
