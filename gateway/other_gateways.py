"""The other gateways: what each of them claims, and who is there at all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from gateway.leadership import MAX_TERM, Report
from gateway.registry_values import NodeRecord
from gateway.syncing import MAX_GATEWAY_IDS, MAX_MIRRORS, Mirror, SyncAnswer
from raftgossip.ids import NodeId


@dataclass(slots=True)
class OtherGateways:
    """The mirrors of other gateways, by their ids.

    Invariants: at most `MAX_MIRRORS` mirrors, none of this gateway itself.
    """

    own_id: str
    mirrors: dict[str, Mirror] = field(default_factory=dict, init=False)
    _sources: dict[str, str] = field(default_factory=dict, init=False)
    """Where a gateway was reached -> its id, as it said last."""
    _askers: OrderedDict[str, int] = field(default_factory=OrderedDict, init=False)
    """Gateways that asked -> when they last did, ordered by that."""

    # --- what they say

    def rivals(self, node_id: NodeId, removed_ms: int) -> list[NodeRecord]:
        """Their claims to a node that no removal ended: neither theirs nor the own one, with the stamp `removed_ms`."""
        if not self.mirrors:
            return []
        removed_ms = max(removed_ms, self.removed_ms(node_id))
        found = (mirror.record(node_id) for mirror in self.mirrors.values())
        return [record for record in found if record is not None and record.stamp_ms > removed_ms]

    def removed_ms(self, node_id: NodeId) -> int:
        """The stamp of their latest removal of a node; -1: there is none."""
        return max((mirror.removals.get(node_id, -1) for mirror in self.mirrors.values()), default=-1)

    def latest_ms(self, node_id: NodeId) -> int:
        """The latest stamp on any claim of theirs to a node or removal of it; -1: there is none."""
        latest = self.removed_ms(node_id)
        for mirror in self.mirrors.values():
            record = mirror.records.get(node_id)
            latest = latest if record is None else max(latest, record.stamp_ms)
        return latest

    def reports(self, listed: Container[int]) -> list[Report]:
        """Whom they were told to lead, of the nodes that are listed."""
        return [
            Report(NodeId(mirror.leader_id), mirror.leader_term, mirror.gateway_id, mirror.leader_ms)
            for mirror in self.mirrors.values()
            if mirror.leader_id in listed and mirror.leader_term <= MAX_TERM
        ]

    def named(self) -> list[NodeId]:
        """The nodes that they say were named bootstrap."""
        return [mirror.bootstrap for mirror in self.mirrors.values() if mirror.bootstrap is not None]

    # --- who is there

    def have_all_answered(self, sources: Iterable[str]) -> bool:
        """Whether each of them was reached at least once."""
        return all(source in self._sources for source in sources)

    def ids_in_contact(self) -> list[str]:
        """This gateway and the others that answered at their addresses last, or ask."""
        return sorted({self.own_id, *self._sources.values(), *self._askers})[:MAX_GATEWAY_IDS]

    def ids(self) -> list[str]:
        """All that are known, those too that others are in contact with."""
        told = (gateway_id for mirror in self._mirrors_in_use() for gateway_id in mirror.gateway_ids)
        return sorted({*self.ids_in_contact(), *told})

    def note_asker(self, gateway_id: str, now_ms: int) -> None:
        """Another gateway asked: it is there, even if nobody told this one where."""
        if not gateway_id or gateway_id == self.own_id:
            return
        self._askers[gateway_id] = now_ms
        self._askers.move_to_end(gateway_id)
        if len(self._askers) > MAX_GATEWAY_IDS:
            self._askers.popitem(last=False)

    def position(self, source: str) -> tuple[int, str]:
        """The version and log id to ask a gateway from; (0, ""): from the beginning."""
        mirror = self.mirrors.get(self._sources.get(source, ""))
        return (0, "") if mirror is None else (mirror.version, mirror.log_id)

    def are_known(self) -> bool:
        """Whether any other gateway was ever heard of and not given up since."""
        return bool(self.mirrors or self._askers)

    # --- what happens

    def take(self, source: str, answer: SyncAnswer, now_ms: int, wall_seconds: float, max_nodes: int) -> list[NodeId]:
        """Take up what the gateway at `source` answered; returns the nodes that it concerns."""
        self._sources[source] = answer.gateway_id
        if answer.gateway_id == self.own_id:
            return []  # the operator listed this gateway among the others
        mirror = self.mirrors.get(answer.gateway_id)
        changed: list[NodeId] = []
        if mirror is None:
            if len(self.mirrors) >= MAX_MIRRORS:
                longest = min(self.mirrors.values(), key=lambda other: (other.contact_ms, other.gateway_id))
                changed += self._drop(longest)
            mirror = self.mirrors[answer.gateway_id] = Mirror(answer.gateway_id, now_ms)
        if mirror.is_suspected:
            mirror.is_suspected = False
            changed += mirror.records
        return [*changed, *mirror.take(answer, now_ms, wall_seconds, max_nodes)]

    def lose_contact(self, now_ms: int, suspect_after_ms: int, forget_after_ms: int) -> list[NodeId]:
        """Let time pass: suspect, then drop what is claimed by gateways out of contact; returns the nodes concerned."""
        changed: list[NodeId] = []
        for mirror in list(self.mirrors.values()):
            silence_ms = now_ms - mirror.contact_ms
            if silence_ms >= forget_after_ms:
                changed += self._drop(mirror)
            elif silence_ms >= suspect_after_ms and not mirror.is_suspected:
                mirror.is_suspected = True
                changed += mirror.records
        while self._askers and now_ms - next(iter(self._askers.values())) >= forget_after_ms:
            self._askers.popitem(last=False)
        return changed

    def due_ms(self, suspect_after_ms: int, forget_after_ms: int) -> list[int]:
        """When time must pass for something here."""
        due = [
            mirror.contact_ms + (forget_after_ms if mirror.is_suspected else suspect_after_ms)
            for mirror in self.mirrors.values()
        ]
        return due + ([next(iter(self._askers.values())) + forget_after_ms] if self._askers else [])

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        assert len(self.mirrors) <= MAX_MIRRORS
        assert self.own_id not in self.mirrors
        for mirror in self.mirrors.values():
            assert not mirror.records.keys() & mirror.removals.keys()
            assert all(record.gateway_id == mirror.gateway_id for record in mirror.records.values())

    def _mirrors_in_use(self) -> list[Mirror]:
        """Those of gateways that are still where they were reached."""
        return [self.mirrors[gateway_id] for gateway_id in self._sources.values() if gateway_id in self.mirrors]

    def _drop(self, mirror: Mirror) -> list[NodeId]:
        del self.mirrors[mirror.gateway_id]
        return [*mirror.records, *mirror.removals]
