"""What operators ask a peer, over real loopback gRPC from a peer with canned answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from tests.cli.conftest import Outcome

Command = Callable[..., Outcome]
DIGEST = bytes(range(32))


class CannedPeer(pb_grpc.PeerServiceServicer):
    """Node `node_id` of a cluster led by node 1; gives two epochs at a time."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.peers: list[pb.PeerStatus] = []
        self.refusal = ""

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusResponse:  # noqa: N802
        return pb.StatusResponse(
            cluster_id="rg-1",
            node_id=self.node_id,
            role="leader" if self.node_id == 1 else "follower",
            term=2,
            leader=1,
            last_index=9,
            peers=self.peers,
            specification=pb.RunSpecification(task="Digits", algorithm="fedavg", topology="base", num_elements=10),
            open_epoch=6,
            open_attempt=2,
            open_participants=[1, 2],
            last_closed_epoch=5,
            model_digest=DIGEST,
            version="0.1.0",
            phase="training",
            metrics=[pb.Metric(name="accuracy", value=0.5), pb.Metric(name="loss", value=float("nan"))],
        )

    def FetchEpochs(  # noqa: N802
        self, request: pb.FetchEpochsRequest, context: grpc.ServicerContext
    ) -> pb.FetchEpochsResponse:
        numbers = [number for number in range(1, 6) if number >= request.first_epoch][:2]
        records = [
            pb.EpochRecord(
                epoch=number,
                attempt=1,
                outcome="closed",
                contributors=[1, 2],
                model_digest=DIGEST,
                metrics=[pb.Metric(name="accuracy", value=0.1 * number)],
                digests=[pb.NodeDigest(node_id=1, digest=DIGEST)],
                closed_at_ms=1_700_000_000_000,
            )
            for number in numbers
        ]
        return pb.FetchEpochsResponse(epochs=records, last_epoch=5)

    def Leave(self, request: pb.LeaveRequest, context: grpc.ServicerContext) -> pb.LeaveResponse:  # noqa: N802
        if self.refusal:
            context.abort(grpc.StatusCode.UNAVAILABLE, self.refusal)
        return pb.LeaveResponse(message="node 2 left the cluster [red]\x1b[2J")


@contextmanager
def serving(peer: CannedPeer | None) -> Iterator[str]:
    """Its address. None: a server that knows none of a peer's methods."""
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        port = server.add_insecure_port("127.0.0.1:0")
        if peer is not None:
            pb_grpc.add_PeerServiceServicer_to_server(peer, server)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@pytest.fixture
def follower() -> Iterator[str]:
    """The address of node 2, whose leader runs, too."""
    leader, peer = CannedPeer(1), CannedPeer(2)
    with serving(leader) as leader_address, serving(peer) as address:
        rows = [
            pb.PeerStatus(
                node_id=node_id,
                host="127.0.0.1",
                port=int(each.rpartition(":")[2]),
                role="voter",
                responsive=node_id == 1,
                match_index=9,
                metadata={"site": "[bold]Basel"},
            )
            for node_id, each in ((2, address), (1, leader_address))
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


def test_text_of_peers_is_shown_and_not_obeyed(command: Command, follower: str) -> None:
    assert "site=[bold]Basel" in command("members", "--node", follower).out
    said = command("leave", "--node", follower)
    assert said.code == 0
    assert said.out == "node 2 left the cluster [red]\\x1b[2J\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((), [1, 2, 3, 4, 5]), (("--last", "2"), [4, 5]), (("--first", "2"), [2, 3, 4, 5]), (("--first", "9"), [])],
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
