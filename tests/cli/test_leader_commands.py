"""What only the leader can do: asked of any peer, carried on to the leader, waited for while there is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import grpc
import pytest

import raftgossip.cli.leader_hint
from raftgossip.errors import CommandRefused, DeadlineExceeded, NoQuorum, NotFound, NotLeader
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.cli.conftest import Outcome
from tests.support.canned_peer import CannedPeer, serving

Command = Callable[..., Outcome]
Change = tuple[str, int, str, int]

CHANGES: list[tuple[str, Change]] = [
    ("members add 4 10.0.0.9:7001", ("add", 4, "10.0.0.9", 7001)),
    ("members remove 3", ("remove", 3, "", 0)),
    ("members promote 3", ("promote", 3, "", 0)),
]


class Pair:
    """Node 1 leads; node 2 refuses what it may not do and says who leads."""

    def __init__(self, leader_address: str, leader: CannedPeer, address: str, follower: CannedPeer) -> None:
        self.leader, self.follower = leader, follower
        self.leader_address, self.address = leader_address, address
        follower.errors = [NotLeader(1)]
        leader.peers = follower.peers = [leader.place(leader_address), follower.place(address)]

    @property
    def changes(self) -> list[Change]:
        """What arrived at the leader."""
        return [(each.action, each.node_id, each.host, each.port) for each in self.leader.changes]


class LateWitness(CannedPeer):
    """Takes node 3 for the leader while it is asked for the first time: whether it answers, and who leads."""

    num_asked = 0

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusResponse:  # noqa: N802
        self.num_asked += 1
        self.leader = 3 if self.num_asked <= 2 else 1
        return super().Status(request, context)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        leader, follower = CannedPeer(1), CannedPeer(2)
        yield Pair(stack.enter_context(serving(leader)), leader, stack.enter_context(serving(follower)), follower)


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An election is not waited for."""
    monkeypatch.setattr(raftgossip.cli.leader_hint, "PATIENCE_MS", 0)


# --- the hint


@pytest.mark.parametrize(("words", "expected"), CHANGES)
def test_a_change_of_members_asked_of_a_follower_is_done_once_by_the_leader(
    command: Command, pair: Pair, words: str, expected: Change
) -> None:
    outcome = command(*words.split(), "--node", pair.address)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"{expected[0]} {expected[1]} done [red]\\x1b[2J\n"
    assert pair.changes == [expected]
    assert pair.follower.changes == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("members", "--node", "{}", "remove", "3", "--json"),
        ("members", "--node", "{}", "--json", "remove", "3"),
        ("members", "--node", "nobody:1", "remove", "3", "--node", "{}", "--json"),
    ],
)
def test_options_may_stand_before_or_behind_the_lower_command(
    command: Command, pair: Pair, arguments: tuple[str, ...]
) -> None:
    outcome = command(*(each.format(pair.address) for each in arguments))
    assert json.loads(outcome.out) == {"node_id": 3, "message": "remove 3 done [red]\x1b[2J"}
    assert pair.changes == [("remove", 3, "", 0)]


def test_an_election_is_waited_for(command: Command, pair: Pair) -> None:
    pair.follower.errors = [NotLeader(None), NotLeader(None), NotLeader(1)]
    assert command("members", "remove", "3", "--node", pair.address).code == 0
    assert pair.changes == [("remove", 3, "", 0)]


def test_a_hint_to_a_dead_leader_is_given_up_for_a_newer_one(command: Command, pair: Pair, dead_address: str) -> None:
    pair.follower.errors = [NotLeader(3), NotLeader(1)]
    pair.follower.peers = [*pair.follower.peers, CannedPeer(3).place(dead_address)]
    assert command("leader", "transfer", "--node", pair.address).code == 0
    assert pair.leader.transfers == [0]


@pytest.mark.parametrize("words", [*(words for words, _ in CHANGES), "leader transfer"])
def test_a_frozen_leader_is_given_up_for_the_new_one(
    command: Command, pair: Pair, frozen_address: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raftgossip.cli.leader_hint, "HOP_MS", 200)
    monkeypatch.setattr(raftgossip.cli.leader_hint, "PATIENCE_MS", 0)  # the first peer is asked again all the same
    pair.follower.peers = [*pair.follower.peers, CannedPeer(3).place(frozen_address)]
    pair.follower.errors = [NotLeader(3), NotLeader(1)]
    outcome = command(*words.split(), "--node", pair.address)
    assert (outcome.code, outcome.err) == (0, "")
    assert len(pair.leader.changes) + len(pair.leader.transfers) == 1


def test_the_new_leader_is_shown_when_the_old_one_froze(
    command: Command, frozen_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raftgossip.cli.leader_hint, "HOP_MS", 200)
    leader, follower = CannedPeer(1), LateWitness(2)
    with serving(leader) as leader_address, serving(follower) as address:
        follower.peers = [leader.place(leader_address), CannedPeer(3).place(frozen_address)]
        leader.peers = follower.peers
        shown = command("leader", "--node", address)
    assert (shown.code, shown.out) == (0, f"node 1 at {leader_address} leads in term 2\n")


@pytest.mark.usefixtures("impatience")
def test_a_leader_that_stays_frozen_is_named(
    command: Command, pair: Pair, frozen_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raftgossip.cli.leader_hint, "HOP_MS", 100)
    pair.follower.peers = [*pair.follower.peers, CannedPeer(3).place(frozen_address)]
    pair.follower.errors = [NotLeader(3)]
    outcome = command("members", "remove", "3", "--node", pair.address)
    assert outcome.code == 3
    assert f"no leader of the cluster of {pair.address} was found" in outcome.complaint
    assert f"the node at {frozen_address}, which it takes for the leader, does not answer" in outcome.complaint


def test_a_frozen_peer_that_the_user_named_is_named(
    command: Command, frozen_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raftgossip.cli.leader_hint, "ANSWER_MS", 100)
    outcome = command("members", "add", "4", "10.0.0.9:7001", "--node", frozen_address)
    assert outcome.code == 3
    assert f"the peer at {frozen_address} does not answer in time" in outcome.complaint


@pytest.mark.parametrize(
    ("words", "num_asked"),
    [
        ("members add 4 10.0.0.9:7001", 1),
        ("members promote 3", 1),
        ("leader transfer", 1),
        ("members remove 3", 2),
        ("leader transfer --to 3", 2),
    ],
)
def test_what_a_leader_may_have_done_is_repeated_only_if_that_does_no_harm(
    command: Command, pair: Pair, words: str, num_asked: int
) -> None:
    pair.leader.errors = [DeadlineExceeded("it froze"), CommandRefused("asked again")]
    outcome = command(*words.split(), "--node", pair.address)
    if num_asked == 1:
        assert outcome.code == 3
        assert f"the leader at {pair.leader_address} fell silent before it confirmed this" in outcome.complaint
    else:
        assert (outcome.code, outcome.complaint) == (1, "raftgossip: asked again")


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("leader", [None, 9, 1])
def test_without_a_leader_it_ends_with_the_reason_and_code_3(command: Command, pair: Pair, leader: int | None) -> None:
    pair.follower.errors = [NotLeader(leader)]
    pair.leader.errors = [NotLeader(2)]  # each of them takes the other for the leader
    outcome = command("members", "promote", "3", "--node", pair.address)
    assert outcome.code == 3
    assert "no leader of the cluster" in outcome.complaint and "raftgossip status" in outcome.complaint
    assert pair.changes == []


# --- refusals


@pytest.mark.parametrize("words", [*(words for words, _ in CHANGES), "leader transfer --to 3"])
@pytest.mark.parametrize("error", [CommandRefused("node 3 is no learner"), NotFound("node 3 is unknown")])
def test_what_the_leader_refuses_is_code_1_with_its_reason(
    command: Command, pair: Pair, words: str, error: CommandRefused | NotFound
) -> None:
    pair.leader.errors = [error]
    outcome = command(*words.split(), "--node", pair.address)
    assert outcome.code == 1
    assert outcome.complaint == f"raftgossip: {error}"


def test_what_no_majority_confirmed_is_code_3_and_not_repeated(command: Command, pair: Pair) -> None:
    pair.leader.errors = [NoQuorum("no majority confirmed it"), CommandRefused("asked again")]
    outcome = command("members", "remove", "3", "--node", pair.address)
    assert outcome.code == 3
    assert "no majority confirmed it" in outcome.complaint


# --- leader


def test_the_leader_is_shown_as_it_says_itself(command: Command, pair: Pair) -> None:
    shown = command("leader", "--node", pair.address)
    assert (shown.code, shown.out) == (0, f"node 1 at {pair.leader_address} leads in term 2\n")
    document = json.loads(command("leader", "--node", pair.address, "--json").out)
    assert document == {"leader": 1, "address": pair.leader_address, "term": 2}


@pytest.mark.parametrize(("arguments", "target", "leader"), [((), 0, 2), (("--to", "3"), 3, 3)])
def test_the_leadership_is_transferred_by_the_leader(
    command: Command, pair: Pair, arguments: tuple[str, ...], target: int, leader: int
) -> None:
    shown = command("leader", "transfer", *arguments, "--node", pair.address)
    assert (shown.code, shown.out) == (0, f"node {leader} leads in term 3\n")
    assert pair.leader.transfers == [target] and pair.follower.transfers == []
    document = json.loads(command("leader", "transfer", *arguments, "--node", pair.address, "--json").out)
    assert document == {"leader": leader, "term": 3}


@pytest.mark.usefixtures("impatience")
def test_a_cluster_without_a_leader_shows_none(command: Command) -> None:
    with serving(CannedPeer(2, leader=0)) as address:
        outcome = command("leader", "--node", address)
    assert (outcome.code, outcome.out) == (3, "")
    assert "no leader is known" in outcome.complaint


# --- awaited members


def test_a_member_that_was_added_and_never_came_is_shown_as_awaited(command: Command, pair: Pair) -> None:
    awaited = pb.PeerStatus(node_id=4, host="10.0.0.9", port=7001, role="learner")
    pair.leader.peers = [*pair.leader.peers, awaited]
    rows = command("members", "--node", pair.address).out.splitlines()
    assert any("learner, awaited" in row and "10.0.0.9:7001" in row for row in rows)
    assert not any("awaited" in row for row in rows if "10.0.0.9" not in row)
