"""Who may still call, and whom TLS must find, as the roster has it."""

from __future__ import annotations

import pytest

from raftgossip.core.epoch.command import AddPeer, RemovePeer
from raftgossip.core.epoch.ledger import Ledger
from raftgossip.core.raft.message import Configuration
from raftgossip.errors import PermissionDenied
from raftgossip.ids import Address, Incarnation, NodeId
from raftgossip.peer.names import Names
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Identity, Role

BASEL = "spiffe://hearts.example/basel"


def caller(node_id: int, organisation: str = "basel") -> Caller:
    return Caller(Identity("hearts.example", organisation, Role.PEER, str(node_id)))


def names(owners: dict[int, str], removed: tuple[int, ...] = (), voters: tuple[int, ...] = (1,)) -> Names:
    """Of a roster that these entered and some left, while Raft's configuration has these voters."""
    ledger = Ledger()
    for node_id, owner in owners.items():
        ledger.apply(1, AddPeer(NodeId(node_id), Address("h", node_id), Incarnation("a"), (), owner))
    for node_id in removed:
        ledger.apply(2, RemovePeer(NodeId(node_id)))
    known = Names()
    known.follow(ledger.view(), Configuration(tuple(map(NodeId, voters))))
    return known


def test_a_member_may_call() -> None:
    known = names({1: f"{BASEL}/1", 2: f"{BASEL}/2"})
    known.check(caller(1))
    known.check(caller(2))
    assert not known.met_stranger


@pytest.mark.parametrize("known", [names({1: f"{BASEL}/1", 3: ""}), Names()], ids=["a roster", "nobody is known yet"])
@pytest.mark.parametrize("node_id", [3, 4])
def test_a_stranger_may_not_call_though_it_has_a_certificate(known: Names, node_id: int) -> None:
    with pytest.raises(PermissionDenied, match=r"rule members-only: .* has not joined"):
        known.check(caller(node_id))
    assert known.met_stranger


def test_whom_a_member_named_may_call_before_the_own_roster_has_it() -> None:
    known = names({1: f"{BASEL}/1"})
    known.learn([(NodeId(4), f"{BASEL}/4")])
    known.check(caller(4))
    with pytest.raises(PermissionDenied, match="rule own-node"):
        known.check(caller(4, "bern"))


def test_what_members_told_does_not_count_against_the_own_roster() -> None:
    known = names({1: f"{BASEL}/1", 2: f"{BASEL}/2"}, removed=(2,))
    known.learn([(NodeId(1), "spiffe://hearts.example/bern/1"), (NodeId(2), f"{BASEL}/2")])
    with pytest.raises(PermissionDenied, match="rule own-node"):
        known.check(caller(1, "bern"))
    with pytest.raises(PermissionDenied, match="was taken out"):
        known.check(caller(2))


def test_who_was_taken_out_may_not_call_any_more() -> None:
    with pytest.raises(PermissionDenied, match="rule members-only: node 2 was taken out"):
        names({1: f"{BASEL}/1", 2: f"{BASEL}/2"}, removed=(2,)).check(caller(2))


def test_who_was_taken_out_may_call_while_its_vote_is_needed_and_nobody_in_its_place() -> None:
    known = names({1: f"{BASEL}/1", 2: f"{BASEL}/2"}, removed=(2,), voters=(1, 2))
    known.check(caller(2))
    with pytest.raises(PermissionDenied, match="rule own-node"):
        known.check(caller(2, "bern"))


def test_an_id_is_not_lent_to_another_organisation() -> None:
    with pytest.raises(
        PermissionDenied, match=r"rule own-node: node id 2 belongs to spiffe://hearts.example/basel/2; spiffe"
    ):
        names({2: f"{BASEL}/2"}).check(caller(2, "bern"))


def test_who_entered_without_a_certificate_must_join_with_one_before_it_calls() -> None:
    with pytest.raises(PermissionDenied, match="rule members-only"):
        names({2: "9f2c"}).check(caller(2))


@pytest.mark.parametrize("identity", [None, Identity("hearts.example", "basel", Role.OPERATOR, "2")])
def test_only_peers_are_held_to_the_roster(identity: Identity | None) -> None:
    names({2: f"{BASEL}/2"}, removed=(2,)).check(Caller(identity))


def test_a_dialler_must_find_the_node_that_is_known_by_name() -> None:
    known = names({2: f"{BASEL}/2", 3: "9f2c", 4: "spiffe://hearts.example/basel/four"})
    known.learn([(NodeId(6), f"{BASEL}/6")])
    assert [known.server_name(NodeId(node_id)) for node_id in (2, 3, 4, 5, 6)] == [
        "2.peer.basel.hearts.example",
        "",
        "",
        "",
        "6.peer.basel.hearts.example",
    ]
