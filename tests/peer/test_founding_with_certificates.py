"""With certificates a gateway's word founds nothing, and candidates are counted by what they answer themselves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from raftgossip.errors import Busy, NotFound, RaftGossipError, TransportError
from raftgossip.ids import NodeId
from raftgossip.peer.founding import FoundingRules, speaker_of
from raftgossip.peer.front import Front
from raftgossip.runtime.service import Hints, JoinAnswer
from tests.support.founding_world import (
    ForwardingGateway,
    ListedPeers,
    Search,
    World,
    address_of,
    ask_of,
    has_no_cluster,
    hints,
    may_found,
    peers,
    together,
)

IN = JoinAnswer("c1", (), None, None)
EXPECT_3 = FoundingRules(expect=3, needs_proof=True)


def test_a_name_by_the_gateway_founds_nothing_and_what_to_do_is_said() -> None:
    search = Search(rules=FoundingRules(needs_proof=True))

    assert search.waits(hints(bootstrap=True))
    assert any("start one node with --found, or all with --expect N" in text for text in search.told)
    assert not search.intent.is_declared


def test_invented_candidates_count_nothing() -> None:
    search = Search(1, EXPECT_3)
    search.answers = {2: [has_no_cluster(2)]}

    assert search.waits(hints(2, 9, bootstrap=True))
    assert not any(search.declared)


@pytest.mark.parametrize("refusal", [NotFound("no such thing"), Busy("too often"), TransportError("closed")])
def test_who_does_not_say_that_it_has_no_cluster_is_no_candidate(refusal: RaftGossipError) -> None:
    search = Search(1, EXPECT_3)
    search.answers = {2: [has_no_cluster(2)], 9: [refusal]}

    assert search.waits(hints(2, 9))
    assert not any(search.declared)


def test_several_addresses_of_one_peer_are_one_candidate() -> None:
    search = Search(1, EXPECT_3)
    search.answers = {number: [has_no_cluster(2)] for number in (2, 12, 13)}

    assert search.waits(hints(2, 12, 13))
    assert not any(search.declared)


def test_addresses_that_lead_back_to_the_node_are_no_candidates() -> None:
    search = Search(1, EXPECT_3)
    search.answers = {number: [has_no_cluster(1), may_found(1), TransportError("closed")] for number in (12, 13)}

    assert search.waits(hints(12, 13))


def test_a_candidate_that_falls_silent_counts_no_longer() -> None:
    search = Search(1, EXPECT_3)
    search.answers = {2: [has_no_cluster(2), TransportError("hidden")], 9: [has_no_cluster(9)]}

    assert search.waits(hints(2, 9))
    assert search.declared[2:4] == [True, True] and not any(search.declared[4:])


def test_a_candidate_that_the_gateway_then_hides_counts_no_longer() -> None:
    search = Search(1, EXPECT_3)
    search.answers = {2: [has_no_cluster(2)], 9: [has_no_cluster(9)]}

    assert search.waits(ListedPeers(Hints(False, peers(2, 9)), Hints(False, peers(9))))


def test_another_address_of_the_node_itself_does_not_keep_it_from_founding() -> None:
    search = Search(1, EXPECT_3)
    search.answers = {2: [has_no_cluster(2)], 9: [has_no_cluster(9)], 12: [has_no_cluster(1), may_found(1)]}

    assert search.run(hints(2, 9, 12)) is None


def test_nobody_yields_to_a_larger_id_that_the_gateway_calls_a_smaller_one() -> None:
    search = Search(5, EXPECT_3)
    search.answers = {9: [has_no_cluster(9), may_found(9), has_no_cluster(9)], 12: [has_no_cluster(12)]}

    assert search.run(ListedPeers(Hints(False, ((NodeId(3), address_of(9)), *peers(12))))) is None
    assert all(search.declared[2:])


def test_candidates_that_answered_let_the_smallest_found() -> None:
    smallest, other = Search(1, EXPECT_3), Search(2, EXPECT_3)
    smallest.answers = {2: [has_no_cluster(2)], 9: [has_no_cluster(9)]}
    other.answers = {1: [has_no_cluster(1), may_found(1), IN], 9: [has_no_cluster(9)]}

    assert smallest.run(hints(2, 9)) is None
    assert other.run(hints(1, 9)) == IN
    assert not any(other.declared)


def test_candidates_are_known_by_their_own_word_not_by_the_list() -> None:
    search = Search(5, EXPECT_3)
    search.answers = {12: [has_no_cluster(2)], 13: [has_no_cluster(9)]}
    assert search.waits(hints(12, 13)), "node 2 is smaller"

    search = Search(1, EXPECT_3)
    search.answers = {12: [has_no_cluster(2)], 13: [has_no_cluster(9)]}
    assert search.run(ListedPeers(Hints(False, ((NodeId(-1), address_of(12)), *peers(13))))) is None


@pytest.mark.parametrize("is_declared", [False, True])
def test_a_peer_without_a_cluster_says_who_it_is(is_declared: bool) -> None:
    no_models: Any = None
    front = Front(NodeId(7), no_models)
    front.intent.is_declared = is_declared

    with pytest.raises((NotFound, Busy)) as refusal:
        asyncio.run(front.join(ask_of(2)))
    assert isinstance(refusal.value, NotFound | Busy)
    assert speaker_of(refusal.value) == 7
    assert str(refusal.value) == str(may_found(7) if is_declared else has_no_cluster(7))


# --- many at once


@pytest.mark.parametrize("to_all", [False, True])
def test_three_that_expect_each_other_make_one_cluster(to_all: bool) -> None:
    for seed in range(60):
        world = together(seed, 3, 1 + seed % 2, to_all, EXPECT_3)
        assert world.num_founded == 1, f"seed {seed}"
        assert len({node.cluster_id for node in world.nodes.values()}) == 1, f"seed {seed}"


def with_a_forwarding_gateway(seed: int, rules: dict[int, FoundingRules], num_turns: int = 4_000) -> World:
    """So many turns of the loop, then everybody who still waits is stopped."""
    world = World(seed, lag=1 + seed % 9)

    async def main() -> None:
        gateway = ForwardingGateway(world)
        async with asyncio.TaskGroup() as group:
            lives = [group.create_task(world.live(each, [gateway], rule)) for each, rule in rules.items()]
            for _ in range(num_turns):
                await asyncio.sleep(0)
            for life in lives:
                life.cancel()

    asyncio.run(main())
    return world


def test_no_gateway_makes_a_second_cluster_whatever_it_says() -> None:
    num_founded = 0
    for seed in range(60):
        world = with_a_forwarding_gateway(seed, dict.fromkeys((3, 5, 8), EXPECT_3))
        assert world.num_founded <= 1, f"seed {seed}"
        num_founded += world.num_founded
    assert num_founded > 30, "a lie now and then only delays"


def test_newcomers_beside_a_cluster_found_none_whatever_the_gateway_says() -> None:
    rules = {8: FoundingRules(found=True, needs_proof=True), 3: EXPECT_3, 5: FoundingRules(needs_proof=True)}
    for seed in range(60):
        assert with_a_forwarding_gateway(seed, rules).num_founded == 1, f"seed {seed}"
