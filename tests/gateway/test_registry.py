"""The registry: who is there, for how long, who leads, who may found; with the time passed in."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.registry import ACTIVE, MAX_VERSION, SUSPECTED, Moment, NodeRecord, Registration, Registry
from raftgossip.errors import AlreadyExists, Busy, ConfigError
from raftgossip.ids import Address, NodeId

TIMEOUT_MS = 1000


def at(ms: int) -> Moment:
    """A moment; the wall clock is 5000 s ahead."""
    return Moment(ms, 5000 + ms / 1000)


def node(node_id: int, port: int = 1, owner: str = "") -> Registration:
    """What a node says about itself."""
    return Registration(NodeId(node_id), Address("host", port), ("raft",), (("a", "b"),), owner)


def ids(records: list[NodeRecord]) -> list[int]:
    """The records' node ids."""
    return [record.registration.node_id for record in records]


def test_the_first_registration_is_registered_and_the_next_of_the_same_node_is_updated() -> None:
    registry = Registry(TIMEOUT_MS)
    assert registry.register(node(1), at(0)).status == "registered"
    assert registry.register(node(1), at(1)).status == "updated"


def test_an_update_keeps_the_time_of_joining_and_replaces_the_rest() -> None:
    registry = Registry(TIMEOUT_MS)
    registry.register(node(1, owner="o"), at(0))
    registry.register(node(1, port=2, owner="o"), at(500))
    (record,) = registry.active_nodes(at(500))
    assert record.registration.address.port == 2
    assert (record.joined_seconds, record.seen_seconds) == (5000.0, 5000.5)


def test_a_live_node_keeps_its_id_against_another_address() -> None:
    registry = Registry(TIMEOUT_MS)
    registry.register(node(1, port=1, owner="o"), at(0))
    for intruder in (node(1, port=2), node(1, port=2, owner="p")):
        with pytest.raises(AlreadyExists, match="1 is registered by a live node"):
            registry.register(intruder, at(499))


def test_two_nodes_without_a_secret_are_not_the_same_owner() -> None:
    registry = Registry(TIMEOUT_MS)
    registry.register(node(1, port=1), at(0))
    with pytest.raises(AlreadyExists):
        registry.register(node(1, port=2), at(0))


def test_a_suspected_node_may_be_replaced() -> None:
    registry = Registry(TIMEOUT_MS)
    registry.register(node(1, port=1), at(0))
    assert registry.register(node(1, port=2), at(500)).status == "updated"


def test_a_full_registry_refuses_newcomers_and_renews_old_nodes() -> None:
    registry = Registry(TIMEOUT_MS, max_nodes=1)
    registry.register(node(1), at(0))
    with pytest.raises(Busy, match="full with 1 nodes"):
        registry.register(node(2), at(0))
    assert registry.register(node(1), at(0)).status == "updated"


@pytest.mark.parametrize(("silence_ms", "active", "total"), [(499, 1, 1), (500, 0, 1), (999, 0, 1), (1000, 0, 0)])
def test_a_silent_node_is_suspected_after_half_the_timeout_and_forgotten_after_all_of_it(
    silence_ms: int, active: int, total: int
) -> None:
    registry = Registry(TIMEOUT_MS)
    registry.register(node(1), at(0))
    stats = registry.stats(at(silence_ms))
    assert (stats.active_nodes, stats.total_nodes) == (active, total)


def test_a_heartbeat_renews_and_ends_a_suspicion() -> None:
    registry = Registry(TIMEOUT_MS)
    registry.register(node(1), at(0))
    assert registry.heartbeat(NodeId(1), at(900))
    assert ids(registry.active_nodes(at(1399))) == [1]
    assert not registry.heartbeat(NodeId(1), at(1900))


def test_the_deadline_tells_when_the_first_node_changes() -> None:
    registry = Registry(TIMEOUT_MS)
    assert registry.deadline_ms(at(0)) == 500
    registry.register(node(1), at(100))
    registry.register(node(2), at(200))
    assert registry.deadline_ms(at(300)) == 600
    assert registry.deadline_ms(at(600)) == 700
    assert registry.deadline_ms(at(700)) == 1100


def test_the_asker_is_not_in_its_list_and_everybody_else_is() -> None:
    registry = Registry(TIMEOUT_MS)
    for node_id in (3, 1, 2):
        registry.register(node(node_id), at(0))
    assert ids(registry.active_nodes(at(0), 2)) == [1, 3]
    assert ids(registry.active_nodes(at(0))) == [1, 2, 3]


def test_a_short_list_holds_the_next_nodes_on_the_ring_of_ids() -> None:
    registry = Registry(TIMEOUT_MS)
    for node_id in range(1, 6):
        registry.register(node(node_id), at(0))
    assert ids(registry.successors(at(0), 4, 2)) == [1, 5]


def test_only_a_registered_node_can_be_reported_to_lead() -> None:
    registry = Registry(TIMEOUT_MS)
    assert not registry.update_leader(NodeId(1), at(0))
    registry.register(node(1), at(0))
    assert registry.update_leader(NodeId(1), at(0))
    leader = registry.leader(at(0))
    assert leader is not None and leader.registration.node_id == 1


@pytest.mark.parametrize("way", ["removed", "silent"])
def test_a_leader_that_is_gone_leaves_no_leader(way: str) -> None:
    registry = Registry(TIMEOUT_MS)
    registry.register(node(1), at(0))
    registry.update_leader(NodeId(1), at(0))
    if way == "removed":
        assert registry.remove(NodeId(1), at(0))
    assert registry.leader(at(TIMEOUT_MS)) is None
    assert registry.stats(at(TIMEOUT_MS)).leader_id == 0


def test_exactly_the_first_node_is_bootstrap() -> None:
    registry = Registry(TIMEOUT_MS)
    assert [registry.register(node(node_id), at(0)).is_bootstrap for node_id in (5, 2, 9)] == [True, False, False]


def test_a_lonely_bootstrap_node_hears_it_again_but_not_when_others_came() -> None:
    registry = Registry(TIMEOUT_MS)
    registry.register(node(1), at(0))
    assert registry.register(node(1), at(1)).is_bootstrap
    registry.register(node(2), at(2))
    assert not registry.register(node(1), at(3)).is_bootstrap


def test_a_bootstrap_node_that_leaves_is_replaced_until_somebody_leads() -> None:
    registry = Registry(TIMEOUT_MS)
    registry.register(node(1), at(0))
    registry.remove(NodeId(1), at(0))
    assert registry.register(node(2), at(0)).is_bootstrap
    registry.update_leader(NodeId(2), at(0))
    registry.remove(NodeId(2), at(0))
    assert not registry.register(node(3), at(0)).is_bootstrap


def test_the_version_moves_with_every_change_of_the_list_and_with_nothing_else() -> None:
    registry = Registry(TIMEOUT_MS)
    versions: list[int] = []
    steps = (
        lambda: registry.register(node(1), at(0)),  # comes: 1
        lambda: registry.register(node(1), at(0)),
        lambda: registry.heartbeat(NodeId(1), at(0)),
        lambda: registry.register(node(1, port=1, owner="o"), at(0)),  # says something new: 2
        lambda: registry.update_leader(NodeId(1), at(0)),  # leads: 3
        lambda: registry.update_leader(NodeId(1), at(0)),
        lambda: registry.update_leader(NodeId(9), at(0)),
        lambda: registry.expire(at(500)),  # is suspected: 4
        lambda: registry.heartbeat(NodeId(1), at(500)),  # is back: 5
        lambda: registry.expire(at(999)),
        lambda: registry.remove(NodeId(9), at(999)),
        lambda: registry.remove(NodeId(1), at(999)),  # leaves: 6
    )
    for step in steps:
        step()
        versions.append(registry.version)
    assert versions == [1, 1, 1, 2, 3, 3, 3, 4, 5, 5, 5, 6]


def test_the_version_starts_again_at_one_after_the_largest() -> None:
    registry = Registry(TIMEOUT_MS)
    registry.version = MAX_VERSION
    registry.register(node(1), at(0))
    assert registry.version == 1


@pytest.mark.parametrize("limits", [(1, 1), (1000, 0)])
def test_limits_must_be_positive(limits: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        Registry(*limits)


@dataclass
class NaiveRegistry:
    """The same promises without any cleverness: looks at all nodes at every step."""

    max_nodes: int
    nodes: dict[int, tuple[Registration, int]] = field(default_factory=dict)
    leader: int = 0
    was_led: bool = False
    bootstrap: int = 0

    def pass_time(self, now_ms: int) -> None:
        self.nodes = {key: value for key, value in self.nodes.items() if now_ms - value[1] < TIMEOUT_MS}
        self.leader = self.leader if self.leader in self.nodes else 0
        self.bootstrap = self.bootstrap if self.bootstrap in self.nodes else 0

    def status(self, node_id: int, now_ms: int) -> str:
        return ACTIVE if now_ms - self.nodes[node_id][1] < TIMEOUT_MS // 2 else SUSPECTED

    def register(self, new: Registration, now_ms: int) -> str:
        node_id = int(new.node_id)
        old = self.nodes.get(node_id)
        if old is not None and self.status(node_id, now_ms) == ACTIVE:
            is_same = old[0].address == new.address or (old[0].owner != "" and old[0].owner == new.owner)
            if not is_same:
                return "taken"
        if old is None and len(self.nodes) == self.max_nodes:
            return "full"
        self.nodes[node_id] = (new, now_ms)
        is_first = not self.was_led and (self.bootstrap == 0 or (self.bootstrap == node_id and len(self.nodes) == 1))
        if is_first:
            self.bootstrap = node_id
        return ("registered" if old is None else "updated") + (" first" if is_first else "")

    def heartbeat(self, node_id: int, now_ms: int) -> bool:
        if node_id in self.nodes:
            self.nodes[node_id] = (self.nodes[node_id][0], now_ms)
        return node_id in self.nodes

    def remove(self, node_id: int, now_ms: int) -> bool:
        known = self.nodes.pop(node_id, None) is not None
        self.pass_time(now_ms)
        return known

    def update_leader(self, node_id: int) -> bool:
        if node_id in self.nodes:
            self.leader, self.was_led, self.bootstrap = node_id, True, 0
        return node_id in self.nodes

    def view(self, now_ms: int) -> object:
        listed = {key: (value[0], self.status(key, now_ms)) for key, value in self.nodes.items()}
        return sorted(listed.items()), self.leader


NODE_IDS = st.integers(1, 4)
STEPS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1, 250, 499, 500, 1000]), st.just(0), st.just("")),
    st.tuples(st.sampled_from(["heartbeat", "remove", "lead"]), NODE_IDS, st.just(0), st.just("")),
    st.tuples(st.just("register"), NODE_IDS, st.integers(1, 2), st.sampled_from(["", "o", "p"])),
)


def _register(registry: Registry, new: Registration, now: Moment) -> str:
    try:
        outcome = registry.register(new, now)
    except AlreadyExists:
        return "taken"
    except Busy:
        return "full"
    return outcome.status + (" first" if outcome.is_bootstrap else "")


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_the_registry_answers_like_a_naive_one_and_its_version_moves_only_with_the_list(
    steps: list[tuple[str, int, int, str]],
) -> None:
    registry, naive, now_ms = Registry(TIMEOUT_MS, max_nodes=3), NaiveRegistry(max_nodes=3), 0
    for step, number, port, owner in steps:
        before, version = naive.view(now_ms), registry.version
        now, node_id = at(now_ms), NodeId(number)
        match step:
            case "wait":
                now_ms += number
                naive.pass_time(now_ms)
                registry.expire(at(now_ms))
            case "register":
                new = node(number, port, owner)
                assert _register(registry, new, now) == naive.register(new, now_ms)
            case "heartbeat":
                assert registry.heartbeat(node_id, now) == naive.heartbeat(number, now_ms)
            case "remove":
                assert registry.remove(node_id, now) == naive.remove(number, now_ms)
            case "lead":
                assert registry.update_leader(node_id, now) == naive.update_leader(number)
        registry.check_invariants()
        _compare(registry, naive, now_ms)
        assert (registry.version != version) == (naive.view(now_ms) != before)


def _compare(registry: Registry, naive: NaiveRegistry, now_ms: int) -> None:
    now = at(now_ms)
    active = sorted(key for key in naive.nodes if naive.status(key, now_ms) == ACTIVE)
    for asker in range(6):
        assert ids(registry.active_nodes(now, asker)) == [key for key in active if key != asker]
    assert [record.registration for record in registry.active_nodes(now)] == [naive.nodes[key][0] for key in active]
    leader = registry.leader(now)
    assert (0 if leader is None else leader.registration.node_id) == naive.leader
    stats = registry.stats(now)
    assert (stats.total_nodes, stats.active_nodes, stats.leader_id) == (len(naive.nodes), len(active), naive.leader)
    assert stats.bootstrap_initiated == (naive.was_led or naive.bootstrap != 0)
    heard = [value[1] + (TIMEOUT_MS // 2 if key in active else TIMEOUT_MS) for key, value in naive.nodes.items()]
    assert registry.deadline_ms(now) == min([now_ms + TIMEOUT_MS // 2, *heard])
