"""Following the list: events as they come, resumed over broken streams and other gateways; and listing page by page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import grpc
import pytest

import gateway.node_watch
from gateway.clock import monotonic_seconds
from gateway.grpc_gateway_client import GRPCGatewayClient
from gateway.grpc_gateway_server import GRPCGatewayServer
from gateway.node_watch import MAX_WATCHES
from raftgossip.errors import ConfigError, PermissionDenied, RemoteError, TransportError
from tests.support.fake_gateway import ScriptedGateway
from tests.support.happened import Happened
from tests.support.listing_gateway import ListingGateway

Told = tuple[str, int]


@pytest.fixture
def listing() -> Iterator[ListingGateway]:
    """A gateway whose list the test edits."""
    with ListingGateway("r1") as listed:
        yield listed


@pytest.fixture
def client(listing: ListingGateway) -> Iterator[GRPCGatewayClient]:
    """Its client."""
    made = GRPCGatewayClient(listing.address, timeout=5.0)
    yield made
    made.shutdown()


def take(watch: gateway.node_watch.NodeWatch, number: int) -> list[Told]:
    """The next events, by kind and node."""
    return [(event["kind"], event["node_id"]) for event in islice(watch, number)]


def test_everybody_is_told_then_each_change_at_once(listing: ListingGateway, client: GRPCGatewayClient) -> None:
    listing.change("joined", 1, 2)
    watch = client.watch_nodes()
    assert take(watch, 3) == [("reset", 0), ("joined", 1), ("joined", 2)]
    start = monotonic_seconds()
    listing.change("leader", 2)
    event = next(watch)
    assert monotonic_seconds() - start < 1.0
    assert event["node"] is not None and event["node"]["port"] == 2
    assert {**event, "node": None} == {
        "kind": "leader",
        "registry_version": 3,
        "registry_id": "r1",
        "node_id": 2,
        "node": None,
        "term": 3,
    }
    listing.change("left", 1)
    event = next(watch)
    assert (event["kind"], event["node_id"], event["node"]) == ("left", 1, None)


def test_broken_streams_lose_and_repeat_nothing(listing: ListingGateway, client: GRPCGatewayClient) -> None:
    listing.cut_after = [0, 1, 3, 2, 1]  # before the reset, right after it, inside the first list, and twice later
    listing.change("joined", 1, 2, 3, 4)
    watch = client.watch_nodes()
    assert take(watch, 5) == [("reset", 0), ("joined", 1), ("joined", 2), ("joined", 3), ("joined", 4)]
    listing.change("left", 2, 3)
    listing.change("joined", 5)
    assert take(watch, 3) == [("left", 2), ("left", 3), ("joined", 5)]
    assert listing.resumed_from == [0, 0, 0, 2, 4, 5]


def test_what_happens_while_the_gateway_is_away_is_told_when_it_is_back(client: GRPCGatewayClient) -> None:
    with ListingGateway("r1") as before:
        follower = GRPCGatewayClient(before.address, timeout=5.0)
        before.change("joined", 1)
        watch = follower.watch_nodes()
        assert take(watch, 2) == [("reset", 0), ("joined", 1)]
    with ListingGateway("r1", before.address) as after:
        after.change("joined", 1)
        after.change("joined", 2)
        assert take(watch, 1) == [("joined", 2)]
        assert after.resumed_from == [1]
        follower.shutdown()


def test_another_gateway_begins_with_a_reset(listing: ListingGateway) -> None:
    listing.change("joined", 1, 2)
    with ListingGateway("r0") as first:
        first.change("joined", 1)
        follower = GRPCGatewayClient([first.address, listing.address], timeout=5.0)
        watch = follower.watch_nodes()
        assert take(watch, 2) == [("reset", 0), ("joined", 1)]
    assert take(watch, 3) == [("reset", 0), ("joined", 1), ("joined", 2)]
    follower.shutdown()


def test_a_stream_ends_when_a_call_notices_that_its_gateway_is_silent(listing: ListingGateway) -> None:
    listing.change("joined", 1)
    with ListingGateway("r0") as first:
        first.change("joined", 9)
        follower = GRPCGatewayClient([first.address, listing.address], timeout=5.0)
        watch = follower.watch_nodes()
        assert take(watch, 2) == [("reset", 0), ("joined", 9)]
        connection = follower._connection
        connection._retire(connection._links[0])  # what a call does that was not answered
        connection._position = 1
        assert take(watch, 2) == [("reset", 0), ("joined", 1)]
        follower.shutdown()


def test_a_stream_that_grew_old_is_followed_by_the_next_one(
    listing: ListingGateway, client: GRPCGatewayClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.node_watch, "STREAM_S", 0.3)
    listing.change("joined", 1)
    watch = client.watch_nodes()
    assert take(watch, 2) == [("reset", 0), ("joined", 1)]
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(take, watch, 1)
        deadline = monotonic_seconds() + 5
        while len(listing.resumed_from) < 3 and monotonic_seconds() < deadline:
            threading.Event().wait(0.01)
        listing.change("joined", 2)
        assert answer.result() == [("joined", 2)]
    assert listing.resumed_from[:3] == [0, 1, 1]


def test_a_callback_is_called_in_a_thread_that_ends_with_the_client(listing: ListingGateway) -> None:
    follower, seen = GRPCGatewayClient(listing.address), Happened()

    def note(event: object) -> None:
        seen(event)
        raise RuntimeError("my own fault")

    follower.watch_nodes(note)
    listing.change("joined", 1, 2)
    seen.wait(3)
    start = monotonic_seconds()
    follower.shutdown()
    assert monotonic_seconds() - start <= 1.0
    assert not [thread for thread in threading.enumerate() if thread.name == "gateway-watch"]
    listing.change("joined", 3)
    assert len(seen.seen) == 3


def test_closing_a_watch_ends_the_wait_for_its_next_event(listing: ListingGateway, client: GRPCGatewayClient) -> None:
    with ThreadPoolExecutor(1) as thread, client.watch_nodes() as watch:
        assert take(watch, 1) == [("reset", 0)]
        rest = thread.submit(list, watch)
        watch.close()
        assert rest.result(5) == []
    assert client._watches == []


def test_a_watch_waits_for_a_gateway_that_is_not_there_yet() -> None:
    with ListingGateway("r1") as gone:
        pass
    follower, seen = GRPCGatewayClient(gone.address, timeout=1.0), Happened()
    follower.watch_nodes(seen)
    with ListingGateway("r1", gone.address):
        seen.wait(1)
        follower.shutdown()


@pytest.mark.parametrize(
    ("answer", "error"),
    [(grpc.StatusCode.UNIMPLEMENTED, RemoteError), (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied)],
)
def test_a_gateway_that_will_not_be_watched_is_not_asked_for_ever(
    answer: grpc.StatusCode, error: type[Exception]
) -> None:
    # It knows no WatchNodes, as gateways of the original calls, or its rules forbid even the call before.
    def original(_method: str, _position: int) -> bytes | grpc.StatusCode:
        return b"" if answer is grpc.StatusCode.UNIMPLEMENTED else answer

    with ScriptedGateway(original) as scripted:
        follower = GRPCGatewayClient(scripted.address)
        with pytest.raises(error):
            next(follower.watch_nodes())
        assert follower._watches == []
        follower.shutdown()


def test_too_many_watches_are_refused(client: GRPCGatewayClient) -> None:
    for _ in range(MAX_WATCHES):
        client.watch_nodes()
    with pytest.raises(ConfigError, match="watches are open"):
        client.watch_nodes()


# --- listing


def test_all_nodes_are_listed_though_one_answer_holds_few(listing: ListingGateway, client: GRPCGatewayClient) -> None:
    listing.change("joined", *range(1, 11))
    assert [node["node_id"] for node in client.get_nodes()] == list(range(1, 11))
    client.node_id = 4
    assert [node["node_id"] for node in client.iter_nodes(2)] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert len(list(client.iter_nodes(2, exclude_self=False))) == 10


def test_changes_are_told_from_a_version_on() -> None:
    server = GRPCGatewayServer(port=0)
    server.start()
    nodes = [GRPCGatewayClient("localhost", server.port) for _ in range(3)]
    answers = [node.register_node(node_id, "127.0.0.1", 5000 + node_id) for node_id, node in enumerate(nodes, start=1)]
    assert answers[0] is not None
    assert nodes[0].remove_node(2)
    changes = nodes[0].get_changes(answers[0]["registry_version"], answers[0]["registry_id"])
    assert changes is not None
    assert (changes["is_delta"], changes["removed"], changes["registry_version"]) == (True, [2], 4)
    assert [node["node_id"] for node in changes["nodes"]] == [3]
    everybody = nodes[0].get_changes(1, "another registry")
    assert everybody is not None and not everybody["is_delta"]
    assert [node["node_id"] for node in everybody["nodes"]] == [3]
    assert nodes[0].get_changes(2**40, "") is None
    for client in nodes:
        client.shutdown()
    server.stop()


def test_everybody_is_listed_in_pages_where_changes_cannot_be_told(
    listing: ListingGateway, client: GRPCGatewayClient
) -> None:
    listing.change("joined", *range(1, 8))
    changes = client.get_changes(3, "r0")
    assert changes is not None and not changes["is_delta"]
    assert [node["node_id"] for node in changes["nodes"]] == list(range(1, 8))


def test_a_list_that_breaks_off_raises_instead_of_looking_complete(listing: ListingGateway) -> None:
    listing.change("joined", *range(1, 6))
    reader = GRPCGatewayClient(listing.address, timeout=1.0, max_retry_attempts=1)
    nodes = reader.iter_nodes(2)
    assert next(nodes)["node_id"] == 1 and next(nodes)["node_id"] == 2
    listing.__exit__()
    with pytest.raises(TransportError):
        next(nodes)
    with pytest.raises(ConfigError, match="page_size"):
        reader.iter_nodes(0)
    reader.shutdown()
