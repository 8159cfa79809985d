"""Who may found a cluster: one node at most, and nobody once a cluster is known."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from gateway.founding_memory import ASK_AGAIN_MS, MAX_CLUSTER_IDS
from gateway.registry import Registry
from raftgossip.ids import NodeId
from tests.support.registry_builders import TIMEOUT_MS, at, make_registry, node

GRACE_MS = 400


def test_exactly_the_first_node_is_bootstrap() -> None:
    registry = make_registry()
    assert [registry.register(node(node_id), at(0)).is_bootstrap for node_id in (5, 2, 9)] == [True, False, False]


@pytest.mark.parametrize("can_wait", [False, True])
@pytest.mark.parametrize("grace_ms", [0, GRACE_MS])
def test_of_100_nodes_that_come_at_the_same_moment_exactly_one_is_bootstrap(can_wait: bool, grace_ms: int) -> None:
    registry = make_registry(rebuild_grace_ms=grace_ms)
    order = list(range(1, 101))
    random.Random(7).shuffle(order)
    named: set[int] = set()
    for now_ms in (0, GRACE_MS, GRACE_MS + 1):
        for node_id in order:
            new = node(node_id, owner=f"o{node_id}", can_wait=can_wait)
            if registry.register(new, at(now_ms)).is_bootstrap:
                named.add(node_id)
    assert len(named) == 1


def test_a_gateway_without_memory_lets_those_wait_that_can() -> None:
    registry = make_registry(rebuild_grace_ms=GRACE_MS)
    early = registry.register(node(1, can_wait=True), at(100))
    late = registry.register(node(1, can_wait=True), at(GRACE_MS))
    assert (early.is_bootstrap, early.bootstrap_wait_ms) == (False, GRACE_MS - 100)
    assert (late.is_bootstrap, late.bootstrap_wait_ms) == (True, 0)


def test_a_client_that_cannot_wait_gets_its_answer_at_once() -> None:
    registry = make_registry(rebuild_grace_ms=GRACE_MS)
    outcome = registry.register(node(1), at(0))
    assert (outcome.is_bootstrap, outcome.bootstrap_wait_ms) == (True, 0)


def _member_registers(registry: Registry) -> None:
    registry.register(node(9, cluster_id="c"), at(10))


def _member_beats(registry: Registry) -> None:
    assert not registry.heartbeat(NodeId(9), "c", at(10))  # of a node that the gateway has forgotten


def _leader_is_reported(registry: Registry) -> None:
    registry.register(node(9), at(10))
    registry.update_leader(NodeId(9), 0, at(10))
    registry.remove(NodeId(9), at(10))


@pytest.mark.parametrize("sign", [_member_registers, _member_beats, _leader_is_reported])
@pytest.mark.parametrize("can_wait", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_sign_of_a_cluster_ends_all_founding_for_ever(
    sign: Callable[[Registry], None], can_wait: bool, restarts: bool
) -> None:
    registry = make_registry(rebuild_grace_ms=GRACE_MS)
    sign(registry)
    if restarts:
        registry = make_registry(rebuild_grace_ms=GRACE_MS, memory=registry.unsaved(None).memory)
    for now_ms in (20, GRACE_MS, 10 * TIMEOUT_MS):
        outcome = registry.register(node(1, can_wait=can_wait), at(now_ms))
        assert (outcome.is_bootstrap, outcome.bootstrap_wait_ms) == (False, 0)
    registry.check_invariants()


def test_a_member_that_comes_back_is_never_bootstrap() -> None:
    assert not make_registry().register(node(1, cluster_id="c"), at(0)).is_bootstrap


def test_a_lonely_bootstrap_node_hears_it_again_but_not_when_others_came() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    assert registry.register(node(1), at(1)).is_bootstrap
    registry.register(node(2), at(2))
    assert not registry.register(node(1), at(3)).is_bootstrap


def test_the_named_node_that_proves_itself_hears_it_again_though_others_came() -> None:
    registry = make_registry()
    registry.register(node(1, owner="o", can_wait=True), at(0))
    registry.register(node(2, owner="p", can_wait=True), at(2))
    assert not registry.register(node(2, owner="p", can_wait=True), at(2)).is_bootstrap
    assert registry.register(node(1, port=5, owner="o", can_wait=True), at(3)).is_bootstrap


@pytest.mark.parametrize("way", ["removed", "silent"])
def test_a_bootstrap_node_that_leaves_is_replaced_until_somebody_leads(way: str) -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    if way == "removed":
        registry.remove(NodeId(1), at(0))
    assert registry.register(node(2), at(TIMEOUT_MS)).is_bootstrap
    registry.update_leader(NodeId(2), 1, at(TIMEOUT_MS))
    registry.remove(NodeId(2), at(TIMEOUT_MS))
    assert not registry.register(node(3), at(TIMEOUT_MS)).is_bootstrap


def test_a_named_node_is_remembered_over_a_restart_and_nobody_else_is_named() -> None:
    registry = make_registry()
    registry.register(node(1, owner="o", can_wait=True), at(0))
    again = make_registry(rebuild_grace_ms=GRACE_MS, memory=registry.unsaved(None).memory)
    assert not again.register(node(2, owner="p", can_wait=True), at(1)).is_bootstrap
    assert again.register(node(1, owner="o", can_wait=True), at(1)).is_bootstrap
    again.check_invariants()


def test_a_named_node_that_was_not_registered_here_is_waited_for_before_another_is_named() -> None:
    registry = make_registry()
    registry.register(node(1), at(0))
    memory = registry.unsaved(None).memory
    forgetful = type(memory)(memory.registry_id, memory.gateway_id, memory.version, bootstrap=memory.bootstrap)
    again = make_registry(memory=forgetful)
    again.check_invariants()
    assert not again.register(node(2), at(TIMEOUT_MS - 1)).is_bootstrap
    assert again.register(node(3), at(TIMEOUT_MS)).is_bootstrap


def test_an_empty_memory_is_none() -> None:
    memory = make_registry().unsaved(None).memory
    again = make_registry(rebuild_grace_ms=GRACE_MS, memory=memory)
    assert again.register(node(1, can_wait=True), at(0)).bootstrap_wait_ms == GRACE_MS


def test_every_fact_about_founding_is_counted_once() -> None:
    registry = make_registry()
    counts = [registry.num_facts]
    registry.register(node(1), at(0))  # is named
    counts.append(registry.num_facts)
    registry.register(node(2, cluster_id="c"), at(0))
    counts.append(registry.num_facts)
    registry.heartbeat(NodeId(2), "c", at(0))
    counts.append(registry.num_facts)
    registry.update_leader(NodeId(2), 1, at(0))
    registry.update_leader(NodeId(1), 2, at(0))
    counts.append(registry.num_facts)
    assert counts == [0, 1, 2, 2, 3]


def test_strangers_cannot_fill_the_memory_with_cluster_ids() -> None:
    registry = make_registry()
    for number in range(10 * MAX_CLUSTER_IDS):
        registry.heartbeat(NodeId(1), f"c{number}", at(0))
    assert len(registry.cluster_ids) == MAX_CLUSTER_IDS


def test_a_gateway_that_has_not_heard_the_others_names_nobody() -> None:
    registry = make_registry(others=("other:1",))
    waiting = registry.register(node(1, can_wait=True), at(0))
    original = registry.register(node(2), at(0))
    assert (waiting.is_bootstrap, waiting.bootstrap_wait_ms) == (False, ASK_AGAIN_MS)
    assert (original.is_bootstrap, original.bootstrap_wait_ms) == (False, 0)
