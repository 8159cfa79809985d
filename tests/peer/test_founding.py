"""Found or join: who may found a cluster, and that two never come of it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftgossip.errors import (
    AlreadyExists,
    Busy,
    ClusterUnreachable,
    ConfigError,
    NoQuorum,
    NotFound,
    NotLeader,
    RaftGossipError,
    TransportError,
    Unauthenticated,
)
from raftgossip.ids import Address, NodeId
from raftgossip.peer.discovery import CachedDiscovery
from raftgossip.peer.founding import PATIENCE_MS, SILENT_ROUNDS, FoundingRules
from raftgossip.runtime.service import Hints, JoinAnswer
from raftgossip.runtime.store import MemoryStore
from tests.support.founding_world import ListedPeers, Search, address_of, hints, peers, together

IN = JoinAnswer("c1", (), None, None)
NOBODY_YET = NotFound("no cluster yet")


# --- joining


def test_a_member_lets_the_node_in() -> None:
    search = Search()
    search.answers = {1: [NotLeader(None)], 2: [IN]}

    assert search.run(hints(1, 2)) == IN
    assert search.asked == [address_of(1), address_of(2)]


@pytest.mark.parametrize("refusal", [AlreadyExists("the id is taken"), Unauthenticated("revoked")])
def test_a_refusal_for_good_ends_the_search(refusal: RaftGossipError) -> None:
    search = Search()
    search.answers = {1: [refusal]}

    with pytest.raises(type(refusal)):
        search.run(hints(1))


def test_hints_that_nobody_may_dial_are_left_out_and_told() -> None:
    search = Search()
    search.answers = {2: [IN]}
    listed = ListedPeers(Hints(False, ((NodeId(1), Address("169.254.169.254", 80)), *peers(2))))

    assert search.run(listed) == IN
    assert search.asked == [address_of(2)]

    search = Search(patience_ms=100)
    assert search.waits(ListedPeers(Hints(False, ((NodeId(1), Address("0.0.0.0", 80)),))))
    assert "0.0.0.0:80 is not dialled: it names no machine" in search.told[0]


def test_the_nodes_own_address_is_no_peer() -> None:
    search = Search(patience_ms=100)

    assert search.waits(ListedPeers(Hints(False, ((NodeId(-1), address_of(4)),))))
    assert search.asked == []


# --- founding


def test_a_named_node_that_hears_of_nobody_founds() -> None:
    search = Search()

    assert search.run(hints(bootstrap=True)) is None
    assert search.pauses == []
    assert search.intent.is_declared, "until it has its cluster, who asks must wait"


def test_a_node_that_is_not_named_waits() -> None:
    search = Search()
    search.answers = {1: [NOBODY_YET]}

    assert search.waits(hints(1))
    assert not any(search.declared)


def test_a_named_node_asks_every_peer_before_it_founds() -> None:
    search = Search()
    search.answers = {number: [NOBODY_YET] for number in (1, 2, 3)}
    assert search.run(hints(1, 2, 3, bootstrap=True)) is None
    assert search.asked == [address_of(number) for number in (1, 2, 3)]
    assert all(search.declared)

    search = Search()
    search.answers = {1: [NOBODY_YET], 2: [NOBODY_YET], 3: [IN]}
    assert search.run(hints(1, 2, 3, bootstrap=True)) == IN


@pytest.mark.parametrize("rules", [FoundingRules(), FoundingRules(expect=1)])
def test_who_is_told_of_a_cluster_never_founds_one(rules: FoundingRules) -> None:
    search = Search(rules=rules)

    assert search.waits(hints(bootstrap=True), hints(cluster_id="c7"))
    assert "c7" in search.told[0]


def test_a_member_that_cannot_let_anybody_in_now_proves_that_there_is_a_cluster() -> None:
    for answer in (NotLeader(None), NotLeader(3), NoQuorum("cut off")):
        search = Search()
        search.answers = {1: [answer]}
        assert search.waits(hints(1, bootstrap=True)), answer


def test_a_named_node_asks_silent_peers_again_before_it_founds() -> None:
    search = Search()
    assert search.run(hints(1, bootstrap=True)) is None
    assert len(search.asked) == SILENT_ROUNDS

    search = Search()
    search.answers = {1: [TransportError("its leader is dead"), IN]}
    assert search.run(hints(1, bootstrap=True)) == IN


def test_who_is_told_to_found_asks_nobody_but_says_so_to_others() -> None:
    search = Search(rules=FoundingRules(found=True))

    assert search.run() is None
    assert search.intent.is_declared and search.asked == []


def test_enough_candidates_let_the_smallest_of_them_found() -> None:
    candidates = {1: [NOBODY_YET], 2: [NOBODY_YET], 9: [NOBODY_YET]}
    rules = FoundingRules(expect=3)
    smallest, other, early = Search(1, rules), Search(2, rules), Search(1, rules)
    for search in (smallest, other, early):
        search.answers = dict(candidates)

    assert smallest.run(hints(2, 9)) is None
    assert other.waits(hints(1, 9))
    assert early.waits(hints(2, bootstrap=True)), "a name by the gateway does not replace what the operator expects"


def test_addresses_of_unknown_ids_are_no_candidates() -> None:
    search = Search(1, FoundingRules(expect=2))
    search.answers = {2: [NOBODY_YET]}

    assert search.waits(hints(), ListedPeers(Hints(False, ((NodeId(-1), address_of(2)),))))


def test_an_address_that_a_gateway_knows_by_id_is_asked_once_and_counts() -> None:
    search = Search(1, FoundingRules(expect=2))
    search.answers = {2: [NOBODY_YET]}

    assert search.run(ListedPeers(Hints(False, ((NodeId(-1), address_of(2)),))), hints(2)) is None
    assert search.asked == [address_of(2)]


# --- a gateway that has just started


def test_a_gateway_that_has_just_started_is_waited_for_and_that_is_said() -> None:
    search = Search()
    listed = ListedPeers(Hints(False, (), wait_ms=4_000), Hints(False, (), wait_ms=60), Hints(True, ()))

    assert search.run(listed) is None
    assert search.told[0].startswith("the gateway has just started, waiting 4 s")
    assert search.pauses == [200, 60], "no longer than the gateway needs"


def test_a_node_that_another_gateway_wants_to_wait_waits_but_not_for_ever() -> None:
    search = Search()

    assert search.run(hints(bootstrap=True), hints(wait_ms=1_000)) is None
    assert PATIENCE_MS <= sum(search.pauses) <= PATIENCE_MS + 2_000


# --- two that are named


def test_a_larger_id_yields_to_a_smaller_one_that_has_declared_itself() -> None:
    search = Search(4)
    search.answers = {1: [Busy("may be about to found"), Busy("may be about to found"), IN]}

    assert search.run(hints(1, bootstrap=True)) == IN
    assert search.declared == [True, False, False]


def test_a_smaller_id_waits_until_the_larger_one_has_withdrawn() -> None:
    search = Search(1)
    search.answers = {4: [Busy("may be about to found"), NOBODY_YET]}

    assert search.run(hints(4, bootstrap=True)) is None
    assert search.declared == [True, True]


def test_a_node_whose_rival_gave_up_declares_itself_again_and_founds() -> None:
    search = Search(4)
    search.answers = {1: [Busy("may be about to found"), NOBODY_YET]}

    assert search.run(hints(1, bootstrap=True)) is None
    assert search.declared[-1]


def test_a_node_that_is_no_longer_named_withdraws() -> None:
    search = Search(1)
    search.answers = {4: [Busy("may be about to found"), NOBODY_YET]}
    named, other = Hints(True, peers(4)), Hints(False, peers(4))

    assert search.waits(ListedPeers(named, named, other))
    assert search.declared[:2] == [True, False]


@pytest.mark.parametrize(
    ("num_nodes", "num_gateways", "to_all"), [(2, 1, True), (2, 2, False), (5, 1, True), (6, 3, False)]
)
def test_many_that_are_named_at_once_make_one_cluster(num_nodes: int, num_gateways: int, to_all: bool) -> None:
    for seed in range(60):
        world = together(seed, num_nodes, num_gateways, to_all, FoundingRules())
        assert world.num_founded == 1, f"seed {seed}"
        assert len({node.cluster_id for node in world.nodes.values()}) == 1, f"seed {seed}"


def test_many_that_expect_each_other_make_one_cluster() -> None:
    for seed in range(40):
        world = together(seed, 4, 2, False, FoundingRules(expect=4))
        assert world.num_founded == 1, f"seed {seed}"


# --- nobody to ask


def cached(*node_ids: int) -> CachedDiscovery:
    store = MemoryStore()
    with ThreadPoolExecutor(1) as disk:
        asyncio.run(CachedDiscovery(store, disk).remember(peers(*node_ids)))
        return CachedDiscovery(store, disk)


def test_nobody_to_ask_is_the_operators_mistake() -> None:
    for discoveries in ((), (cached(),)):
        with pytest.raises(ConfigError, match="--discover"):
            Search().run(*discoveries)


def test_peers_that_were_known_before_let_a_node_in_without_any_gateway() -> None:
    search = Search()
    search.answers = {7: [IN]}
    assert search.run(cached(6, 7)) == IN

    search = Search()
    search.answers = {7: [IN]}
    assert search.run(ListedPeers(TransportError("the gateway is down")), cached(7)) == IN


def test_peers_that_were_known_before_are_no_candidates() -> None:
    search = Search(1, FoundingRules(expect=2))
    search.answers = {2: [NOBODY_YET]}

    assert search.waits(hints(), cached(2))


def test_a_gateway_that_never_answers_is_given_up_though_a_cache_is_there() -> None:
    with pytest.raises(ClusterUnreachable, match="start the gateway"):
        Search().run(ListedPeers(TransportError("the gateway is down")), cached())


def test_a_busy_gateway_is_asked_again() -> None:
    assert Search().run(ListedPeers(Busy("over the rate", 700), Hints(True, ()))) is None


def test_what_gateways_say_is_remembered() -> None:
    search, keeping = Search(), ListedPeers(Hints(False, ()))
    search.answers = {2: [IN]}
    search.run(hints(2), keeping)

    assert keeping.remembered == [peers(2)]


def test_the_wait_is_said_at_once_and_then_from_time_to_time() -> None:
    search = Search()
    search.answers = {1: [NOBODY_YET]}

    assert search.waits(hints(1))
    assert 5 <= len(search.told) <= 7
    assert search.told[0] == f"waiting for a cluster: {address_of(1)}: no cluster yet"
