"""What this gateway claims: the nodes that it hears itself, and those that were removed here; with a log of changes.

Other gateways read the log (`answer_parts`), and so does the thread that writes to the disk.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from gateway.change_log import ChangeLog, Entry, version_of
from gateway.heard_nodes import HeardNodes
from gateway.registry_values import NodeRecord
from gateway.syncing import MAX_CHANGES, Claim, ClaimChange
from raftgossip.ids import NodeId

MAX_REMOVALS = 4_096
"""Removals that are kept for other gateways to read; they read every second or so."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A node was taken off the list here, wherever it was registered."""

    stamp_ms: int
    removed_ms: int
    """Monotonic."""


@dataclass(frozen=True, slots=True)
class AnswerParts:
    """What another gateway should read."""

    log_id: str
    """What it should ask with from now on."""
    is_delta: bool
    """Whether it goes on from where it was."""
    version: int
    """Where it is then."""
    changes: tuple[ClaimChange, ...]


@dataclass(slots=True)
class OwnClaims:
    """The own claims and removals; a node has one or the other.

    Invariants: the log holds what is claimed or removed; the removals are ordered by when they were made.
    """

    log_id: str
    """Versions of the log can be compared only within one; every life of a gateway has its own."""
    heard: HeardNodes = field(default_factory=HeardNodes, init=False)
    removals: OrderedDict[NodeId, Removal] = field(default_factory=OrderedDict, init=False)
    log: ChangeLog = field(default_factory=ChangeLog, init=False)
    _superseded: OrderedDict[NodeId, int] = field(default_factory=OrderedDict, init=False)
    """Claims that another gateway's supersede -> since when, in that order."""

    def find(self, node_id: NodeId) -> NodeRecord | None:
        """The claim to a node."""
        return self.heard.find(node_id)

    def removed_ms(self, node_id: NodeId) -> int:
        """The stamp of the removal of a node; -1: there is none."""
        removal = self.removals.get(node_id)
        return -1 if removal is None else removal.stamp_ms

    def claim(self, record: NodeRecord) -> None:
        """The node was heard here just now."""
        self._superseded.pop(record.node_id, None)
        old = self.heard.find(record.node_id)
        self.heard.hear(record)
        self.removals.pop(record.node_id, None)
        if old is None or (old.stamp_ms, old.status) != (record.stamp_ms, record.status):
            self.log.touch(record.node_id)

    def amend(self, record: NodeRecord) -> None:
        """The claim is another one in sight of what other gateways claim; the node was not heard."""
        self.heard.amend(record)
        self.log.touch(record.node_id)

    def release(self, node_id: NodeId) -> None:
        """Give a claim up."""
        self._superseded.pop(node_id, None)
        self.heard.forget(node_id)
        self.log.drop(node_id)

    def outlast(self, node_id: NodeId, now_ms: int) -> None:
        """The claim is superseded; it is to be given up in a while."""
        self._superseded.setdefault(node_id, now_ms)

    def outlasted(self, limit_ms: int) -> list[NodeId]:
        """Take those that were superseded at or before `limit_ms`."""
        taken: list[NodeId] = []
        while self._superseded and next(iter(self._superseded.values())) <= limit_ms:
            taken.append(self._superseded.popitem(last=False)[0])
        return taken

    def remove(self, node_id: NodeId, stamp_ms: int, now_ms: int) -> None:
        """Keep for others to read that a node was removed."""
        self._superseded.pop(node_id, None)
        self.heard.forget(node_id)
        self.removals[node_id] = Removal(stamp_ms, now_ms)
        self.removals.move_to_end(node_id)
        self.log.touch(node_id)
        if len(self.removals) > MAX_REMOVALS:
            self.log.drop(self.removals.popitem(last=False)[0])

    def pass_time(self, now_ms: int, suspect_after_ms: int, forget_after_ms: int) -> list[NodeId]:
        """Suspect and give up silent nodes, and forget old removals; returns all of them."""
        touched: list[NodeId] = []
        for record in self.heard.fall_silent(now_ms - suspect_after_ms):
            self.log.touch(record.node_id)
            touched.append(record.node_id)
        for record in self.heard.silent_until(now_ms - forget_after_ms):
            self.release(record.node_id)
            touched.append(record.node_id)
        while self.removals and next(iter(self.removals.values())).removed_ms <= now_ms - forget_after_ms:
            node_id, _ = self.removals.popitem(last=False)
            self.log.drop(node_id)
            touched.append(node_id)
        return touched

    def due_ms(self, suspect_after_ms: int, forget_after_ms: int, outlast_ms: int) -> list[int]:
        """When time must pass for something here."""
        heard = self.heard.first_due_ms(suspect_after_ms, forget_after_ms)
        due = [] if heard is None else [heard]
        due += [next(iter(self._superseded.values())) + outlast_ms] if self._superseded else []
        return due + ([next(iter(self.removals.values())).removed_ms + forget_after_ms] if self.removals else [])

    def answer_parts(self, since_version: int, log_id: str, now_ms: int) -> AnswerParts:
        """What a reader that has seen `since_version` of `log_id` should read, at most `MAX_CHANGES` of it.

        Who must read everything gets a log id that says since when, else it could be lost between two parts of that:
        the first parts are the oldest, and may lie before the last departures that the log knows.
        """
        own_id, _, begun = log_id.partition("/")
        entries = None
        if own_id == self.log_id and (not begun or begun.isdecimal()):
            entries = self.log.since(self.log.step_of(since_version), MAX_CHANGES, int(begun or 0))
        is_delta = entries is not None
        if entries is None:
            log_id = f"{self.log_id}/{self.log.step}"
            entries = self.log.everything(MAX_CHANGES)
        version = self.log.version if len(entries) < MAX_CHANGES else version_of(entries[-1].step)
        return AnswerParts(log_id, is_delta, version, tuple(self._change(entry, now_ms) for entry in entries))

    def _change(self, entry: Entry, now_ms: int) -> ClaimChange:
        node_id, version = entry.key, version_of(entry.step)
        own, removal = self.heard.find(node_id), self.removals.get(node_id)
        claim: Claim | None = None
        if own is not None:
            age_ms = max(0, now_ms - own.heard_ms)
            claim = Claim(node_id, own.registration, own.stamp_ms, own.status, own.joined_seconds, age_ms)
        elif removal is not None:
            claim = Claim(node_id, None, removal.stamp_ms, age_ms=max(0, now_ms - removal.removed_ms))
        return ClaimChange(version, node_id, claim)

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        self.heard.check_invariants()
        self.log.check_invariants()
        assert not self.heard.ids() & set(self.removals)
        assert self.heard.ids() | set(self.removals) == set(self.log.keys())
        assert set(self._superseded) <= self.heard.ids()
        assert len(self.removals) <= MAX_REMOVALS
        times = [removal.removed_ms for removal in self.removals.values()]
        assert times == sorted(times)
