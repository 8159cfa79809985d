"""The order in which the list's changes are told: by version, so that a follower can resume anywhere."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.change_log import MAX_GONE
from gateway.node_feed import FeedEvent, NodeFeed
from gateway.registry import Registry
from gateway.registry_values import Moment, Registration, RegistrySettings
from raftgossip.ids import Address, NodeId

TIMEOUT_MS = 10_000


class Followed:
    """A registry with its feed, and the time."""

    def __init__(self) -> None:
        self.now = Moment(1000, 1000.0)
        self.registry = Registry(RegistrySettings(TIMEOUT_MS, 1000, 0), random.Random(1), self.now)

    def register(self, node_id: int, port: int = 5000) -> None:
        registration = Registration(NodeId(node_id), Address("h", port), owner=str(node_id))
        self.registry.register(registration, self.now)

    def remove(self, node_id: int) -> None:
        self.registry.remove(NodeId(node_id), self.now)

    def lead(self, node_id: int, term: int) -> None:
        self.registry.update_leader(NodeId(node_id), term, self.now)

    def pass_time(self, milliseconds: int) -> None:
        self.now = Moment(self.now.monotonic_ms + milliseconds, self.now.wall_seconds + milliseconds / 1000)
        self.registry.expire(self.now)

    def feed(self, version: int) -> NodeFeed:
        return NodeFeed(version, self.registry.registry_id)

    def since(self, version: int) -> list[FeedEvent]:
        return self.feed(version).read(self.registry)

    def kinds(self, version: int) -> list[tuple[str, int | None]]:
        return [(event.kind, event.node_id) for event in self.since(version)]


@pytest.fixture
def followed() -> Followed:
    """Nobody is registered."""
    return Followed()


def test_a_newcomer_hears_a_reset_then_everybody_in_the_order_of_the_last_changes(followed: Followed) -> None:
    for node_id in (3, 1, 2):
        followed.register(node_id)
    followed.register(3, port=6000)
    assert followed.kinds(0) == [("reset", None), ("joined", 1), ("joined", 2), ("joined", 3)]


def test_an_empty_list_is_told_by_a_reset_alone(followed: Followed) -> None:
    assert followed.since(0) == [FeedEvent("reset", 0)]


def test_a_follower_hears_what_became_of_each_node_since(followed: Followed) -> None:
    followed.register(1)
    followed.register(2)
    version = followed.registry.version
    followed.register(3)
    followed.register(1, port=6000)
    followed.lead(3, 7)
    followed.remove(2)
    assert followed.kinds(version) == [("joined", 3), ("updated", 1), ("leader", 3), ("left", 2)]
    assert followed.since(followed.registry.version) == []


def test_the_departure_of_the_leader_is_told_as_a_leader_that_is_nobody(followed: Followed) -> None:
    followed.register(1)
    followed.lead(1, 7)
    version = followed.registry.version
    followed.remove(1)
    assert ("left", 1) in followed.kinds(version)
    assert ("leader", None) in followed.kinds(version)


def test_silence_is_told_as_a_suspicion_and_suspected_nodes_are_told_to_newcomers(followed: Followed) -> None:
    followed.register(1)
    version = followed.registry.version
    followed.pass_time(TIMEOUT_MS // 2)
    assert followed.kinds(version) == [("suspected", 1)]
    assert followed.kinds(0) == [("reset", None), ("suspected", 1)]


def test_another_registrys_version_begins_with_a_reset(followed: Followed) -> None:
    followed.register(1)
    assert [event.kind for event in NodeFeed(1, "another").read(followed.registry)] == ["reset", "joined"]


def test_a_version_that_was_never_told_begins_with_a_reset(followed: Followed) -> None:
    followed.register(1)
    for version in (2, 2**31 - 1):
        assert followed.kinds(version) == [("reset", None), ("joined", 1)]


def test_who_was_told_that_there_is_nobody_yet_hears_the_first_without_another_reset(followed: Followed) -> None:
    feed = followed.feed(0)
    assert [event.kind for event in feed.read(followed.registry)] == ["reset"]
    followed.register(1)
    assert [event.kind for event in feed.read(followed.registry)] == ["joined"]


def pages(followed: Followed, feed: NodeFeed, size: int) -> list[list[tuple[str, int | None]]]:
    """Page after page until all is told."""
    found: list[list[tuple[str, int | None]]] = []
    while feed.is_behind:
        found.append([(event.kind, event.node_id) for event in feed.read(followed.registry, size)])
    return found


def test_a_long_list_is_told_in_pages(followed: Followed) -> None:
    for node_id in range(1, 6):
        followed.register(node_id)
    feed = followed.feed(0)
    assert feed.backlog(followed.registry) == 5
    assert pages(followed, feed, 2) == [
        [("reset", None), ("joined", 1), ("joined", 2)],
        [("joined", 3), ("joined", 4)],
        [("joined", 5)],
    ]
    assert feed.backlog(followed.registry) == 0


def test_what_changes_during_a_listing_is_told_as_what_it_is_to_who_was_told_so_much(followed: Followed) -> None:
    for node_id in range(1, 5):
        followed.register(node_id)
    feed = followed.feed(0)
    assert len(feed.read(followed.registry, 2)) == 3  # a reset, 1 and 2
    followed.register(1, port=6000)
    followed.register(4, port=6000)
    followed.remove(2)
    followed.remove(3)
    followed.register(5)
    assert pages(followed, feed, 2) == [[("updated", 1), ("joined", 4)], [("left", 2)], [("joined", 5)]]


def test_more_departures_during_a_listing_than_are_remembered_begin_it_again(followed: Followed) -> None:
    for node_id in range(1, 4):
        followed.register(node_id)
    feed = followed.feed(0)
    feed.read(followed.registry, 2)
    for _ in range(MAX_GONE + 1):
        followed.register(9)
        followed.remove(9)
    followed.remove(1)
    assert ("reset", None) not in pages(followed, feed, 2)[0]  # one node that comes and goes is one departure
    feed = followed.feed(0)
    feed.read(followed.registry, 1)
    for node_id in range(10, 10 + MAX_GONE + 1):
        followed.register(node_id)
        followed.remove(node_id)
    assert pages(followed, feed, 5) == [[("reset", None), ("joined", 2), ("joined", 3)]]


Step = tuple[str, int]
STEPS = st.lists(st.tuples(st.sampled_from(["join", "move", "leave", "lead", "wait"]), st.integers(1, 6)), max_size=40)


def play(followed: Followed, step: Step, number: int) -> None:
    """One thing that happens."""
    kind, node_id = step
    if kind == "join":
        followed.register(node_id)
    elif kind == "move":
        followed.register(node_id, port=6000 + number)
    elif kind == "leave":
        followed.remove(node_id)
    elif kind == "lead":
        followed.lead(node_id, number + 1)
    else:
        followed.pass_time(TIMEOUT_MS // 3)


class Follower:
    """Holds what it was told."""

    def __init__(self) -> None:
        self.version = 0
        self.nodes: dict[int, tuple[Registration, str]] = {}
        self.heard = set[int]()

    def hear(self, event: FeedEvent) -> None:
        """Take up one event; fails if it was told before."""
        self.version = event.version
        if event.kind == "reset":
            self.nodes, self.heard, self.version = {}, set(), 0
            return
        assert event.version not in self.heard
        self.heard |= {event.version} if event.version else set()
        if event.kind == "left":
            self.nodes.pop(event.node_id or 0, None)
        elif event.kind != "leader":
            assert event.record is not None
            self.nodes[event.record.node_id] = (event.record.registration, event.record.status)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, breaks=st.lists(st.integers(0, 8), max_size=40))
def test_a_follower_that_breaks_off_anywhere_holds_the_right_list_and_hears_nothing_twice(
    steps: list[Step], breaks: list[int]
) -> None:
    followed, follower = Followed(), Follower()
    for number, step in enumerate(steps):
        play(followed, step, number)
        events = followed.since(follower.version)
        for event in events[: breaks[number]] if number < len(breaks) else events:  # the stream breaks there
            follower.hear(event)
    for event in followed.since(follower.version):
        follower.hear(event)
    records = [followed.registry.record(NodeId(node_id)) for node_id in range(1, 7)]
    assert follower.nodes == {
        record.node_id: (record.registration, record.status) for record in records if record is not None
    }


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, size=st.integers(1, 3), reads=st.lists(st.integers(0, 2), min_size=40, max_size=40))
def test_a_follower_that_is_told_in_pages_while_the_list_changes_holds_the_right_list(
    steps: list[Step], size: int, reads: list[int]
) -> None:
    followed, follower = Followed(), Follower()
    feed = followed.feed(0)

    def read_page() -> None:
        for event in feed.read(followed.registry, size):
            is_known = event.node_id in follower.nodes
            assert event.kind != "updated" or is_known
            follower.hear(event)

    for number, step in enumerate(steps):
        play(followed, step, number)
        for _ in range(reads[number]):
            read_page()
    read_page()
    while feed.is_behind:
        read_page()
    records = [followed.registry.record(NodeId(node_id)) for node_id in range(1, 7)]
    assert follower.nodes == {
        record.node_id: (record.registration, record.status) for record in records if record is not None
    }
    assert feed.version == followed.registry.version
