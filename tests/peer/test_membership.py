"""Who may come, go and vote."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raftgossip.core.epoch.command import AddPeer, Command, RemovePeer, StartRun
from raftgossip.core.epoch.ledger import Ledger, LedgerView
from raftgossip.core.raft.message import Configuration
from raftgossip.core.raft.status import FollowerStatus, RaftStatus
from raftgossip.errors import AlreadyExists, CommandRefused, NotFound
from raftgossip.ids import Address, Incarnation, LogIndex, NodeId, Term
from raftgossip.peer.membership import add_peer, check_newcomer, refuse_promotion, refuse_removal
from raftgossip.runtime.service import JoinAsk
from tests.support.golden import SPECIFICATION

ADDRESS = Address("10.0.0.4", 7004)


def view_of(*commands: Command) -> LedgerView:
    """A started run, and then these commands, all of which must be accepted."""
    ledger = Ledger()
    for index, command in enumerate((StartRun(SPECIFICATION, b""), *commands), start=1):
        result, _ = ledger.apply(index, command)
        assert result.accepted, result.reason
    return ledger.view()


def added(node_id: int, owner: str) -> AddPeer:
    return AddPeer(NodeId(node_id), ADDRESS, Incarnation("a" if owner else ""), (), owner)


def ask(node_id: int, owner: str) -> JoinAsk:
    digest = SPECIFICATION.schema_digest
    return JoinAsk(NodeId(node_id), ADDRESS, Incarnation("b"), owner, digest, SPECIFICATION.task, "", ())


def nodes(*numbers: int) -> tuple[NodeId, ...]:
    return tuple(map(NodeId, numbers))


# --- coming


def test_an_id_that_an_operator_added_is_free_for_whoever_comes_first() -> None:
    check_newcomer(ask(4, "mine"), view_of(added(4, "")), "c1")


def test_an_id_that_is_claimed_is_for_its_owner_only() -> None:
    check_newcomer(ask(4, "mine"), view_of(added(4, "mine")), "c1")
    with pytest.raises(AlreadyExists, match="choose another --node-id"):
        check_newcomer(ask(4, "other"), view_of(added(4, "mine")), "c1")


def test_nobody_comes_in_who_would_let_everybody_dial_a_forbidden_address() -> None:
    lured = replace(ask(4, "mine"), address=Address("169.254.169.254", 80))

    with pytest.raises(CommandRefused, match="link-local"):
        check_newcomer(lured, view_of(), "c1")


def test_the_first_who_comes_owns_an_added_id_and_nobody_else_does() -> None:
    view = view_of(added(4, ""), add_peer(ask(4, "mine")))
    assert [entry.owner for entry in view.roster] == ["mine"]
    with pytest.raises(AlreadyExists):
        check_newcomer(ask(4, "other"), view, "c1")


def test_an_added_id_that_was_removed_unclaimed_can_be_claimed() -> None:
    view = view_of(added(4, ""), RemovePeer(NodeId(4)), add_peer(ask(4, "mine")))
    assert [entry.owner for entry in view.roster] == ["mine"]


# --- going


def test_one_of_many_may_go_and_may_be_asked_to_go_again() -> None:
    before = view_of(added(1, "x"), added(2, "y"))
    refuse_removal(NodeId(2), before, Configuration(nodes(1, 2)))
    refuse_removal(NodeId(2), view_of(added(1, "x"), added(2, "y"), RemovePeer(NodeId(2))), Configuration(nodes(1)))


@pytest.mark.parametrize(
    ("node_id", "roster", "voters", "error", "words"),
    [
        (3, (1, 2), (1, 2), NotFound, "its nodes are 1, 2"),
        (1, (1,), (1,), CommandRefused, "the last node"),
        (1, (1, 2), (1,), CommandRefused, "the only voter"),
    ],
)
def test_who_cannot_be_spared_may_not_go(
    node_id: int, roster: tuple[int, ...], voters: tuple[int, ...], error: type[Exception], words: str
) -> None:
    view = view_of(*(added(each, f"owner {each}") for each in roster))
    with pytest.raises(error, match=words):
        refuse_removal(NodeId(node_id), view, Configuration(nodes(*voters)))


# --- voting


CURRENT = Configuration(nodes(1, 2), nodes(4))


def leader_status(configuration: Configuration = CURRENT, match_index: int = 95, responsive: bool = True) -> RaftStatus:
    """Node 1 leads; node 4 has `match_index` of 100 entries."""
    return RaftStatus(
        node_id=NodeId(1),
        role="leader",
        term=Term(3),
        leader=NodeId(1),
        commit_index=LogIndex(100),
        applied_index=LogIndex(100),
        first_index=LogIndex(1),
        last_index=LogIndex(100),
        snapshot_index=LogIndex(0),
        configuration=configuration,
        followers=(FollowerStatus(NodeId(4), LogIndex(match_index), responsive, "replicate"),),
    )


def test_a_learner_that_has_caught_up_may_vote() -> None:
    refuse_promotion(NodeId(4), leader_status(match_index=84), CURRENT, max_lag=16)


@pytest.mark.parametrize(
    ("node_id", "status", "committed", "words"),
    [
        (2, leader_status(), CURRENT, "votes already"),
        (9, leader_status(), CURRENT, "no learner.*the learners are 4"),
        (4, leader_status(match_index=83), CURRENT, "lacks 17 entries.*may lack 16"),
        (4, leader_status(responsive=False), CURRENT, "does not answer"),
        (4, leader_status(), Configuration(nodes(1, 2)), "another membership change"),
        (
            4,
            leader_status(Configuration(nodes(1, 2), nodes(4), nodes(1, 3))),
            Configuration(nodes(1, 2), nodes(4), nodes(1, 3)),
            "another membership change",
        ),
    ],
)
def test_who_could_hold_up_the_cluster_may_not_vote(
    node_id: int, status: RaftStatus, committed: Configuration, words: str
) -> None:
    with pytest.raises(CommandRefused, match=words):
        refuse_promotion(NodeId(node_id), status, committed, max_lag=16)
