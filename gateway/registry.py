"""Who is registered, and until when. Pure: time and randomness are passed in, and nothing is locked, logged or sent.

A node is `active` from its registration or heartbeat on, `suspected` after half the timeout without one, and forgotten
after the whole of it (`heard_nodes.py`). What other gateways hear is merged in (`syncing.py`). Whose an id is says
`ownership.py`, who may found a cluster `founding_memory.py`, who leads `leadership.py`; what is shown of all that, and
since when, `shown_nodes.py`.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from gateway.change_log import ChangeLog
from gateway.founding_memory import FoundingMemory
from gateway.leadership import MAX_TERM, Leadership
from gateway.other_gateways import OtherGateways
from gateway.own_claims import OwnClaims
from gateway.ownership import may_take_over
from gateway.registry_values import (
    ACTIVE,
    MAX_VERSION,
    SUSPECTED,
    Changes,
    LeaderHint,
    Memory,
    Moment,
    NodeRecord,
    Outcome,
    Page,
    Registration,
    RegistrySettings,
    Stats,
    Unsaved,
)
from gateway.shown_nodes import LEADER, News, ShownNodes
from gateway.syncing import SyncAnswer, choose, settle
from raftgossip.errors import AlreadyExists, Busy
from raftgossip.ids import NodeId

__all__ = [
    "ACTIVE",
    "MAX_VERSION",
    "SUSPECTED",
    "Memory",
    "Moment",
    "NodeRecord",
    "Registration",
    "Registry",
    "RegistrySettings",
]

RESTART_LEAP = 1_000_000
"""A restarted gateway's version begins so far behind the one on disk: that may be older than what was told."""
HANDOVER_MS = 5_000
"""A claim that another gateway's supersedes is kept so much longer, but half a timeout at most: others may read of its
end before they read of what supersedes it, and would see the node leave and come back."""
MAX_DISPLACED = 1_024
"""Nodes that lost their id to another and have not come back yet; the oldest are dropped."""


class Registry:
    """The nodes, the leader and the bootstrap node, as one gateway knows them.

    Every operation first lets time pass (`expire`), so no answer ever contains a node that is silent for too long.
    `version` moves when, and only when, the list changes: a node, its status, or who leads. No operation looks at all
    nodes; those that come and go move a part of a sorted list of ids (`node_list.py`).

    Invariants (`check_invariants`): those of its parts; each record on the list is the claim that counts; the leader is
    on the list; so is the named node, unless it was named before a restart.
    """

    def __init__(
        self, settings: RegistrySettings, rng: random.Random, started: Moment, memory: Memory | None = None
    ) -> None:
        """`rng`: draws samples, and ids that must be unique. `memory`: of an earlier life; its nodes are suspected
        until they are heard again, with their silence counted from now, but listed at once.
        """
        self._settings = settings
        self._rng = rng
        self.registry_id = f"{rng.getrandbits(128):032x}" if memory is None else memory.registry_id
        self.gateway_id = f"{rng.getrandbits(128):032x}" if memory is None else memory.gateway_id
        self._shown = ShownNodes(ChangeLog(0 if memory is None else memory.version + RESTART_LEAP))
        self._own = OwnClaims(f"{rng.getrandbits(128):032x}")
        self._others = OtherGateways(self.gateway_id)
        self._leadership = Leadership(self.gateway_id)
        self._founding = FoundingMemory(started.monotonic_ms + settings.rebuild_grace_ms)
        self._displaced: OrderedDict[NodeId, None] = OrderedDict()
        """Nodes that lost their id to another owner's and have not noticed yet."""
        self._due_ms = 0
        """Before it nothing changes by the passing of time."""
        if memory is not None:
            self._remember(memory, started)

    # --- what nodes say

    def register(self, registration: Registration, now: Moment) -> Outcome:
        """Enter a node, or renew what is known of it.

        Raises:
            AlreadyExists: the id belongs to another owner that has not been given up yet.
            Busy: the registry is full.
        """
        self.expire(now)
        node_id = registration.node_id
        old = self._shown.records.get(node_id)
        if old is not None and not may_take_over(old, registration):
            raise AlreadyExists(
                f"the node id {node_id} is registered by another owner or at another address; choose another id, or "
                "wait until that node has left"
            )
        if old is None and len(self._shown.records) >= self._settings.max_nodes:
            raise Busy(f"the registry is full with {self._settings.max_nodes} nodes; retry when some have left")
        self._founding.note_cluster(registration.cluster_id)
        self._displaced.pop(node_id, None)
        is_renewal = old is not None and old.gateway_id == "" and old.registration == registration
        stamp_ms = old.stamp_ms if old is not None and is_renewal else self._next_stamp_ms(node_id, now)
        joined_seconds = now.wall_seconds if old is None else old.joined_seconds
        self._claim(NodeRecord(registration, ACTIVE, joined_seconds, now.wall_seconds, now.monotonic_ms, "", stamp_ms))
        is_alone = len(self._shown.records) == 1
        is_bootstrap, wait_ms = self._founding.decide(registration, is_alone, self._may_name(), now.monotonic_ms)
        return Outcome("registered" if old is None else "updated", is_bootstrap, wait_ms)

    def heartbeat(self, node_id: NodeId, cluster_id: str, now: Moment) -> bool:
        """A sign of life; False: no such node, or it lost its id to another: it must register again."""
        self.expire(now)
        self._founding.note_cluster(cluster_id)
        old = self._shown.records.get(node_id)
        if old is None:
            return False
        if node_id in self._displaced:
            del self._displaced[node_id]
            return False
        is_ours = old.gateway_id == ""
        stamp_ms = old.stamp_ms if is_ours else self._next_stamp_ms(node_id, now)
        record = NodeRecord(
            old.registration, ACTIVE, old.joined_seconds, now.wall_seconds, now.monotonic_ms, "", stamp_ms
        )
        if is_ours and old.status == ACTIVE:
            self._own.heard.hear(record)
            self._shown.renew(record)
        else:
            self._claim(record)
        return True

    def remove(self, node_id: NodeId, now: Moment) -> bool:
        """Forget a node, wherever it is registered; False: no such node."""
        self.expire(now)
        if node_id not in self._shown.records:
            return False
        if self._has_company():
            self._own.remove(node_id, self._next_stamp_ms(node_id, now), now.monotonic_ms)
        else:
            self._own.release(node_id)
        self._refresh(node_id)
        return True

    def update_leader(self, node_id: NodeId, term: int, now: Moment) -> bool:
        """Note who leads, in which term (0: the client knows no terms); False: no such node, and nothing changed.

        Raises:
            CommandRefused: a later term is known, or one from which it takes weeks to this one.
        """
        self.expire(now)
        if node_id not in self._shown.records:
            return False
        self._leadership.report(node_id, term, now.monotonic_ms)
        self._settle_leader()
        self._founding.note_leader()
        return True

    # --- what is asked

    def record(self, node_id: NodeId) -> NodeRecord | None:
        """What is known of a node, as of the last operation; None: it is not registered."""
        return self._shown.records.get(node_id)

    def leader(self, now: Moment) -> LeaderHint | None:
        """Who was last reported to lead; None: nobody was, or it has left since."""
        self.expire(now)
        report = self._leadership.current
        if report is None:
            return None
        age_ms = max(0, now.monotonic_ms - report.reported_ms)
        return LeaderHint(self._shown.records[report.node_id], report.term, age_ms)

    def sample(self, now: Moment, asker: int, limit: int) -> list[NodeRecord]:
        """All listed nodes but the asker if they are at most `limit`, else a random choice of so many; by id.

        Listed are the active ones, and after a restart those that were there and have not had time to come back.
        """
        self.expire(now)
        return [self._shown.records[node_id] for node_id in self._shown.listed.sample(self._rng, asker, limit)]

    def page(self, now: Moment, asker: int, after: int, limit: int) -> Page:
        """At most `limit` (from 1 on) listed nodes but the asker, by id, from behind `after` on."""
        self.expire(now)
        ids = [node_id for node_id in self._shown.listed.after(after, limit + 2) if node_id != asker]
        records = tuple(self._shown.records[node_id] for node_id in ids[:limit])
        return Page(records, records[-1].node_id if len(ids) > limit else 0)

    def changes(self, since_version: int, registry_id: str, limit: int | None = None) -> Changes | None:
        """What changed since a version of this registry, at most the first `limit` changes; None: it cannot be told any
        more, read everything."""
        if since_version <= 0 or registry_id != self.registry_id:
            return None
        return self._shown.changes(since_version, limit, self._leadership.current)

    def news(self, step: int, begun: int, limit: int) -> list[News] | None:
        """The first `limit` changes after a step of the log; the others as for `ShownNodes.news`."""
        return self._shown.news(step, begun, limit, self._leadership.current)

    def stats(self, now: Moment) -> Stats:
        """The registry in numbers."""
        self.expire(now)
        report = self._leadership.current
        return Stats(
            total_nodes=len(self._shown.records),
            active_nodes=self._shown.num_active,
            suspected_nodes=len(self._shown.records) - self._shown.num_active,
            leader_id=0 if report is None else report.node_id,
            registry_version=self.version,
            bootstrap_initiated=self._founding.knows_cluster or self._founding.bootstrap is not None,
            cluster_id=next(iter(self._founding.cluster_ids), ""),
        )

    @property
    def log(self) -> ChangeLog:
        """When the list changed; only to be read."""
        return self._shown.log

    @property
    def version(self) -> int:
        """Moves when the list changes; comparable only within one `registry_id`."""
        return self._shown.log.version

    @property
    def settings(self) -> RegistrySettings:
        """Those in force."""
        return self._settings

    @property
    def cluster_ids(self) -> tuple[str, ...]:
        """The clusters that members and other gateways told of, in that order."""
        return tuple(self._founding.cluster_ids)

    @property
    def num_facts(self) -> int:
        """So many facts about founding are known; see `Unsaved`."""
        return self._founding.num_facts

    # --- time

    def expire(self, now: Moment) -> list[NodeId]:
        """Let time pass: suspect and forget silent nodes; returns the forgotten, the longest silent first."""
        now_ms = now.monotonic_ms
        if now_ms < self._due_ms:
            return []
        half_ms, whole_ms = self._settings.half_timeout_ms, self._settings.node_timeout_ms
        touched = self._own.pass_time(now_ms, half_ms, whole_ms)
        touched += self._others.lose_contact(now_ms, half_ms, whole_ms)
        touched += self._let_go(now_ms)
        gone: list[NodeId] = []
        for node_id in touched:
            was_there = node_id in self._shown.records
            self._refresh(node_id)
            if was_there and node_id not in self._shown.records:
                gone.append(node_id)
        if self._leadership.lapse(now_ms - whole_ms) or touched:
            self._settle_leader()
        if self._named_is_absent() and now_ms >= self._founding.absent_until_ms:
            self._founding.note_gone(self._founding.bootstrap or LEADER)
        self._name_elsewhere(now)
        self._due_ms = self._next_due_ms(now)
        return gone

    def deadline_ms(self, now: Moment) -> int:
        """When time must pass again at the latest, though nodes may come and renew until then; later than `now`."""
        self.expire(now)
        return self._next_due_ms(now)

    def change_settings(self, settings: RegistrySettings) -> None:
        """Go on with other settings; nodes that are suspected already stay so until they are heard."""
        self._settings = settings
        self._due_ms = 0

    # --- other gateways

    @property
    def gateway_ids(self) -> tuple[str, ...]:
        """All gateways that are known, this one too; sorted."""
        return tuple(self._others.ids())

    def sync_position(self, source: str) -> tuple[int, str]:
        """The version and log id from which the gateway at `source` should be asked; (0, ""): from the beginning."""
        return self._others.position(source)

    def response_for(self, gateway_id: str, since_version: int, log_id: str, now: Moment) -> SyncAnswer:
        """What another gateway that has seen `since_version` of `log_id` should read, at most `MAX_CHANGES` of it."""
        self.expire(now)
        self._others.note_asker(gateway_id, now.monotonic_ms)
        parts = self._own.answer_parts(since_version, log_id, now.monotonic_ms)
        report = self._leadership.own
        return SyncAnswer(
            gateway_id=self.gateway_id,
            log_id=parts.log_id,
            version=parts.version,
            is_delta=parts.is_delta,
            changes=parts.changes,
            leader_id=0 if report is None else report.node_id,
            leader_term=0 if report is None else report.term,
            cluster_ids=self.cluster_ids,
            gateway_ids=tuple(self._others.ids_in_contact()),
            bootstrap=self._founding.bootstrap,
        )

    def merge(self, source: str, answer: SyncAnswer, now: Moment) -> None:
        """Take up what the gateway at `source` (one of the settings' `other_gateways`) answered, wholly or in parts."""
        self.expire(now)
        max_nodes = self._settings.max_nodes
        for node_id in self._others.take(source, answer, now.monotonic_ms, now.wall_seconds, max_nodes):
            self._reconsider(node_id, now.monotonic_ms)
        for cluster_id in answer.cluster_ids:
            self._founding.note_cluster(cluster_id)
        if answer.leader_id:
            self._founding.note_leader()
        self._settle_leader()
        self._adopt_named()
        self._name_elsewhere(now)
        self._due_ms = 0

    # --- the disk

    def unsaved(self, step: int | None) -> Unsaved:
        """What changed since `step`, which an earlier answer gave; None: everything."""
        entries = None if step is None else self._own.log.since(step)
        is_whole = entries is None
        if entries is None:
            entries = self._own.log.everything()
        found = {entry.key: self._own.find(entry.key) for entry in entries}
        report, founding = self._leadership.current, self._founding
        memory = Memory(
            self.registry_id,
            self.gateway_id,
            self.version,
            self.cluster_ids,
            founding.bootstrap,
            founding.principal,
            None if report is None else report.node_id,
            0 if report is None else report.term,
            founding.leader_was_reported,
            tuple(record for record in found.values() if record is not None),
        )
        gone = tuple(node_id for node_id, record in found.items() if record is None)
        return Unsaved(memory, gone, is_whole, self._own.log.step, founding.num_facts)

    def _remember(self, memory: Memory, started: Moment) -> None:
        now_ms = started.monotonic_ms
        self._founding.remember(memory)
        self._founding.absent_until_ms = now_ms + self._settings.node_timeout_ms
        if not memory.is_empty:
            self._founding.grace_until_ms = now_ms
        for record in memory.records:
            remembered = replace(record, status=SUSPECTED, heard_ms=now_ms, gateway_id="")
            self._claim(remembered)
        if memory.leader_id in self._shown.records and memory.leader_id is not None:
            self._leadership.report(memory.leader_id, min(memory.leader_term, MAX_TERM), now_ms)
            self._settle_leader()

    # --- keeping the list

    def _next_stamp_ms(self, node_id: NodeId, now: Moment) -> int:
        own = self._own.find(node_id)
        own_ms = self._own.removed_ms(node_id) if own is None else own.stamp_ms
        return max(int(now.wall_seconds * 1000), max(own_ms, self._others.latest_ms(node_id)) + 1)

    def _claim(self, record: NodeRecord) -> None:
        """Hear a node here, whoever heard it before."""
        self._own.claim(record)
        self._refresh(record.node_id)

    def _reconsider(self, node_id: NodeId, now_ms: int) -> None:
        """Another gateway says something new about a node."""
        own = self._own.find(node_id)
        if own is not None and own.stamp_ms <= self._others.removed_ms(node_id):
            self._own.release(node_id)
        elif own is not None:
            rivals = self._others.rivals(node_id, -1)
            settled = settle(own, rivals, self.gateway_id)
            if settled is None:
                self._own.outlast(node_id, now_ms)
                self._note_displaced(own, rivals)
            elif settled != own:
                self._own.amend(settled)
        self._refresh(node_id)

    def _let_go(self, now_ms: int) -> list[NodeId]:
        """Give up the claims that others have superseded for long enough; returns them."""
        released: list[NodeId] = []
        for node_id in self._own.outlasted(now_ms - min(HANDOVER_MS, self._settings.half_timeout_ms)):
            own = self._own.find(node_id)
            if own is not None and settle(own, self._others.rivals(node_id, -1), self.gateway_id) is None:
                self._own.release(node_id)
                released.append(node_id)
        return released

    def _note_displaced(self, own: NodeRecord, rivals: Iterable[NodeRecord]) -> None:
        if any(rival.registration.principal == own.registration.principal for rival in rivals):
            return
        self._displaced[own.node_id] = None
        if len(self._displaced) > MAX_DISPLACED:
            self._displaced.popitem(last=False)

    def _best(self, node_id: NodeId) -> NodeRecord | None:
        """The claim that counts."""
        own, rivals = self._own.find(node_id), self._others.rivals(node_id, self._own.removed_ms(node_id))
        return choose([*rivals, own] if own is not None else rivals, self.gateway_id)

    def _refresh(self, node_id: NodeId) -> None:
        """Show the claim that counts."""
        best = self._best(node_id)
        if best is not None:
            self._shown.show(best, self._is_listed(best))
        elif self._shown.hide(node_id):
            self._displaced.pop(node_id, None)
            self._founding.note_gone(node_id)
            if self._leadership.note_gone(node_id):
                self._settle_leader()

    def _is_listed(self, record: NodeRecord) -> bool:
        """Active ones are, and those that a restarted gateway has only heard of from its disk so far."""
        is_ours = record.gateway_id == ""
        return record.status == ACTIVE or (is_ours and self._own.heard.is_recent(record.node_id))

    def _settle_leader(self) -> None:
        if self._leadership.settle(self._others.reports(self._shown.records)):
            self._shown.log.touch(LEADER)

    # --- founding

    def _has_company(self) -> bool:
        return bool(self._settings.other_gateways) or self._others.are_known()

    def _may_name(self) -> bool:
        """Whether it is for this gateway to name a bootstrap: of all that are known, the one with the smallest id.

        If that one is gone for good, nobody is named until the others are told that it is no longer one of them.
        """
        if not self._has_company():
            return True
        is_ready = self._others.have_all_answered(self._settings.other_gateways)
        return is_ready and self._others.ids()[0] == self.gateway_id

    def _name_elsewhere(self, now: Moment) -> None:
        """Name a node that waits at another gateway, for only one of them names, and the nodes may not ask there."""
        founding = self._founding
        if founding.knows_cluster or founding.bootstrap is not None or not self._shown.waiting_elsewhere:
            return
        if now.monotonic_ms >= founding.grace_until_ms and self._may_name():
            node_id = next(iter(self._shown.waiting_elsewhere))
            founding.note_named(node_id, self._shown.records[node_id].registration.principal)

    def _adopt_named(self) -> None:
        """Another gateway named a node: nobody else is named here."""
        for node_id in self._others.named():
            named = self._shown.records.get(node_id)
            if named is not None and not self._founding.knows_cluster and self._founding.bootstrap is None:
                self._founding.note_named(node_id, named.registration.principal)

    def _named_is_absent(self) -> bool:
        return self._founding.bootstrap is not None and self._founding.bootstrap not in self._shown.records

    def _next_due_ms(self, now: Moment) -> int:
        half_ms, whole_ms = self._settings.half_timeout_ms, self._settings.node_timeout_ms
        due = [now.monotonic_ms + half_ms, *self._own.due_ms(half_ms, whole_ms, min(HANDOVER_MS, half_ms))]
        due += self._others.due_ms(half_ms, whole_ms) + self._leadership.due_ms(whole_ms)
        due += [self._founding.absent_until_ms] if self._named_is_absent() else []
        if self._shown.waiting_elsewhere and now.monotonic_ms < self._founding.grace_until_ms:
            due.append(self._founding.grace_until_ms)
        return min(due)

    def check_invariants(self) -> None:
        """Assert what the class promises; looks at all nodes."""
        for part in (self._shown, self._own, self._others, self._founding):
            part.check_invariants()
        mirrored = {node_id for mirror in self._others.mirrors.values() for node_id in mirror.records}
        for node_id in self._own.heard.ids() | mirrored | set(self._shown.records):
            best = self._best(node_id)
            assert self._shown.records.get(node_id) == best
            assert (node_id in self._shown.listed) == (best is not None and self._is_listed(best))
        report = self._leadership.current
        assert report is None or report.node_id in self._shown.records
        assert not self._named_is_absent() or self._founding.absent_until_ms > 0
