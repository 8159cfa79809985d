"""What operators ask of a node: done by the leader, refused with a reason, told when it is confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

import raftgossip.peer.operations
from raftgossip.core.epoch.command import Envelope, RemovePeer
from raftgossip.core.raft.message import Configuration, Entry, EntryKind
from raftgossip.errors import (
    AlreadyExists,
    CommandRefused,
    NoQuorum,
    NotFound,
    NotLeader,
    PermissionDenied,
    WireError,
)
from raftgossip.ids import Address, Incarnation, LogIndex, NodeId, Term
from raftgossip.peer.operations import Operations
from raftgossip.runtime.service import JoinAnswer, JoinAsk, LeaderAnswer
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Identity, Role
from raftgossip.wire.ledger_codec import envelope_to_bytes
from tests.support.keys import make_keys
from tests.support.operated_node import ME, OperatedNode

TWO, THREE, FOUR = NodeId(2), NodeId(3), NodeId(4)
ADDRESS = Address("10.0.0.4", 7004)
T = TypeVar("T")


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> OperatedNode:
    """Whoever waits in vain waits shortly."""
    monkeypatch.setattr(raftgossip.peer.operations, "CHANGE_MS", 200)
    monkeypatch.setattr(raftgossip.peer.operations, "HAND_OVER_MS", 50)
    return OperatedNode()


def run(work: Coroutine[object, object, T]) -> T:
    async def limited() -> T:
        async with asyncio.timeout(10):
            return await work

    return asyncio.run(limited())


def roster(node: OperatedNode) -> list[int]:
    return [entry.node_id for entry in node.ledger.view().roster]


# --- who may be asked


@pytest.mark.parametrize(
    "ask",
    [
        lambda operations: operations.propose_forwarded(b"e", Caller(None)),
        lambda operations: operations.add_member(FOUR, ADDRESS),
        lambda operations: operations.remove_member(THREE),
        lambda operations: operations.promote_member(FOUR),
        lambda operations: operations.transfer_leadership(None),
    ],
)
@pytest.mark.parametrize("leader", [TWO, None])
def test_a_follower_says_who_leads_and_changes_nothing(
    node: OperatedNode, ask: Callable[[Operations], Coroutine[Any, Any, object]], leader: NodeId | None
) -> None:
    node.lead(TWO)
    node.standing.leader = leader
    with pytest.raises(NotLeader) as caught:
        run(ask(node.operations))
    assert caught.value.leader == leader
    assert roster(node) == [1, 2, 3]


def test_a_peer_s_command_is_looked_at_before_it_is_proposed(node: OperatedNode) -> None:
    caller = Caller(Identity("hearts.example", "clinic", Role.PEER, "2"))
    with pytest.raises(WireError):
        run(node.operations.propose_forwarded(b"\xff", caller))
    foreign = envelope_to_bytes(Envelope("2/a2", 1, 1, RemovePeer(THREE)))
    with pytest.raises(PermissionDenied, match="rule own-affairs"):
        run(node.operations.propose_forwarded(foreign, caller))


def test_with_certificates_a_newcomer_is_sent_to_the_leader_and_the_node_itself_goes_there(
    node: OperatedNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    passed: list[JoinAsk] = []

    async def ask_to_join(address: Address, ask: JoinAsk, timeout_ms: int, credentials: object) -> JoinAnswer:
        passed.append(ask)
        return JoinAnswer("c1", (), TWO, None)

    monkeypatch.setattr(raftgossip.peer.operations, "ask_to_join", ask_to_join)
    own = make_keys(tmp_path, peers=(1,), gateway=False).credentials(Role.PEER, "1")
    monkeypatch.setattr(node.operations._parts, "credentials", own)
    node.lead(TWO)
    node.links.set_address(TWO, Address("127.0.0.1", 7002))

    def joining(number: int) -> JoinAsk:
        uri = f"spiffe://hearts.example/clinic/{number}"
        return JoinAsk(NodeId(number), ADDRESS, Incarnation("b"), uri, b"", "T", "", (), identity=uri)

    with pytest.raises(NotLeader) as refused:
        run(node.operations.join(joining(4)))
    assert (refused.value.leader, refused.value.address) == (TWO, "127.0.0.1:7002")
    run(node.operations.join(joining(1)))
    assert [ask.node_id for ask in passed] == [NodeId(1)]


# --- add


def test_an_added_node_stands_in_the_roster_unclaimed(node: OperatedNode) -> None:
    sentence = run(node.operations.add_member(FOUR, ADDRESS))
    assert "node 4" in sentence and str(ADDRESS) in sentence
    (entry,) = (entry for entry in node.ledger.view().roster if entry.node_id == FOUR)
    assert (entry.address, entry.owner, entry.incarnation) == (ADDRESS, "", "")


def test_an_awaited_node_may_be_added_again_elsewhere(node: OperatedNode) -> None:
    run(node.operations.add_member(FOUR, Address("10.0.0.9", 1)))
    assert "no longer at 10.0.0.9:1; start it at 10.0.0.4:7004" in run(node.operations.add_member(FOUR, ADDRESS))
    assert "no longer" not in run(node.operations.add_member(FOUR, ADDRESS))
    assert [entry.address for entry in node.ledger.view().roster if entry.node_id == FOUR] == [ADDRESS]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (Address("0.0.0.0", 7004), "every address of a machine"),
        (Address("::", 7004), "every address of a machine"),
        (Address("*", 7004), "every address of a machine"),
        (Address("127.0.0.1", 7003), "127.0.0.1:7003 is the address of node 3"),
    ],
)
def test_an_address_where_nobody_could_reach_it_is_refused(node: OperatedNode, address: Address, words: str) -> None:
    with pytest.raises(CommandRefused, match=words):
        run(node.operations.add_member(FOUR, address))
    assert roster(node) == [1, 2, 3]


def test_a_node_that_is_in_already_cannot_be_added(node: OperatedNode) -> None:
    with pytest.raises(AlreadyExists, match=r"node 3 belongs to the cluster already, at 127.0.0.1:7003"):
        run(node.operations.add_member(THREE, ADDRESS))


def test_a_node_that_left_keeps_its_id(node: OperatedNode) -> None:
    run(node.operations.remove_member(THREE))
    with pytest.raises(CommandRefused, match="another state directory, also after it left"):
        run(node.operations.add_member(THREE, ADDRESS))


def test_what_no_majority_confirms_in_time_is_told_so(node: OperatedNode) -> None:
    node.is_cut_off = True
    with pytest.raises(NoQuorum, match="repeating it is safe"):
        run(node.operations.add_member(FOUR, ADDRESS))


# --- remove


def test_removing_is_done_when_the_node_has_no_vote(node: OperatedNode) -> None:
    assert run(node.operations.remove_member(THREE)) == "node 3 is out of the cluster; the voters are 1, 2"
    assert roster(node) == [1, 2]


def test_removing_waits_for_the_configuration_without_the_node(node: OperatedNode) -> None:
    async def story() -> list[str]:
        told: list[str] = []
        node.ledger.apply(50, RemovePeer(THREE))  # the configuration is still the old one

        async def ask() -> None:
            told.append(await node.operations.remove_member(THREE))

        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            await asyncio.sleep(0)
            node.configure(Configuration((ME, TWO), (), (ME, TWO, THREE)))  # joint: it votes still
            await asyncio.sleep(0)
            told.append("joint")
            node.configure(Configuration((ME, TWO)))
        return told

    assert run(story()) == ["joint", "node 3 is out of the cluster; the voters are 1, 2"]


def test_removing_that_is_not_confirmed_says_how_far_it_came(node: OperatedNode) -> None:
    node.ledger.apply(50, RemovePeer(THREE))
    with pytest.raises(NoQuorum, match=r"out of the roster, but .*repeat"):
        run(node.operations.remove_member(THREE))


def test_removing_again_is_harmless(node: OperatedNode) -> None:
    run(node.operations.remove_member(THREE))
    assert run(node.operations.remove_member(THREE)) == "node 3 is out of the cluster; the voters are 1, 2"


def test_a_leader_that_should_go_hands_over_first_and_names_its_successor(node: OperatedNode) -> None:
    with pytest.raises(NotLeader) as caught:
        run(node.operations.remove_member(ME))
    assert caught.value.leader == TWO
    assert roster(node) == [1, 2, 3], "the rest is for the next leader"


def test_a_stranger_cannot_be_removed(node: OperatedNode) -> None:
    with pytest.raises(NotFound, match="its nodes are 1, 2, 3"):
        run(node.operations.remove_member(FOUR))


# --- promote


def test_a_learner_that_caught_up_votes(node: OperatedNode) -> None:
    node.follow_learner(FOUR, match_index=95)
    assert run(node.operations.promote_member(FOUR)) == (
        "node 4 votes now; the voters are 1, 2, 3, 4: 4 voters, more than max_voters 3; "
        "an even number tolerates no more losses than 3"
    )
    assert node.raft.configuration == Configuration((ME, TWO, THREE, FOUR))


def test_a_learner_that_is_behind_does_not(node: OperatedNode) -> None:
    node.follow_learner(FOUR, match_index=10)
    with pytest.raises(CommandRefused, match="lacks 90 entries"):
        run(node.operations.promote_member(FOUR))
    assert node.raft.configuration == Configuration((ME, TWO, THREE), (FOUR,))


# --- leave


def test_a_leader_that_leaves_hands_over_and_is_out_when_the_roster_says_so(node: OperatedNode) -> None:
    async def story() -> str:
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(node.operations.leave())
            await node.standing.until(lambda: node.standing.is_dismissed)
            node.standing.has_left = True  # as `Presence.depart` does it
            node.standing.pulse()
        return leaving.result()

    assert run(story()) == "node 1 left the cluster"
    assert node.transfers == [(None, 50)]
    assert roster(node) == [2, 3]


def test_who_cannot_be_spared_does_not_leave(node: OperatedNode) -> None:
    node.configure(Configuration((ME,), (TWO, THREE)))
    with pytest.raises(CommandRefused, match="only voter"):
        run(node.operations.leave())
    assert roster(node) == [1, 2, 3]


def test_leaving_that_nobody_confirms_is_given_up(node: OperatedNode) -> None:
    node.is_cut_off = True
    with pytest.raises(NoQuorum, match="this node stays"):
        run(node.operations.leave())


# --- leadership


@pytest.mark.parametrize(("target", "leader"), [(None, TWO), (THREE, THREE)])
def test_the_leadership_goes_to_whom_it_should(node: OperatedNode, target: NodeId | None, leader: NodeId) -> None:
    assert run(node.operations.transfer_leadership(target)) == LeaderAnswer(leader, Term(4))
    assert [asked for asked, _ in node.transfers] == [target]


def test_a_transfer_to_the_leader_itself_is_done_already(node: OperatedNode) -> None:
    assert run(node.operations.transfer_leadership(ME)) == LeaderAnswer(ME, Term(3))
    assert node.transfers == []


def test_a_transfer_waits_for_the_new_leader(node: OperatedNode) -> None:
    node.on_transfer = lambda target: setattr(node.standing, "leader", None)
    with pytest.raises(NoQuorum, match="no other node took over in time"):
        run(node.operations.transfer_leadership(None))


def test_who_has_no_vote_cannot_lead(node: OperatedNode) -> None:
    run(node.operations.add_member(FOUR, ADDRESS))
    node.follow_learner(FOUR, match_index=100)
    with pytest.raises(CommandRefused, match=r"node 4 has no vote.*`raftgossip members promote 4`.*the voters 1, 2, 3"):
        run(node.operations.transfer_leadership(FOUR))
    with pytest.raises(NotFound, match=r"node 9 is not in the roster; its nodes are 1, 2, 3, 4"):
        run(node.operations.transfer_leadership(NodeId(9)))
    assert node.transfers == []


def test_who_does_not_answer_the_leader_is_refused_at_once_with_those_who_do(node: OperatedNode) -> None:
    node.follow_voters({TWO: True, THREE: False})
    with pytest.raises(CommandRefused, match=r"node 3 does not answer the leader; start it, or choose one of 2$"):
        run(node.operations.transfer_leadership(THREE))
    node.follow_voters({TWO: False, THREE: False})
    with pytest.raises(CommandRefused, match=r"node 3 does not answer the leader; start it$"):
        run(node.operations.transfer_leadership(THREE))
    assert node.transfers == []


@pytest.mark.parametrize("error", [NoQuorum("it did not in time"), CommandRefused("no_successor")])
def test_a_transfer_that_failed_is_a_refusal_that_names_the_target(node: OperatedNode, error: Exception) -> None:
    def fail(_: NodeId | None) -> None:
        raise error

    node.on_transfer = fail
    with pytest.raises(CommandRefused, match=f"node 3 does not lead: {error}"):
        run(node.operations.transfer_leadership(THREE))


def test_a_transfer_that_another_node_won_is_told_so(node: OperatedNode) -> None:
    node.on_transfer = lambda target: node.lead(TWO)
    with pytest.raises(CommandRefused, match="node 3 does not lead: node 2 took over"):
        run(node.operations.transfer_leadership(THREE))


def test_the_only_voter_cannot_hand_over(node: OperatedNode) -> None:
    node.configure(Configuration((ME,), (TWO,)))
    with pytest.raises(CommandRefused, match="only voter"):
        run(node.operations.transfer_leadership(None))
    run(node.operations.hand_over())
    assert node.transfers == []


@pytest.mark.parametrize("error", [NoQuorum("nobody"), CommandRefused("no_successor"), NotLeader(None)])
def test_handing_over_before_a_stop_never_fails(node: OperatedNode, error: Exception) -> None:
    def fail(_: NodeId | None) -> None:
        raise error

    node.on_transfer = fail
    run(node.operations.hand_over())
    assert node.transfers == [(None, 50)]


def test_a_follower_has_nothing_to_hand_over(node: OperatedNode) -> None:
    node.lead(TWO)
    run(node.operations.hand_over())
    assert node.transfers == []


# --- reading


def test_a_linearizable_read_asks_raft(node: OperatedNode) -> None:
    run(node.operations.catch_up_for_read())
    assert len(node.reads) == 1


@pytest.mark.parametrize(
    ("first", "limit", "expected"),
    [
        (0, 3, [98, 99, 100]),
        (1, 2, [41, 42]),
        (50, 2, [50, 51]),
        (99, 10, [99, 100]),
        (101, 10, []),
        (0, 500, list(range(41, 101))),
    ],
)
def test_the_log_is_shown_as_far_as_it_is_kept(node: OperatedNode, first: int, limit: int, expected: list[int]) -> None:
    node.stored = [Entry(LogIndex(index), Term(2), EntryKind.NOOP, b"") for index in range(41, 101)]
    node.raft = replace(node.raft, first_index=LogIndex(41), snapshot_index=LogIndex(60))
    view = run(node.operations.log(first, limit))
    assert [row.index for row in view.rows] == expected
    assert [row.applied_at_ms for row in view.rows] == [1000 * index for index in expected]
    assert (view.first_index, view.last_index, view.commit_index, view.applied_index) == (41, 100, 100, 100)
