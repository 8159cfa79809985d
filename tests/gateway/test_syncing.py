"""What gateways make of what they tell each other, one rule at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.change_log import MAX_GONE
from gateway.own_claims import MAX_REMOVALS
from gateway.registry import Registry
from gateway.syncing import MAX_CHANGES, MAX_MIRRORS, Claim, ClaimChange, SyncAnswer, join_answers
from raftgossip.errors import AlreadyExists
from raftgossip.ids import NodeId
from tests.support.gateway_group import GatewayGroup
from tests.support.registry_builders import TIMEOUT_MS, at, ids, listed, make_registry, node


def holders(group: GatewayGroup, node_id: int = 1) -> list[int | None]:
    """Where each gateway believes the node to be registered, by place; None: it knows no such node."""
    places = {registry.gateway_id: place for place, registry in enumerate(group.registries)}
    found: list[int | None] = []
    for registry in group.registries:
        record = registry.record(NodeId(node_id))
        found.append(None if record is None else places[record.gateway_id or registry.gateway_id])
    return found


def claims(registry: Registry) -> list[int]:
    """The nodes that a gateway claims itself."""
    return ids(registry.unsaved(None).memory.records)


def test_a_node_is_listed_everywhere_within_one_reading() -> None:
    group = GatewayGroup(3)
    group.registries[0].register(node(1), group.now(0))
    group.sync_all()
    assert holders(group) == [0, 0, 0]
    assert [listed(registry, group.now(place)) for place, registry in enumerate(group.registries)] == [[1]] * 3


@pytest.mark.parametrize("target", [1, 2])
def test_a_node_that_beats_at_another_gateway_is_held_by_that_one_alone(target: int) -> None:
    group = GatewayGroup(3)
    group.registries[0].register(node(1, port=7, owner="o"), group.now(0))
    group.settle()
    versions = [registry.version for registry in group.registries]
    group.now_ms += 10
    assert group.registries[target].heartbeat(NodeId(1), "", group.now(target))
    group.settle()
    assert holders(group) == [target] * 3
    assert [registry.version for registry in group.registries] == versions  # nobody who reads the list sees a change
    group.hand_over()
    assert [claims(registry) for registry in group.registries] == [[1] if place == target else [] for place in range(3)]


def test_the_gateway_that_heard_a_node_last_holds_it_though_another_claimed_it_meanwhile() -> None:
    group = GatewayGroup(2)
    group.registries[0].register(node(1, owner="o"), group.now(0))
    group.settle()
    for place in (1, 0):
        group.now_ms += 10
        group.registries[place].heartbeat(NodeId(1), "", group.now(place))
    group.settle()
    group.hand_over()
    assert holders(group) == [0, 0]
    assert [claims(registry) for registry in group.registries] == [[1], []]


def test_one_node_that_registered_at_two_gateways_keeps_its_first_time_and_its_last_address() -> None:
    group = GatewayGroup(2)
    group.registries[0].register(node(1, port=1, owner="o"), group.now(0))
    joined = group.now(0).wall_seconds
    group.now_ms += 10
    group.registries[1].register(node(1, port=2, owner="o"), group.now(1))
    group.settle()
    group.hand_over()
    assert holders(group) == [1, 1]
    assert [claims(registry) for registry in group.registries] == [[], [1]]
    for registry in group.registries:
        record = registry.record(NodeId(1))
        assert record is not None
        assert (record.joined_seconds, record.registration.address.port) == (joined, 2)


@pytest.mark.parametrize("reader_first", [0, 1])
def test_of_two_nodes_with_one_id_the_first_keeps_it_and_the_other_is_told(reader_first: int) -> None:
    group = GatewayGroup(3)
    group.registries[0].register(node(1, port=1, owner="p"), group.now(0))
    group.registries[1].register(node(1, port=2, owner="o"), group.now(1))  # an hour later, by its gateway's clock
    group.sync(reader_first, 1 - reader_first)
    group.settle()
    assert holders(group) == [0, 0, 0]
    loser, now = group.registries[1], group.now(1)
    assert not loser.heartbeat(NodeId(1), "", now)
    with pytest.raises(AlreadyExists):
        loser.register(node(1, port=2, owner="o"), now)
    assert group.registries[0].heartbeat(NodeId(1), "", group.now(0))


def test_of_two_nodes_that_joined_at_the_same_time_the_owner_that_sorts_first_keeps_the_id() -> None:
    first, second = make_registry(others=("b",), seed=1), make_registry(others=("a",), seed=2)
    first.register(node(1, port=1, owner="p"), at(0))
    second.register(node(1, port=2, owner="o"), at(0))
    for _ in range(2):
        for reading, told, source in ((first, second, "b"), (second, first, "a")):
            position = reading.sync_position(source)
            reading.merge(source, told.response_for(reading.gateway_id, *position, at(0)), at(0))
    records = [registry.record(NodeId(1)) for registry in (first, second)]
    assert [record and record.registration.owner for record in records] == ["o", "o"]


def test_a_silent_node_without_an_owner_is_replaced_only_at_its_own_gateway() -> None:
    group = GatewayGroup(2)
    group.registries[0].register(node(1, port=1), group.now(0))
    group.settle()
    group.now_ms += TIMEOUT_MS // 2
    group.settle()
    with pytest.raises(AlreadyExists):
        group.registries[1].register(node(1, port=2), group.now(1))
    assert group.registries[0].register(node(1, port=2), group.now(0)).status == "updated"


def test_a_node_removed_elsewhere_is_gone_everywhere_and_does_not_come_back() -> None:
    group = GatewayGroup(3)
    group.registries[0].register(node(1), group.now(0))
    group.settle()
    assert group.registries[1].remove(NodeId(1), group.now(1))
    group.sync(2, 1)  # and does not read the gateway that still claims it
    assert holders(group) == [0, None, None]
    group.sync(1, 0)
    group.sync(2, 0)
    assert holders(group) == [0, None, None]
    group.settle()
    assert holders(group) == [None, None, None]
    for _ in range(5):
        group.now_ms += TIMEOUT_MS // 2
        group.settle()
        assert holders(group) == [None, None, None]
    assert not group.registries[0].heartbeat(NodeId(1), "", group.now(0))


def test_a_removal_in_ignorance_of_a_move_does_not_undo_it_and_one_in_knowledge_does() -> None:
    group = GatewayGroup(2)
    group.registries[0].register(node(1, owner="o"), group.now(0))
    group.settle()
    group.registries[1].remove(NodeId(1), group.now(1))
    group.registries[1].register(node(1, owner="o"), group.now(1))
    group.settle()
    assert holders(group) == [1, 1]
    group.registries[0].remove(NodeId(1), group.now(0))
    group.settle()
    assert holders(group) == [None, None]


def test_a_removed_node_may_register_again_at_any_gateway() -> None:
    group = GatewayGroup(3)
    group.registries[0].register(node(1), group.now(0))
    group.settle()
    group.registries[1].remove(NodeId(1), group.now(1))  # its clock is an hour ahead
    group.settle()
    group.registries[2].register(node(1), group.now(2))  # whose clock is behind
    group.settle()
    assert holders(group) == [2, 2, 2]


def test_removals_are_bounded_and_forgotten() -> None:
    registry = make_registry(others=("b",))
    for node_id in range(1, MAX_REMOVALS + 100):
        registry.register(node(node_id), at(0))
        registry.remove(NodeId(node_id), at(0))
    registry.check_invariants()
    assert len(registry.response_for("b", 0, "", at(0)).changes) == MAX_CHANGES
    assert registry.response_for("b", 0, "", at(TIMEOUT_MS)).changes == ()
    registry.check_invariants()


def test_suspicion_and_its_end_are_told() -> None:
    group = GatewayGroup(2)
    group.registries[0].register(node(1), group.now(0))
    group.settle()
    statuses: list[str] = []
    for silence_ms in (500, 499):
        group.now_ms += silence_ms
        if statuses:
            group.registries[0].heartbeat(NodeId(1), "", group.now(0))
        group.settle()
        record = group.registries[1].record(NodeId(1))
        statuses.append("gone" if record is None else record.status)
    assert statuses == ["suspected", "active"]


def test_heartbeats_at_one_gateway_keep_a_node_alive_at_all_and_move_no_version() -> None:
    group = GatewayGroup(3)
    group.registries[0].register(node(1), group.now(0))
    group.settle()
    before = group.positions()
    for _ in range(20):
        group.now_ms += TIMEOUT_MS // 5
        group.registries[0].heartbeat(NodeId(1), "", group.now(0))
        group.sync_all()
    assert group.positions() == before
    assert holders(group) == [0, 0, 0]


def test_a_gateway_out_of_contact_is_like_a_silent_node() -> None:
    group = GatewayGroup(2)
    for node_id in (1, 2):
        group.registries[0].register(node(node_id), group.now(0))
    group.settle()
    reader = group.registries[1]
    start_ms, seen = group.now_ms, []
    for silence_ms in (499, 500, 999, 1000):
        group.now_ms = start_ms + silence_ms
        stats = reader.stats(group.now(1))
        reader.check_invariants()
        seen.append((stats.active_nodes, stats.suspected_nodes))
    assert seen == [(2, 0), (0, 2), (0, 2), (0, 0)]


def test_contact_brings_back_what_was_suspected_for_want_of_it() -> None:
    group = GatewayGroup(2)
    group.registries[0].register(node(1), group.now(0))
    group.settle()
    group.now_ms += 300
    group.registries[0].heartbeat(NodeId(1), "", group.now(0))
    group.now_ms += 300
    assert listed(group.registries[1], group.now(1)) == []
    assert group.sync(1, 0).changes == ()
    assert listed(group.registries[1], group.now(1)) == [1]
    group.registries[1].check_invariants()


def test_nodes_of_a_lost_gateway_that_come_here_stay() -> None:
    group = GatewayGroup(2)
    for node_id in (1, 2):
        group.registries[0].register(node(node_id, owner="o"), group.now(0))
    group.settle()
    group.now_ms += 900
    group.registries[1].heartbeat(NodeId(1), "", group.now(1))
    group.now_ms += 100
    assert listed(group.registries[1], group.now(1)) == [1]
    assert group.registries[1].stats(group.now(1)).total_nodes == 1


def test_a_delta_that_comes_after_its_base_was_forgotten_is_made_up_for() -> None:
    group = GatewayGroup(2)
    group.registries[0].register(node(1), group.now(0))
    group.settle()
    reader, told = group.registries[1], group.registries[0]
    version, log_id = reader.sync_position("gateway:0")
    group.now_ms += TIMEOUT_MS
    told.register(node(1), group.now(0))
    told.register(node(2), group.now(0))
    answer = told.response_for(reader.gateway_id, version, log_id, group.now(0))
    assert answer.is_delta
    reader.merge("gateway:0", answer, group.now(1))
    group.settle()
    assert listed(reader, group.now(1)) == [1, 2]


def test_a_list_that_is_read_in_parts_is_read_whole_though_many_have_left_since_its_oldest_came() -> None:
    told = make_registry(others=("b",))
    for node_id in range(1, MAX_CHANGES + 2):
        told.register(node(node_id), at(0))
    for node_id in range(MAX_CHANGES + 2, MAX_CHANGES + MAX_GONE + 4):
        told.register(node(node_id), at(0))
        told.remove(NodeId(node_id), at(0))
    parts = [told.response_for("b", 0, "", at(0))]
    told.remove(NodeId(1), at(0))  # which the first part told
    while parts[-1].version != told.response_for("b", 0, "", at(0)).version and len(parts) < 9:
        parts.append(told.response_for("b", parts[-1].version, parts[-1].log_id, at(0)))
        if len(parts[-1].changes) < MAX_CHANGES:
            break
    whole = join_answers(parts)
    assert not whole.is_delta
    there = {
        change.node_id: change.claim is not None and change.claim.registration is not None for change in whole.changes
    }
    assert sorted(node_id for node_id, is_there in there.items() if is_there) == list(range(2, MAX_CHANGES + 2))
    again = told.response_for("b", whole.version, whole.log_id, at(0))
    assert (again.is_delta, again.log_id, again.changes) == (True, whole.log_id, ())


@pytest.mark.parametrize("begun", ["x", "-1", "999999"])
def test_a_log_id_that_was_never_told_begins_at_the_beginning(begun: str) -> None:
    told = make_registry(others=("b",))
    told.register(node(1), at(0))
    own_id = told.response_for("b", 0, "", at(0)).log_id.partition("/")[0]
    assert not told.response_for("b", 1, f"{own_id}/{begun}", at(0)).is_delta


def test_a_gateway_that_restarts_with_less_is_believed_at_once() -> None:
    group = GatewayGroup(2)
    for node_id in (1, 2):
        group.registries[0].register(node(node_id), group.now(0))
    group.settle()
    memory = group.registries[0].unsaved(None).memory
    without = replace(memory, records=tuple(record for record in memory.records if record.node_id == 1))
    group.registries[0] = make_registry(20, others=("gateway:1",), memory=without, started=group.now(0))
    assert group.sync(1, 0).is_delta is False
    assert holders(group, 1) == [0, 0]
    assert holders(group, 2) == [None, None]
    group.settle()


def test_a_gateway_that_comes_back_without_memory_hides_nobody_meanwhile() -> None:
    group = GatewayGroup(2)
    group.registries[0].register(node(1, owner="o"), group.now(0))
    group.settle()
    group.now_ms += 100
    group.registries[0] = make_registry(20, others=("gateway:1",), seed=77, started=group.now(0))
    group.settle()
    assert listed(group.registries[1], group.now(1)) == [1]
    group.registries[0].register(node(1, owner="o"), group.now(0))
    group.settle()
    assert holders(group) == [0, 0]


def test_the_leader_of_the_latest_term_counts_everywhere_and_no_earlier_one_comes_back() -> None:
    group = GatewayGroup(3)
    for place in (0, 1):
        group.registries[place].register(node(place + 1), group.now(place))
        group.registries[place].update_leader(NodeId(place + 1), 5 - place, group.now(place))
    group.settle()
    assert [group.view(place)["leader"] for place in range(3)] == [(1, 5)] * 3
    group.registries[1].update_leader(NodeId(2), 6, group.now(1))
    group.settle()
    assert [group.view(place)["leader"] for place in range(3)] == [(2, 6)] * 3
    group.registries[2].remove(NodeId(2), group.now(2))
    group.settle()
    assert [group.view(place)["leader"] for place in range(3)] == [None] * 3


def test_a_cluster_known_to_one_gateway_ends_founding_at_all() -> None:
    group = GatewayGroup(3)
    group.registries[2].heartbeat(NodeId(9), "c", group.now(2))
    group.settle()
    for place, registry in enumerate(group.registries):
        assert registry.cluster_ids == ("c",)
        assert not registry.register(node(place + 1), group.now(place)).is_bootstrap


@pytest.mark.parametrize("place", [0, 1, 2])
def test_nodes_that_wait_at_any_gateway_see_exactly_one_of_them_named(place: int) -> None:
    group = GatewayGroup(3)
    named = set()
    for _ in range(4):
        for node_id in (1, 2, 3):
            new = node(node_id, owner=f"o{node_id}", can_wait=True)
            if group.registries[place].register(new, group.now(place)).is_bootstrap:
                named.add(node_id)
        group.sync_all()
    assert len(named) == 1


@pytest.mark.parametrize("grace_ms", [0, 300])
def test_100_nodes_at_three_gateways_get_exactly_one_bootstrap(grace_ms: int) -> None:
    group = GatewayGroup(3, grace_ms)
    for registry in group.registries:
        registry.change_settings(replace(registry.settings, max_nodes=200))
    named = set()
    for _ in range(6):
        for node_id in range(1, 101):
            place = node_id % 3
            new = node(node_id, owner=f"o{node_id}", can_wait=True)
            if group.registries[place].register(new, group.now(place)).is_bootstrap:
                named.add(node_id)
        group.sync(0, 1)
        group.sync(2, 1)
        group.sync_all()
        group.now_ms += 100
    assert len(named) == 1


def test_who_was_named_is_named_again_at_a_gateway_that_did_not_name_it() -> None:
    group = GatewayGroup(2)
    group.settle()
    names = [registry.gateway_id for registry in group.registries]
    decider, other = names.index(min(names)), names.index(max(names))
    first = node(1, owner="o", can_wait=True)
    assert group.registries[decider].register(first, group.now(decider)).is_bootstrap
    group.settle()
    assert group.registries[other].register(first, group.now(other)).is_bootstrap
    assert not group.registries[other].register(node(2, owner="p", can_wait=True), group.now(other)).is_bootstrap


def test_a_node_that_waits_elsewhere_is_named_as_soon_as_it_is_read_of() -> None:
    group = GatewayGroup(2)
    group.settle()
    names = [registry.gateway_id for registry in group.registries]
    decider, other = names.index(min(names)), names.index(max(names))
    group.registries[other].register(node(1, can_wait=True), group.now(other))
    group.sync(decider, other)
    assert group.registries[decider].num_facts == 1  # before anything is answered


def test_only_the_gateway_with_the_smallest_id_names_anybody() -> None:
    group = GatewayGroup(3)
    group.settle()
    smallest = min(registry.gateway_id for registry in group.registries)
    for place, registry in enumerate(group.registries):
        outcome = registry.register(node(place + 1), group.now(place))
        assert outcome.is_bootstrap == (registry.gateway_id == smallest)


def test_a_gateway_that_is_asked_by_one_that_nobody_told_it_of_counts_it_too() -> None:
    registry = make_registry(seed=1)
    registry.response_for("0" * 32, 0, "", at(0))
    assert registry.gateway_ids == ("0" * 32, registry.gateway_id)
    assert not registry.register(node(1), at(1)).is_bootstrap
    assert registry.register(node(1), at(TIMEOUT_MS + 1)).is_bootstrap  # it never asked again


def test_a_gateway_that_is_listed_among_its_own_others_does_no_harm() -> None:
    registry = make_registry(others=("self",))
    registry.register(node(1), at(0))
    registry.merge("self", registry.response_for(registry.gateway_id, 0, "", at(0)), at(0))
    registry.check_invariants()
    assert registry.gateway_ids == (registry.gateway_id,)
    assert claims(registry) == [1]


def test_one_gateway_cannot_fill_the_memory_of_another() -> None:
    registry = make_registry(max_nodes=5, others=("b",))
    for number in range(3 * MAX_MIRRORS):
        changes = tuple(
            ClaimChange(1, NodeId(node_id), Claim(NodeId(node_id), node(node_id), 1)) for node_id in range(1, 100)
        )
        registry.merge(f"source {number}", SyncAnswer(f"gateway {number}", "log", 1, False, changes), at(number))
        registry.check_invariants()
    assert registry.stats(at(100)).total_nodes <= 5


def test_a_reader_that_asks_from_the_middle_reads_the_rest() -> None:
    registry = make_registry(others=("b",))
    for node_id in range(1, MAX_CHANGES + 11):
        registry.register(node(node_id), at(0))
    first = registry.response_for("b", 0, "", at(0))
    second = registry.response_for("b", first.version, first.log_id, at(0))
    assert (len(first.changes), first.is_delta) == (MAX_CHANGES, False)
    assert ([change.node_id for change in second.changes], second.is_delta) == (
        list(range(MAX_CHANGES + 1, MAX_CHANGES + 11)),
        True,
    )


def test_parts_count_from_the_last_that_begins_anew() -> None:
    def part(version: int, is_delta: bool) -> SyncAnswer:
        change = ClaimChange(version, NodeId(version), None)
        return SyncAnswer("g", "l", version, is_delta, (change,))

    joined = join_answers([part(1, True), part(2, False), part(3, True)])
    assert (joined.is_delta, joined.version) == (False, 3)
    assert [change.node_id for change in joined.changes] == [2, 3]
    assert join_answers([part(1, True), part(2, True)]).is_delta
