"""The registry against a naive model that looks at all nodes at every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.registry import ACTIVE, SUSPECTED, Registration
from raftgossip.errors import AlreadyExists, Busy, CommandRefused
from raftgossip.ids import Address, NodeId
from tests.support.registry_builders import TIMEOUT_MS, at, ids, listed, make_registry, node

MAX_NODES = 3
GRACE_MS = 700
NODE_IDS = st.integers(1, 5)
REGISTRATIONS = st.builds(
    node,
    NODE_IDS,
    st.integers(1, 2),
    st.sampled_from(["", "o", "p"]),
    cluster_id=st.sampled_from(["", "", "", "", "", "c"]),
    can_wait=st.booleans(),
)


class View(NamedTuple):
    """What readers of the list see; the rest of what a node says is the same in all registrations here, or hidden."""

    nodes: dict[int, tuple[Address, str]]
    leader: int
    term: int


@dataclass
class NaiveRegistry:
    """The same promises without any cleverness."""

    nodes: dict[int, tuple[Registration, int]] = field(default_factory=dict)
    leader: int = 0
    term: int = 0
    led_ms: int = 0
    knows_cluster: bool = False
    bootstrap: int = 0
    named_owner: str = ""

    def pass_time(self, now_ms: int) -> None:
        self.nodes = {key: value for key, value in self.nodes.items() if now_ms - value[1] < TIMEOUT_MS}
        has_lapsed = self.term > 0 and now_ms - self.led_ms >= TIMEOUT_MS
        if self.leader not in self.nodes or has_lapsed:
            self.leader, self.term = 0, 0
        if self.bootstrap not in self.nodes or self.knows_cluster:
            self.bootstrap = 0

    def status(self, node_id: int, now_ms: int) -> str:
        return ACTIVE if now_ms - self.nodes[node_id][1] < TIMEOUT_MS // 2 else SUSPECTED

    def may_take_over(self, new: Registration, now_ms: int) -> bool:
        old, _ = self.nodes[new.node_id]
        if old.owner:
            return old.owner == new.owner
        if old.address == new.address:
            return True
        return not new.owner and self.status(new.node_id, now_ms) == SUSPECTED

    def register(self, new: Registration, now_ms: int) -> tuple[str, bool, int]:
        node_id = int(new.node_id)
        is_known = node_id in self.nodes
        if is_known and not self.may_take_over(new, now_ms):
            return "taken", False, 0
        if not is_known and len(self.nodes) == MAX_NODES:
            return "full", False, 0
        self.nodes[node_id] = (new, now_ms)
        self.knows_cluster |= new.cluster_id != ""
        self.pass_time(now_ms)
        return "updated" if is_known else "registered", *self.found(new, now_ms)

    def found(self, new: Registration, now_ms: int) -> tuple[bool, int]:
        if self.knows_cluster:
            return False, 0
        if self.bootstrap == new.node_id:
            return len(self.nodes) == 1 or (new.can_wait and new.owner != "" and new.owner == self.named_owner), 0
        if self.bootstrap:
            return False, 0
        if new.can_wait and now_ms < GRACE_MS:
            return False, GRACE_MS - now_ms
        self.bootstrap, self.named_owner = new.node_id, new.owner
        return True, 0

    def view(self, now_ms: int) -> View:
        shown = {key: (value[0].address, self.status(key, now_ms)) for key, value in self.nodes.items()}
        return View(shown, self.leader, self.term)


class RegistryMachine(RuleBasedStateMachine):
    """Random operations on both, compared after each."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = make_registry(MAX_NODES, GRACE_MS)
        self.naive = NaiveRegistry()
        self.now_ms = 0
        self.seen: list[tuple[int, View]] = [(0, self.naive.view(0))]

    @rule(ms=st.sampled_from([1, 250, 499, 500, 1000]))
    def wait(self, ms: int) -> None:
        self.now_ms += ms
        self.naive.pass_time(self.now_ms)
        self.registry.expire(at(self.now_ms))

    @rule(new=REGISTRATIONS)
    def register(self, new: Registration) -> None:
        try:
            outcome = self.registry.register(new, at(self.now_ms))
            answer = (outcome.status, outcome.is_bootstrap, outcome.bootstrap_wait_ms)
        except AlreadyExists:
            answer = ("taken", False, 0)
        except Busy:
            answer = ("full", False, 0)
        assert answer == self.naive.register(new, self.now_ms)

    @rule(node_id=NODE_IDS, cluster_id=st.sampled_from(["", "", "", "c"]))
    def heartbeat(self, node_id: int, cluster_id: str) -> None:
        self.naive.knows_cluster |= cluster_id != ""
        if node_id in self.naive.nodes:
            self.naive.nodes[node_id] = (self.naive.nodes[node_id][0], self.now_ms)
        self.naive.pass_time(self.now_ms)
        known = self.registry.heartbeat(NodeId(node_id), cluster_id, at(self.now_ms))
        assert known == (node_id in self.naive.nodes)

    @rule(node_id=NODE_IDS)
    def remove(self, node_id: int) -> None:
        was_known = self.naive.nodes.pop(node_id, None) is not None
        self.naive.pass_time(self.now_ms)
        assert self.registry.remove(NodeId(node_id), at(self.now_ms)) == was_known

    @rule(node_id=NODE_IDS, term=st.integers(0, 3))
    def lead(self, node_id: int, term: int) -> None:
        is_known = node_id in self.naive.nodes
        is_refused = is_known and 0 < term < self.naive.term
        try:
            known = self.registry.update_leader(NodeId(node_id), term, at(self.now_ms))
        except CommandRefused:
            assert is_refused
            return
        assert known == is_known and not is_refused
        if known:
            self.naive.leader, self.naive.term, self.naive.knows_cluster = node_id, term, True
            self.naive.led_ms = self.now_ms
            self.naive.pass_time(self.now_ms)

    @invariant()
    def is_sound(self) -> None:
        self.registry.check_invariants()

    @invariant()
    def moves_its_version_with_the_list(self) -> None:
        version, view = self.registry.version, self.naive.view(self.now_ms)
        assert (version != self.seen[-1][0]) == (view != self.seen[-1][1])
        self.seen.append((version, view))

    @invariant()
    def tells_what_changed_since_any_version(self) -> None:
        view = self.naive.view(self.now_ms)
        assert self.registry.changes(0, self.registry.registry_id) is None
        for version, before in [seen for seen in self.seen[-6:] if seen[0] > 0]:
            changes = self.registry.changes(version, self.registry.registry_id)
            assert changes is not None
            nodes = before.nodes | {
                int(record.node_id): (record.registration.address, record.status) for record in changes.nodes
            }
            assert {key: value for key, value in nodes.items() if key not in changes.removed} == view.nodes
            if changes.leader is None:
                assert (before.leader, before.term) == (view.leader, view.term)
            else:
                told = changes.leader.record
                assert (0 if told is None else told.node_id, changes.leader.term) == (view.leader, view.term)

    @invariant()
    def answers_like_the_naive_one(self) -> None:
        now = at(self.now_ms)
        active = sorted(key for key in self.naive.nodes if self.naive.status(key, self.now_ms) == ACTIVE)
        for asker in range(6):
            others = [key for key in active if key != asker]
            assert listed(self.registry, now, asker) == others
            assert ids(self.registry.sample(now, asker, MAX_NODES)) == others
        for node_id, (registration, _) in self.naive.nodes.items():
            record = self.registry.record(NodeId(node_id))
            assert record is not None and record.registration == registration
        stats = self.registry.stats(now)
        assert (stats.total_nodes, stats.active_nodes) == (len(self.naive.nodes), len(active))
        assert stats.leader_id == self.naive.leader
        assert stats.bootstrap_initiated == (self.naive.knows_cluster or self.naive.bootstrap != 0)
        heard = [
            value[1] + (TIMEOUT_MS // 2 if key in active else TIMEOUT_MS) for key, value in self.naive.nodes.items()
        ]
        heard += [self.naive.led_ms + TIMEOUT_MS] if self.naive.term else []
        assert self.registry.deadline_ms(now) == min([self.now_ms + TIMEOUT_MS // 2, *heard])


RegistryMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestRegistryAgainstTheNaiveOne = RegistryMachine.TestCase
