"""Who may still call, and whom TLS must find, as the roster has it."""

from __future__ import annotations

import pytest

from raftgossip.core.epoch.command import AddPeer, RemovePeer
from raftgossip.core.epoch.ledger import Ledger
from raftgossip.core.raft.message import Configuration
from raftgossip.errors import PermissionDenied
from raftgossip.ids import Address, Incarnation, NodeId
from raftgossip.peer.names import RosterNames
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Identity, Role

BASEL = "spiffe://hearts.example/basel"


def caller(node_id: int, organisation: str = "basel") -> Caller:
    return Caller(Identity("hearts.example", organisation, Role.PEER, str(node_id)))


def names(owners: dict[int, str], removed: tuple[int, ...] = (), voters: tuple[int, ...] = (1,)) -> RosterNames:
    """Of a roster that these entered and some left, while Raft's configuration has these voters."""
    ledger = Ledger()
    for node_id, owner in owners.items():
        ledger.apply(1, AddPeer(NodeId(node_id), Address("h", node_id), Incarnation("a"), (), owner))
    for node_id in removed:
        ledger.apply(2, RemovePeer(NodeId(node_id)))
    return RosterNames.of(ledger.view(), Configuration(tuple(map(NodeId, voters))))


def test_a_member_and_a_stranger_may_call() -> None:
    known = names({1: f"{BASEL}/1", 2: ""})
    for each in (caller(1), caller(2), caller(3)):
        known.check(each)
    RosterNames().check(caller(1))


def test_who_was_taken_out_may_not_call_any_more() -> None:
    with pytest.raises(PermissionDenied, match="rule members-only: node 2 was taken out"):
        names({1: f"{BASEL}/1", 2: f"{BASEL}/2"}, removed=(2,)).check(caller(2))


def test_who_was_taken_out_may_call_while_its_vote_is_needed() -> None:
    names({1: f"{BASEL}/1", 2: f"{BASEL}/2"}, removed=(2,), voters=(1, 2)).check(caller(2))


def test_an_id_is_not_lent_to_another_organisation() -> None:
    with pytest.raises(
        PermissionDenied, match=r"rule own-node: node id 2 belongs to spiffe://hearts.example/basel/2; spiffe"
    ):
        names({2: f"{BASEL}/2"}).check(caller(2, "bern"))


def test_who_entered_without_a_certificate_may_call_with_one() -> None:
    names({2: "9f2c"}).check(caller(2))  # it hears the reason when it asks to join


@pytest.mark.parametrize("identity", [None, Identity("hearts.example", "basel", Role.OPERATOR, "2")])
def test_only_peers_are_held_to_the_roster(identity: Identity | None) -> None:
    names({2: f"{BASEL}/2"}, removed=(2,)).check(Caller(identity))


def test_a_dialler_must_find_the_node_that_the_roster_names() -> None:
    known = names({2: f"{BASEL}/2", 3: "9f2c", 4: "spiffe://hearts.example/basel/four"})
    assert [known.server_name(NodeId(node_id)) for node_id in (2, 3, 4, 5)] == [
        "2.peer.basel.hearts.example",
        "",
        "",
        "",
    ]
