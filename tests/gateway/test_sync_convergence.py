"""Several gateways: whatever happens in whatever order, they come to hold one list, and then stand still."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raftgossip.errors import AlreadyExists, Busy, CommandRefused
from raftgossip.ids import NodeId
from tests.support.gateway_group import GatewayGroup
from tests.support.registry_builders import node

PLACES = st.integers(0, 2)
NODE_IDS = st.integers(1, 3)
STEPS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 3, 100, 499, 600]), st.just(0), st.just("")),
    st.tuples(st.just("sync"), PLACES, PLACES, st.just("")),
    st.tuples(st.sampled_from(["heartbeat", "remove"]), PLACES, NODE_IDS, st.just("")),
    st.tuples(st.sampled_from(["lead 0", "lead 1", "lead 2"]), PLACES, NODE_IDS, st.just("")),
    st.tuples(st.just("cluster"), PLACES, st.just(0), st.sampled_from(["c", "d"])),
    st.tuples(st.sampled_from(["register 1", "register 2"]), PLACES, NODE_IDS, st.sampled_from(["", "o", "p"])),
)


def play(group: GatewayGroup, step: tuple[str, int, int, str]) -> None:
    """One step at one gateway; refusals are what they are."""
    what, place, number, text = step
    if what == "wait":
        group.now_ms += place
        return
    if what == "sync":
        if place != number:
            group.sync(place, number)
        return
    registry, now, node_id = group.registries[place], group.now(place), NodeId(max(1, number))
    kind, _, argument = what.partition(" ")
    try:
        match kind:
            case "heartbeat":
                registry.heartbeat(node_id, "", now)
            case "remove":
                registry.remove(node_id, now)
            case "lead":
                registry.update_leader(node_id, int(argument), now)
            case "cluster":
                registry.heartbeat(node_id, text, now)
            case _:
                registry.register(node(number, port=int(argument), owner=text), now)
    except (AlreadyExists, Busy, CommandRefused):
        pass


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=50))
def test_three_gateways_converge_and_then_stand_still(steps: list[tuple[str, int, int, str]]) -> None:
    group = GatewayGroup(3)
    for step in steps:
        play(group, step)
        for registry in group.registries:
            registry.check_invariants()
    group.settle()
    assert group.view(1) == group.view(0)
    assert group.view(2) == group.view(0)
    for registry in group.registries:
        registry.check_invariants()


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=30), PLACES)
def test_a_node_that_is_heard_after_all_that_is_on_every_list(
    steps: list[tuple[str, int, int, str]], place: int
) -> None:
    group = GatewayGroup(3)
    for step in steps:
        play(group, step)
    group.settle()
    group.now_ms += 50
    registry, now = group.registries[place], group.now(place)
    if not registry.heartbeat(NodeId(1), "", now) and registry.record(NodeId(1)) is None:
        registry.register(node(1), now)
    registry.heartbeat(NodeId(1), "", now)
    group.settle()
    for other in group.registries:
        record = other.record(NodeId(1))
        assert record is not None and record.status == "active"
        assert (record.gateway_id or other.gateway_id) == registry.gateway_id
