"""The registry: who is there, for how long, whose an id is, who leads; with the time passed in."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from gateway.registry import ACTIVE, MAX_VERSION, SUSPECTED, Registration, Registry, RegistrySettings
from raftgossip.errors import AlreadyExists, Busy, CommandRefused, ConfigError
from raftgossip.ids import NodeId
from tests.support.registry_builders import TIMEOUT_MS, at, ids, listed, make_registry, node


def test_the_first_registration_is_registered_and_the_next_of_the_same_node_is_updated() -> None:
    registry = make_registry()
    assert registry.register(node(1), at(0)).status == "registered"
    assert registry.register(node(1), at(1)).status == "updated"


def test_an_update_keeps_the_time_of_joining_and_replaces_the_rest() -> None:
    registry = make_registry()
    registry.register(node(1, owner="o"), at(0))
    registry.register(node(1, port=2, owner="o"), at(400))
    record = registry.record(NodeId(1))
    assert record is not None
    assert record.registration.address.port == 2
    assert (record.joined_seconds, record.seen_seconds) == (5000.0, 5000.4)


SAME_OWNER: list[tuple[Registration, Registration]] = [
    (node(1, port=1, owner="o"), node(1, port=2, owner="o")),
    (node(1, port=1, owner="i", identity="i"), node(1, port=2, owner="i", identity="i")),
    (node(1, port=1), node(1, port=1)),
    (node(1, port=1), node(1, port=1, owner="o")),  # it has learned to prove itself
    (node(1, port=1, owner="o"), node(1, port=2, owner="i", identity="i")),  # certificates came after it
]
OTHER_OWNER: list[tuple[Registration, Registration]] = [
    (node(1, port=1, owner="o"), node(1, port=2, owner="p")),
    (node(1, port=1, owner="o"), node(1, port=1, owner="p")),
    (node(1, port=1, owner="o"), node(1, port=1)),
    (node(1, port=1), node(1, port=2, owner="o")),
    (node(1, port=1, owner="i", identity="i"), node(1, port=1, owner="j", identity="j")),
    (node(1, port=1, owner="i", identity="i"), node(1, port=1, owner="i2")),
]


@pytest.mark.parametrize(("old", "new"), SAME_OWNER)
@pytest.mark.parametrize("silence_ms", [0, 700])
def test_the_owner_of_an_id_is_updated_wherever_it_comes_from(
    old: Registration, new: Registration, silence_ms: int
) -> None:
    registry = make_registry()
    registry.register(old, at(0))
    assert registry.register(new, at(silence_ms)).status == "updated"
    record = registry.record(NodeId(1))
    assert record is not None and record.registration == new


@pytest.mark.parametrize(("old", "new"), OTHER_OWNER)
@pytest.mark.parametrize("silence_ms", [0, 999])
def test_another_owner_is_refused_until_the_node_is_forgotten(
    old: Registration, new: Registration, silence_ms: int
) -> None:
    registry = make_registry()
    registry.register(old, at(0))
    with pytest.raises(AlreadyExists, match="the node id 1 is registered by another owner"):
        registry.register(new, at(silence_ms))
    record = registry.record(NodeId(1))
    assert record is not None and record.registration == old
    assert registry.register(new, at(TIMEOUT_MS)).status == "registered"


def test_of_two_nodes_without_owners_the_live_one_keeps_the_id_and_the_suspected_one_is_replaced() -> None:
    registry = make_registry()
    registry.register(node(1, port=1), at(0))
    with pytest.raises(AlreadyExists):
        registry.register(node(1, port=2), at(499))
    assert registry.register(node(1, port=2), at(500)).status == "updated"


def test_a_full_registry_refuses_newcomers_and_renews_old_nodes() -> None:
    registry = make_registry(max_nodes=1)
    registry.register(node(1), at(0))
    with pytest.raises(Busy, match="full with 1 nodes"):
        registry.register(node(2), at(0))
    assert registry.register(node(1), at(0)).status == "updated"


@pytest.mark.parametrize(("silence_ms", "active", "total"), [(499, 1, 1), (500, 0, 1), (999, 0, 1), (1000, 0, 0)])
def test_a_silent_node_is_suspected_after_half_the_timeout_and_forgotten_after_all_of_it(
    silence_ms: int, active: int, total: int
) -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    stats = registry.stats(at(silence_ms))
    assert (stats.active_nodes, stats.suspected_nodes, stats.total_nodes) == (active, total - active, total)


def test_a_heartbeat_renews_and_ends_a_suspicion() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    assert registry.heartbeat(NodeId(1), "", at(900))
    assert listed(registry, at(1399)) == [1]
    assert not registry.heartbeat(NodeId(1), "", at(1900))


def test_the_forgotten_are_named_once() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    registry.register(node(2), at(10))
    assert registry.expire(at(1010)) == [1, 2]
    assert registry.expire(at(5000)) == []


def test_the_deadline_tells_when_the_first_node_changes() -> None:
    registry = make_registry()
    assert registry.deadline_ms(at(0)) == 500
    registry.register(node(1), at(100))
    registry.register(node(2), at(200))
    assert registry.deadline_ms(at(300)) == 600
    assert registry.deadline_ms(at(600)) == 700
    assert registry.deadline_ms(at(700)) == 1100


def test_a_shorter_timeout_counts_at_once() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    registry.change_settings(RegistrySettings(200))
    assert registry.expire(at(200)) == [1]


def test_pages_list_everybody_but_the_asker_once_and_by_id() -> None:
    registry = make_registry()
    for node_id in (3, 1, 5, 2, 4):
        registry.register(node(node_id), at(0))
    first = registry.page(at(0), 2, 0, 2)
    second = registry.page(at(0), 2, first.next_after, 2)
    assert (ids(first.records), ids(second.records), second.next_after) == ([1, 3], [4, 5], 0)


@pytest.mark.parametrize("asker", [0, 2, 9])
def test_a_page_that_the_rest_fits_into_is_the_last(asker: int) -> None:
    registry = make_registry()
    for node_id in (1, 2, 3):
        registry.register(node(node_id), at(0))
    expected = [node_id for node_id in (1, 2, 3) if node_id != asker]
    page = registry.page(at(0), asker, 0, len(expected))
    assert (ids(page.records), page.next_after) == (expected, 0)


def test_suspected_nodes_are_not_listed() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    registry.register(node(2), at(100))
    assert listed(registry, at(500)) == [2]
    assert ids(registry.sample(at(500), 0, 9)) == [2]


@pytest.mark.parametrize("asker", [0, 4])
def test_a_sample_has_all_if_they_fit_and_else_so_many_different_others(asker: int) -> None:
    registry = make_registry()
    for node_id in range(1, 11):
        registry.register(node(node_id), at(0))
    others = [node_id for node_id in range(1, 11) if node_id != asker]
    assert ids(registry.sample(at(0), asker, len(others))) == others
    seen: set[int] = set()
    for _ in range(200):
        found = ids(registry.sample(at(0), asker, 3))
        assert len(set(found)) == 3 and found == sorted(found) and asker not in found
        seen |= set(found)
    assert seen == set(others)


def test_samples_of_three_or_more_connect_all_nodes() -> None:
    registry = make_registry()
    for node_id in range(1, 301):
        registry.register(node(node_id), at(0))
    reached, frontier = {1}, [1]
    while frontier:
        new = set(ids(registry.sample(at(0), frontier.pop(), 5))) - reached
        reached |= new
        frontier += new
    assert len(reached) > 290  # one-way edges of a random graph; all but a few nodes are reached from any


def test_only_a_registered_node_can_be_reported_to_lead() -> None:
    registry = make_registry()
    assert not registry.update_leader(NodeId(1), 1, at(0))
    registry.register(node(1), at(0))
    assert registry.update_leader(NodeId(1), 1, at(0))
    leader = registry.leader(at(70))
    assert leader is not None
    assert (leader.record.registration.node_id, leader.term, leader.age_ms) == (1, 1, 70)


def test_a_report_of_an_earlier_term_is_refused_and_changes_nothing() -> None:
    registry = make_registry()
    for node_id in (1, 2):
        registry.register(node(node_id), at(0))
    registry.update_leader(NodeId(1), 7, at(0))
    version = registry.version
    with pytest.raises(CommandRefused, match="term 6, but node 1 was reported to lead in term 7"):
        registry.update_leader(NodeId(2), 6, at(0))
    assert (registry.stats(at(0)).leader_id, registry.version) == (1, version)


def test_a_client_that_knows_no_terms_is_believed() -> None:
    registry = make_registry()
    for node_id in (1, 2):
        registry.register(node(node_id), at(0))
    registry.update_leader(NodeId(1), 7, at(0))
    assert registry.update_leader(NodeId(2), 0, at(0))
    assert registry.stats(at(0)).leader_id == 2


@pytest.mark.parametrize("way", ["removed", "silent"])
def test_a_leader_that_is_gone_leaves_no_leader_and_no_bound_on_terms(way: str) -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    registry.update_leader(NodeId(1), 7, at(0))
    if way == "removed":
        assert registry.remove(NodeId(1), at(0))
    assert registry.leader(at(TIMEOUT_MS)) is None
    assert registry.stats(at(TIMEOUT_MS)).leader_id == 0
    registry.register(node(2), at(TIMEOUT_MS))
    assert registry.update_leader(NodeId(2), 1, at(TIMEOUT_MS))


def test_a_leader_that_lives_but_does_not_repeat_its_report_leads_no_longer() -> None:
    registry = make_registry()
    for node_id in (1, 2):
        registry.register(node(node_id), at(0))
    registry.update_leader(NodeId(1), 1_000_000, at(0))  # nobody will get there, so nobody could correct it
    registry.heartbeat(NodeId(1), "", at(499))
    registry.heartbeat(NodeId(2), "", at(499))
    assert registry.stats(at(TIMEOUT_MS - 1)).leader_id == 1
    version = registry.version
    assert registry.leader(at(TIMEOUT_MS)) is None
    assert registry.version != version
    assert registry.update_leader(NodeId(2), 7, at(TIMEOUT_MS))


def test_a_report_that_is_repeated_counts_on() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    registry.update_leader(NodeId(1), 7, at(0))
    for now_ms in range(400, 2_001, 400):
        registry.heartbeat(NodeId(1), "", at(now_ms))
        registry.update_leader(NodeId(1), 7, at(now_ms))
        assert registry.stats(at(now_ms)).leader_id == 1


def test_changes_are_told_in_parts() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    since, told = registry.version, list[int]()
    for node_id in range(2, 7):
        registry.register(node(node_id), at(0))
    for _ in range(3):
        changes = registry.changes(since, registry.registry_id, 2)
        assert changes is not None
        told += ids(changes.nodes)
        since = changes.version
    assert (told, since) == ([2, 3, 4, 5, 6], registry.version)


def test_the_version_moves_with_every_change_of_the_list_and_with_nothing_else() -> None:
    registry = make_registry()
    steps: tuple[tuple[Callable[[], object], bool], ...] = (
        (lambda: registry.register(node(1), at(0)), True),  # comes
        (lambda: registry.register(node(1), at(0)), False),
        (lambda: registry.heartbeat(NodeId(1), "", at(0)), False),
        (lambda: registry.heartbeat(NodeId(1), "cluster", at(0)), False),
        (lambda: registry.register(node(1, owner="o"), at(0)), False),  # its owner is not shown
        (lambda: registry.register(node(1, port=2, owner="o"), at(0)), True),  # says something new
        (lambda: registry.update_leader(NodeId(1), 1, at(0)), True),  # leads
        (lambda: registry.update_leader(NodeId(1), 1, at(0)), False),
        (lambda: registry.update_leader(NodeId(1), 2, at(0)), True),  # leads in another term
        (lambda: registry.update_leader(NodeId(9), 2, at(0)), False),
        (lambda: registry.expire(at(500)), True),  # is suspected
        (lambda: registry.heartbeat(NodeId(1), "", at(500)), True),  # is back
        (lambda: registry.expire(at(999)), False),
        (lambda: registry.remove(NodeId(9), at(999)), False),
        (lambda: registry.remove(NodeId(1), at(999)), True),  # leaves
    )
    for place, (step, moves) in enumerate(steps):
        version = registry.version
        step()
        assert (registry.version != version) == moves, place
        registry.check_invariants()


def test_the_version_starts_again_at_one_after_the_largest_and_is_resumed_over_that() -> None:
    memory = make_registry().unsaved(None).memory
    before = MAX_VERSION - 1 - 1_000_000  # what the restart adds
    registry = make_registry(memory=type(memory)(memory.registry_id, memory.gateway_id, before))
    versions = [registry.version]
    for node_id in (1, 2, 3):
        registry.register(node(node_id), at(0))
        versions.append(registry.version)
    assert versions == [MAX_VERSION - 1, MAX_VERSION, 1, 2]
    changes = registry.changes(MAX_VERSION, registry.registry_id)
    assert changes is not None and ids(changes.nodes) == [2, 3]
    assert [event.version for event in changes.events] == [1, 2]


def test_changes_tell_the_last_of_each_node_in_order_and_who_leads() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    registry.register(node(2), at(0))
    since = registry.version
    registry.register(node(3), at(0))
    registry.register(node(4), at(0))
    registry.remove(NodeId(3), at(0))
    registry.register(node(2, port=1, owner="o"), at(0))  # nobody sees it
    registry.update_leader(NodeId(1), 4, at(0))
    changes = registry.changes(since, registry.registry_id)
    assert changes is not None
    assert (ids(changes.nodes), changes.removed, changes.version) == ([4], (3,), registry.version)
    assert changes.leader is not None and changes.leader.record is not None
    assert (changes.leader.record.registration.node_id, changes.leader.term) == (1, 4)
    versions = [*(event.version for event in changes.events), changes.leader.version]
    assert versions == sorted(set(versions))


def test_changes_since_now_are_none_at_all() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    changes = registry.changes(registry.version, registry.registry_id)
    assert changes is not None and changes.events == () and changes.leader is None


def test_nobody_resumes_from_the_beginning_the_future_or_another_registry() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    for version, registry_id in ((0, registry.registry_id), (2, registry.registry_id), (1, "other")):
        assert registry.changes(version, registry_id) is None


def test_who_was_away_for_too_many_departures_reads_everything() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    since = registry.version
    for node_id in range(2, 5000):
        registry.register(node(node_id), at(0))
        registry.remove(NodeId(node_id), at(0))
    assert registry.changes(since, registry.registry_id) is None
    registry.check_invariants()


@pytest.mark.parametrize("settings", [{"node_timeout_ms": 1}, {"max_nodes": 0}, {"rebuild_grace_ms": -1}])
def test_limits_must_be_positive(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must"):
        RegistrySettings(**settings)  # type: ignore[arg-type]  # each is an int


def test_a_restarted_registry_serves_the_same_list_at_once_and_forgets_who_stays_silent() -> None:
    registry = make_registry()
    for node_id in (1, 2):
        registry.register(node(node_id, owner="o"), at(900_000))
    registry.update_leader(NodeId(2), 3, at(900_000))
    started = at(50)  # another machine's life: its monotonic clock began anew
    again = make_registry(memory=registry.unsaved(None).memory, started=started)
    assert (again.registry_id, again.gateway_id) == (registry.registry_id, registry.gateway_id)
    assert listed(again, started) == [1, 2]
    record, leader = again.record(NodeId(1)), again.leader(started)
    assert record is not None and record.status == SUSPECTED
    assert leader is not None and (leader.record.registration.node_id, leader.term) == (2, 3)
    assert again.heartbeat(NodeId(1), "", at(500))
    assert listed(again, at(550)) == [1]
    assert again.expire(at(1050)) == [2]
    record = again.record(NodeId(1))
    assert record is not None and record.status == SUSPECTED
    again.check_invariants()


def test_versions_after_a_restart_are_none_that_were_told_before() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    memory = registry.unsaved(None).memory
    registry.register(node(2), at(0))  # told, but not on disk when it was killed
    again = make_registry(memory=memory)
    assert again.changes(registry.version, again.registry_id) is None


def test_what_is_unsaved_is_what_changed_since_the_last_time() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    first = registry.unsaved(None)
    assert first.is_whole and ids(first.memory.records) == [1]
    registry.register(node(2), at(0))
    registry.remove(NodeId(1), at(0))
    second = registry.unsaved(first.step)
    assert not second.is_whole
    assert (ids(second.memory.records), second.gone) == ([2], (1,))


def test_64_threads_keep_the_invariants_through_a_lock() -> None:
    registry, lock = make_registry(max_nodes=200), threading.Lock()
    clock_ms = 0
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        nonlocal clock_ms
        rng = random.Random(seed)
        try:
            for _ in range(1000):
                with lock:
                    clock_ms += rng.random() < 0.01
                    act(registry, rng, clock_ms)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert registry.version > 0
    registry.check_invariants()


def act(registry: Registry, rng: random.Random, now_ms: int) -> None:
    """One random operation."""
    node_id, now = NodeId(rng.randint(1, 250)), at(now_ms)
    match rng.randrange(6):
        case 0:
            try:
                registry.register(node(node_id, owner=rng.choice(["", "o", "p"])), now)
            except (AlreadyExists, Busy):
                pass
        case 1 | 2:
            registry.heartbeat(node_id, "", now)
        case 3:
            registry.remove(node_id, now)
        case 4:
            registry.update_leader(node_id, 0, now)
        case _:
            assert len(registry.sample(now, node_id, 8)) <= 8
            assert all(record.status == ACTIVE for record in registry.page(now, node_id, 0, 8).records)
