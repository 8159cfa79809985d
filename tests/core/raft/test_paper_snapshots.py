"""One test for each rule of chapter 5 of Ongaro's thesis: log compaction, and snapshots for slow followers."""

from __future__ import annotations

import dataclasses

import pytest

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    AppendRequest,
    AppendResponse,
    Message,
    Received,
    SnapshotChunk,
    SnapshotResponse,
    VoteResponse,
)
from raftgossip.facts import ConfigurationChanged
from raftgossip.ids import LogIndex, NodeId, Term
from tests.core.raft.lone_node import (
    LoneNode,
    append,
    appended,
    bodies,
    change_entry,
    chunk,
    entry,
    refused,
    snapshot,
    vote_request,
)

SMALL = RaftConfig(snapshot_trailing=2, snapshot_chunk_bytes=4, caught_up_lag=1)


def applied(num_entries: int, config: RaftConfig = SMALL) -> LoneNode:
    """A follower of term 1 with so many entries, all of them applied."""
    return LoneNode(terms=(1,) * num_entries, commit=num_entries, config=config)


def compacted_leader() -> LoneNode:
    """It leads term 2, with a snapshot up to 6, the entries 5 to 7, and followers 2 (which has all) and 3."""
    node = applied(6)
    node.take_snapshot(6)
    node.lead()
    node.receive(2, 2, appended(7))
    assert (node.status.first_index, node.status.commit_index) == (5, 7)
    return node


def position(messages: list[object]) -> tuple[int, bytes]:
    """Offset and data of the one chunk."""
    (body,) = messages
    assert isinstance(body, SnapshotChunk)
    return body.offset, body.data


# --- a node's own snapshot (sections 5.1, 5.1.3)


def test_a_snapshot_takes_the_place_of_what_is_applied_but_for_a_tail() -> None:
    node = applied(6)
    node.take_snapshot(6)
    saved = node.disk.snapshot
    assert saved is not None and not saved.is_received
    assert (saved.snapshot.last_index, saved.snapshot.last_term, saved.base_index, saved.base_term) == (6, 1, 4, 1)
    assert saved.snapshot.configuration.voters == (1, 2, 3)
    assert [one.index for one in node.disk.entries] == [5, 6]


def test_a_snapshot_keeps_the_configuration_of_its_last_entry_not_a_later_one() -> None:
    node = applied(3)
    node.receive(2, 1, append((3, 1), change_entry(4, 1, "1,2,3,4"), commit=3))
    node.take_snapshot(3)
    assert node.disk.snapshot is not None and node.disk.snapshot.snapshot.configuration.voters == (1, 2, 3)
    assert node.status.configuration.voters == (1, 2, 3, 4)


def test_an_older_snapshot_than_the_one_that_is_held_changes_nothing() -> None:
    node = applied(6)
    node.take_snapshot(6)
    before = node.disk.snapshot
    node.take_snapshot(5)
    assert node.disk.snapshot is before and node.status.snapshot_index == 6


def test_the_consistency_check_still_works_at_the_end_of_what_was_discarded() -> None:
    """Section 5.1: therefore index and term of that entry are kept."""
    node = applied(6, RaftConfig(snapshot_trailing=0))
    node.take_snapshot(6)
    (answer,) = bodies(node.receive(2, 1, append((6, 1), entry(7, 1))), AppendResponse)
    assert (answer.success, answer.match_index) == (True, 7)
    (answer,) = bodies(node.receive(2, 3, append((6, 2), entry(7, 2))), AppendResponse)
    assert not answer.success and node.log_terms == [1]


@pytest.mark.parametrize(("last", "expected"), [((6, 1), True), ((5, 1), False), ((2, 2), True)])
def test_elections_compare_with_the_end_of_what_was_discarded(last: tuple[int, int], expected: bool) -> None:
    """Section 3.6.1."""
    node = applied(6, RaftConfig(snapshot_trailing=0))
    node.take_snapshot(6)
    (message,) = node.receive(2, 3, vote_request(last))
    assert message.body == VoteResponse(expected)


def test_a_snapshot_shows_after_a_restart_that_everything_in_it_is_committed() -> None:
    """The commit index alone is not worth a write, so the saved one may be older."""
    node = LoneNode(terms=(1,) * 6, commit=1)
    node.receive(2, 1, append((6, 1), commit=6))
    node.take_snapshot(6)
    node.restart()
    assert (node.status.commit_index, node.status.applied_index, node.committed) == (6, 6, [])


def test_a_restart_begins_with_the_snapshot_and_hands_out_only_what_follows_it() -> None:
    node = applied(6)
    node.take_snapshot(6)
    node.receive(2, 1, append((6, 1), entry(7, 1), entry(8, 1), commit=6))
    node.receive(2, 1, append((8, 1), entry(9, 1), commit=8))
    node.restart()
    status = node.status
    assert (status.snapshot_index, status.applied_index, status.commit_index, status.last_index) == (6, 8, 8, 9)
    assert [one.index for one in node.committed] == [7, 8]
    assert [fact.voters for fact in node.facts if isinstance(fact, ConfigurationChanged)] == [(1, 2, 3)]


# --- a leader sends it (Figure 5.3)


def test_a_follower_that_needs_what_was_discarded_gets_the_snapshot_piece_by_piece_then_entries() -> None:
    node = compacted_leader()
    first = node.receive(3, 2, refused(2, sequence=2))
    assert position(bodies(first, SnapshotChunk)) == (0, b"0123") and not bodies(first, AppendRequest)
    sent = bodies(first, SnapshotChunk)[0]
    assert (sent.last_index, sent.last_term, sent.total_bytes) == (6, 1, 10)
    for held, expected in ((4, b"4567"), (8, b"89")):
        node.now_ms += 1
        answer = SnapshotResponse(LogIndex(6), Term(1), held, sent.sequence)
        more = node.receive(3, 2, answer)
        assert position(bodies(more, SnapshotChunk)) == (held, expected)
    (request,) = bodies(node.receive(3, 2, appended(6, sent.sequence)), AppendRequest, receiver=3)
    assert request.previous_index == 6 and [one.index for one in request.entries] == [7]


def test_the_snapshot_on_the_way_counts_for_no_commit() -> None:
    node = compacted_leader()
    node.receive(3, 2, refused(2, sequence=2))
    node.receive(3, 2, SnapshotResponse(LogIndex(6), Term(1), 10, 2))
    node.propose()
    assert {one.node_id: (one.match_index, one.flow) for one in node.status.followers} == {
        2: (7, "replicate"),
        3: (0, "snapshot"),
    }
    assert node.status.commit_index == 7


def test_the_others_commit_while_a_snapshot_is_on_its_way() -> None:
    node = compacted_leader()
    node.receive(3, 2, refused(2, sequence=2))
    node.propose()
    node.receive(2, 2, appended(8))
    assert node.status.commit_index == 8


def test_a_piece_that_is_not_answered_is_sent_again_where_the_follower_stands() -> None:
    node = compacted_leader()
    node.receive(3, 2, refused(2, sequence=2))
    sent_ms = node.now_ms
    again: list[SnapshotChunk] = []
    for _ in range(100):
        if not again:
            node.receive(2, 2, appended(7))
            again = bodies(node.time_out(), SnapshotChunk)
    assert (again[0].offset, node.now_ms - sent_ms) == (0, node.config.election_min_ms)
    more = node.receive(3, 2, SnapshotResponse(LogIndex(6), Term(1), 8, again[0].sequence))
    assert position(bodies(more, SnapshotChunk)) == (8, b"89"), "it held more than this leader knew"


def test_an_answer_about_another_snapshot_moves_nothing() -> None:
    node = compacted_leader()
    node.receive(3, 2, refused(2, sequence=2))
    assert not bodies(node.receive(3, 2, SnapshotResponse(LogIndex(5), Term(1), 8, 2)), SnapshotChunk)


def test_an_answer_of_an_earlier_leadership_moves_nothing() -> None:
    """Section 3.3."""
    node = compacted_leader()
    node.receive(3, 2, refused(2, sequence=2))
    assert not bodies(node.receive(3, 1, SnapshotResponse(LogIndex(6), Term(1), 8, 2)), SnapshotChunk)


def test_a_silent_follower_is_not_sent_a_snapshot() -> None:
    node = compacted_leader()
    assert bodies(node.receive(3, 2, refused(2, sequence=2)), SnapshotChunk)
    silent_ms = node.now_ms + node.config.unresponsive_after_ms
    for _ in range(40):
        node.receive(2, 2, appended(7))
        assert not bodies(node.time_out(), SnapshotChunk) or node.now_ms < silent_ms
    assert node.now_ms > silent_ms + node.config.election_min_ms


def test_heartbeats_go_on_during_the_transfer() -> None:
    """Or a slow transfer would look like a dead leader."""
    node = compacted_leader()
    node.receive(3, 2, refused(2, sequence=2))
    begun_ms, num_heard = node.now_ms, 0
    while node.now_ms < begun_ms + 1_000:
        node.receive(2, 2, appended(7))
        num_heard += len(bodies(node.time_out(), AppendRequest, receiver=3))
    assert num_heard >= 9


def test_a_snapshot_goes_no_faster_than_allowed() -> None:
    """Section 5.4: it must not crowd out what is urgent."""
    node = applied(6, dataclasses.replace(SMALL, snapshot_bytes_per_s=40))
    node.take_snapshot(6)
    node.lead()
    node.receive(2, 2, appended(7))
    node.receive(3, 2, refused(2, sequence=2))
    begun_ms = node.now_ms
    more = bodies(node.receive(3, 2, SnapshotResponse(LogIndex(6), Term(1), 4, 2)), SnapshotChunk)
    for _ in range(100):
        if not more:
            node.receive(2, 2, appended(7))
            more = bodies(node.time_out(), SnapshotChunk)
    assert node.now_ms - begun_ms == 100, "4 bytes at 40 bytes a second"


def test_entries_that_a_transfer_will_need_are_not_discarded_meanwhile() -> None:
    node = compacted_leader()
    node.receive(3, 2, refused(2, sequence=2))
    for index in range(8, 20):
        node.propose()
        node.receive(2, 2, appended(index))
    node.take_snapshot(19)
    (request,) = bodies(node.receive(3, 2, appended(6, sequence=2)), AppendRequest, receiver=3)
    assert [one.index for one in request.entries] == list(range(7, 20))


# --- a follower receives it (Figure 5.3)


def test_a_snapshot_of_an_older_term_is_refused() -> None:
    node = LoneNode(term=5)
    (message,) = node.receive(2, 4, chunk(snapshot((9, 4))))
    assert message.term == 5 and node.installed == []


def test_pieces_are_put_together_and_answered_by_how_much_is_held() -> None:
    node, whole = LoneNode(terms=(1, 1)), snapshot((9, 1))
    answers = []
    for start in (0, 4):
        answers += bodies(node.receive(2, 1, chunk(whole, start, start + 4)), SnapshotResponse)
    assert [one.next_offset for one in answers] == [4, 8] and node.installed == []
    (done,) = bodies(node.receive(2, 1, chunk(whole, 8)), AppendResponse)
    assert (done.success, done.match_index) == (True, 9)
    assert node.installed == [whole]
    assert (node.status.last_index, node.status.commit_index, node.disk.entries) == (9, 9, [])


@pytest.mark.parametrize("start", [2, 5, 8])
def test_a_piece_that_does_not_follow_is_left_out(start: int) -> None:
    node, whole = LoneNode(), snapshot((9, 1))
    node.receive(2, 1, chunk(whole, 0, 4))
    (answer,) = bodies(node.receive(2, 1, chunk(whole, start)), SnapshotResponse)
    assert answer.next_offset == 4 and node.installed == []


def test_a_piece_of_an_older_snapshot_does_not_replace_a_newer_one() -> None:
    node, newer, older = LoneNode(), snapshot((9, 1)), snapshot((8, 1), b"abcdefghij")
    node.receive(2, 1, chunk(newer, 0, 4))
    (answer,) = bodies(node.receive(2, 1, chunk(older, 0)), SnapshotResponse)
    assert (answer.next_offset, node.installed) == (0, [])
    node.receive(2, 1, chunk(newer, 4))
    assert node.installed == [newer]


def test_a_newer_snapshot_replaces_the_pieces_of_an_older_one() -> None:
    node, newer, older = LoneNode(), snapshot((9, 1), b"abcdefghij"), snapshot((8, 1))
    node.receive(2, 1, chunk(older, 0, 4))
    node.receive(2, 1, chunk(newer))
    assert node.installed == [newer]


def test_the_next_leader_goes_on_where_the_last_one_stopped() -> None:
    node, whole = LoneNode(), snapshot((9, 1))
    node.receive(2, 1, chunk(whole, 0, 8))
    node.receive(3, 2, chunk(whole, 8))
    assert node.installed == [whole]


def test_a_damaged_snapshot_is_not_installed_and_begins_anew() -> None:
    node, whole = LoneNode(), snapshot((9, 1))
    damaged = dataclasses.replace(chunk(whole), data=b"012345678x")
    (answer,) = bodies(node.receive(2, 1, damaged), SnapshotResponse)
    assert answer.next_offset == 0 and node.installed == []
    node.receive(2, 1, chunk(whole))
    assert node.installed == [whole]


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": -1},
        {"total_bytes": 5},
        {"total_bytes": 2**31},
        {"last_term": Term(3)},
        {"last_term": Term(0)},
        {"last_index": LogIndex(0)},
    ],
)
def test_a_piece_that_cannot_be_is_dropped(changes: dict[str, int]) -> None:
    node = LoneNode()
    assert node.receive(2, 2, dataclasses.replace(chunk(snapshot((9, 1))), **changes)) == []


def test_a_conflicting_log_is_discarded_whole() -> None:
    """Figure 5.3, step 7."""
    node, whole = LoneNode(terms=(1, 1, 1, 1, 1), commit=2), snapshot((4, 2))
    node.receive(2, 2, chunk(whole))
    assert node.installed == [whole] and node.disk.entries == [] and node.status.last_index == 4


def test_a_log_that_reaches_further_and_agrees_keeps_what_follows() -> None:
    """Figure 5.3, step 6: what follows may be acknowledged already."""
    node = LoneNode(terms=(1, 1, 1, 1, 1), commit=2)
    (done,) = bodies(node.receive(2, 1, chunk(snapshot((4, 1)))), AppendResponse)
    assert (done.success, done.match_index) == (True, 4)
    assert node.log_terms == [1, 1, 1, 1, 1] and node.installed == []
    assert [one.index for one in node.committed] == [1, 2, 3, 4]


def test_a_snapshot_of_what_is_committed_already_changes_nothing() -> None:
    node = LoneNode(terms=(1, 1, 1, 1, 1), commit=5)
    (done,) = bodies(node.receive(2, 1, chunk(snapshot((4, 1)))), AppendResponse)
    assert (done.success, done.match_index) == (True, 4)
    assert node.installed == [] and node.status.commit_index == 5 and node.log_terms == [1] * 5


def test_a_snapshot_is_acknowledged_only_when_it_is_written() -> None:
    """Section 3.8."""
    node = LoneNode()
    node.is_disk_slow = True
    assert node.receive(2, 1, chunk(snapshot((9, 1)))) == []
    assert bodies(node.finish_writing(), AppendResponse)[0].match_index == 9


def test_after_a_snapshot_entries_go_on_behind_it() -> None:
    node = LoneNode()
    node.receive(2, 1, chunk(snapshot((9, 1))))
    (answer,) = bodies(node.receive(2, 1, append((9, 1), entry(10, 1), commit=10)), AppendResponse)
    assert (answer.success, answer.match_index) == (True, 10)
    assert [one.index for one in node.committed] == [1, 10]


def test_what_a_snapshot_covers_is_not_applied_behind_it() -> None:
    """Both may come before the node is asked what to do."""
    node = LoneNode(terms=(1, 1, 1), commit=1)
    for body in (append((3, 1), commit=3), chunk(snapshot((9, 1)))):
        node.node.handle(Received(Message(NodeId(2), NodeId(1), Term(1), body)), node.now_ms)
    ready = node.take_ready()
    assert ready is not None and ready.snapshot is not None and ready.committed == ()


def test_the_configuration_of_a_received_snapshot_decides() -> None:
    node = LoneNode()
    node.receive(2, 1, append((1, 1), change_entry(2, 1, "1,2,3,4")))
    node.receive(2, 2, chunk(snapshot((9, 2), voters="1,5")))
    assert node.status.configuration.voters == (1, 5)
    assert [fact.voters for fact in node.facts if isinstance(fact, ConfigurationChanged)][-1] == (1, 5)


def test_pieces_of_a_snapshot_keep_elections_away() -> None:
    node, whole = LoneNode(), snapshot((9, 1), bytes(100))
    for start in range(50):
        node.now_ms += node.config.election_min_ms - 1
        node.receive(2, 1, chunk(whole, start, start + 1))
        assert (node.status.role, node.status.leader) == ("follower", 2)
        assert node.receive(3, 2, vote_request((9, 1))) == []


def test_a_restart_after_a_received_snapshot_begins_with_it() -> None:
    node = LoneNode(terms=(1, 1, 1))
    node.receive(2, 2, chunk(snapshot((9, 2))))
    node.receive(2, 2, append((9, 2), entry(10, 2), commit=10))
    node.restart()
    assert (node.status.commit_index, node.status.last_index, node.status.snapshot_index) == (9, 10, 9)
    assert node.committed == [], "the snapshot holds what was applied; what else is committed, the leader says"
    (answer,) = bodies(node.receive(2, 2, append((10, 2), entry(11, 2), commit=11)), AppendResponse)
    assert (answer.success, answer.match_index) == (True, 11)
    assert [one.index for one in node.committed] == [10, 11]
