"""What operators ask a peer, over real loopback gRPC from a peer with canned answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

import raftgossip.cli.operator
from raftgossip.errors import NoQuorum
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.cli.conftest import Outcome
from tests.support.canned_peer import DIGEST, CannedPeer, serving

Command = Callable[..., Outcome]


@pytest.fixture
def pair() -> tuple[CannedPeer, CannedPeer]:
    """Nodes 1 and 2 as `follower` serves them."""
    return CannedPeer(1), CannedPeer(2)


@pytest.fixture
def follower(pair: tuple[CannedPeer, CannedPeer]) -> Iterator[str]:
    """The address of node 2, whose leader runs, too."""
    leader, peer = pair
    with serving(leader) as leader_address, serving(peer) as address:
        rows = [
            peer.place(address, responsive=False, match_index=6, flow="probe", metadata={"site": "[bold]Basel"}),
            leader.place(leader_address, responsive=True, metadata={"site": "[bold]Basel"}),
        ]
        leader.peers = peer.peers = rows
        yield address


def test_status_as_json_is_one_document_with_hex_digests(command: Command, follower: str) -> None:
    outcome = command("status", "--node", follower, "--json")
    assert outcome.code == 0
    document = json.loads(outcome.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (document["node_id"], document["role"], document["leader"]) == (2, "follower", 1)
    assert document["model_digest"] == DIGEST.hex()
    assert document["metrics"] == {"accuracy": 0.5, "loss": None}
    assert document["open_epoch"] == {"epoch": 6, "attempt": 2, "participants": [1, 2]}
    assert document["run"]["task"] == "Digits"
    assert [peer["node_id"] for peer in document["peers"]] == [1, 2]


def test_status_for_people_says_who_leads_and_what_is_open(command: Command, follower: str) -> None:
    outcome = command("status", "--node", follower)
    assert outcome.code == 0
    for words in ("2 (follower, training)", "node 1", "6, attempt 2: nodes 1, 2", "accuracy 0.5, loss -"):
        assert words in outcome.out


def test_status_of_a_follower_has_the_lag_that_its_leader_tells_and_says_so(command: Command, follower: str) -> None:
    document = json.loads(command("status", "--node", follower, "--json").out)
    assert document["leader_asked"] == 1
    assert {peer["node_id"]: (peer["lag"], peer["flow"]) for peer in document["peers"]} == {
        1: (0, None),
        2: (3, "probe"),
    }
    assert (document["first_index"], document["snapshot_index"], document["outgoing"]) == (3, 4, [1, 7])
    shown = command("status", "--node", follower).out
    assert "was told by the leader, node 1" in shown
    for words in ("3 to 9, committed 9, applied 8", "up to 4", "voters before  1, 7"):
        assert words in shown


def test_status_of_a_follower_whose_leader_is_silent_has_no_lag(command: Command, dead_address: str) -> None:
    peer = CannedPeer(2)
    peer.peers = [CannedPeer(1).place(dead_address, responsive=True)]
    with serving(peer) as address:
        outcome = command("status", "--node", address, "--json")
    assert outcome.code == 0
    document = json.loads(outcome.out)
    assert document["leader_asked"] is None
    assert [(peer["lag"], peer["flow"]) for peer in document["peers"]] == [(None, None)]


@pytest.mark.parametrize("name", ["status", "epochs"])
def test_a_linearizable_answer_is_asked_for_only_where_it_was_wanted(
    command: Command, follower: str, pair: tuple[CannedPeer, CannedPeer], name: str
) -> None:
    leader, peer = pair
    assert command(name, "--node", follower, "--json").code == 0
    assert peer.num_linearizable == 0
    assert command(name, "--node", follower, "--json", "--linearizable").code == 0
    assert (peer.num_linearizable, leader.num_linearizable) == (1, 0)


@pytest.mark.parametrize("name", ["status", "epochs"])
def test_a_linearizable_answer_without_a_majority_is_code_3(
    command: Command, follower: str, pair: tuple[CannedPeer, CannedPeer], name: str
) -> None:
    pair[1].errors = [NoQuorum("no majority answered")]
    outcome = command(name, "--node", follower, "--linearizable")
    assert (outcome.code, outcome.out) == (3, "")
    assert "no majority answered" in outcome.complaint


def test_members_are_asked_of_the_leader_since_it_alone_knows_who_answers(command: Command, follower: str) -> None:
    document = json.loads(command("members", "--node", follower, "--json").out)
    assert document["leader"] == 1
    answers = {member["node_id"]: member["responsive"] for member in document["members"]}
    assert answers == {1: True, 2: False}
    assert "NO" in command("members", "--node", follower).out


def test_members_fall_back_to_the_peer_if_its_leader_is_silent(command: Command, dead_address: str) -> None:
    peer = CannedPeer(2)
    peer.peers = [
        pb.PeerStatus(node_id=1, host="127.0.0.1", port=int(dead_address.rpartition(":")[2]), responsive=True)
    ]
    with serving(peer) as address:
        outcome = command("members", "--node", address, "--json")
    assert outcome.code == 0
    assert [member["responsive"] for member in json.loads(outcome.out)["members"]] == [None]


def test_members_are_shown_soon_and_with_what_is_unknown_if_the_leader_is_frozen(
    command: Command, frozen_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert raftgossip.cli.operator.HOP_MS <= 1_000
    monkeypatch.setattr(raftgossip.cli.operator, "HOP_MS", 100)
    peer = CannedPeer(2)
    peer.peers = [CannedPeer(1).place(frozen_address)]
    with serving(peer) as address:
        shown = command("members", "--node", address)
        document = json.loads(command("members", "--node", address, "--json").out)
        assert "The leader, node 1, does not answer" in command("status", "--node", address).out
    assert shown.code == 0
    assert "The leader, node 1, does not answer: who answers, and how far each log is, are unknown" in shown.out
    assert (document["leader"], document["leader_asked"]) == (1, None)


def test_members_without_a_leader_say_that_none_is_known(command: Command) -> None:
    with serving(CannedPeer(2, leader=0)) as address:
        assert "No leader is known: who answers" in command("members", "--node", address).out


def test_members_that_the_leader_told_leave_nothing_unknown(command: Command, follower: str) -> None:
    assert "unknown" not in command("members", "--node", follower).out
    assert json.loads(command("members", "--node", follower, "--json").out)["leader_asked"] == 1


def test_a_host_that_does_not_exist_is_told_in_plain_words(command: Command) -> None:
    outcome = command("members", "--node", "no-such-host.invalid:7001")
    assert outcome.code == 3
    assert outcome.complaint == (
        "raftgossip: no-such-host.invalid: no such host; check the address no-such-host.invalid:7001"
    )


def test_text_of_peers_is_shown_and_not_obeyed(command: Command, follower: str) -> None:
    assert "site=[bold]Basel" in command("members", "--node", follower).out
    said = command("leave", "--node", follower)
    assert said.code == 0
    assert said.out == "node 2 left the cluster [red]\\x1b[2J\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), [1, 2, 3, 4, 5]),
        (("--last", "2"), [4, 5]),
        (("--first", "2"), [2, 3, 4, 5]),
        (("--first", "9"), []),
        (("--first", "2", "--last", "3"), [2, 3, 4]),
        (("--first", "4", "--last", "9"), [4, 5]),
    ],
)
def test_epochs_are_gathered_over_pages(
    command: Command, follower: str, arguments: tuple[str, ...], expected: list[int]
) -> None:
    outcome = command("epochs", "--node", follower, "--json", *arguments)
    assert outcome.code == 0
    found = json.loads(outcome.out)["epochs"]
    assert [document["epoch"] for document in found] == expected
    assert all(document["digests"] == {"1": DIGEST.hex()} for document in found)


def test_epochs_for_people_has_one_row_each(command: Command, follower: str) -> None:
    lines = command("epochs", "--node", follower, "--last", "3").out.splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", "3", "4", "5"]
    assert "accuracy 0.4" in lines[2]
    assert DIGEST.hex()[:12] in lines[2]


def test_epochs_beyond_the_newest_say_which_that_is(command: Command, follower: str) -> None:
    assert command("epochs", "--node", follower, "--first", "9").out == "The newest closed epoch is 5.\n"


def test_leaving_as_json_has_the_peers_sentence(command: Command, follower: str) -> None:
    assert json.loads(command("leave", "--node", follower, "--json").out)["message"].startswith("node 2 left")


def test_a_peer_that_cannot_do_it_now_is_code_3_with_its_own_words(command: Command) -> None:
    peer = CannedPeer(2)
    peer.refusal = "no majority confirmed the leaving within 10 s; this node stays"
    with serving(peer) as address:
        outcome = command("leave", "--node", address)
    assert outcome.code == 3
    assert address in outcome.complaint
    assert peer.refusal in outcome.complaint


def test_something_else_than_a_peer_is_wrong_use(command: Command) -> None:
    with serving(None) as address:
        outcome = command("status", "--node", address)
    assert outcome.code == 2
    assert f"{address} is not a peer" in outcome.complaint
