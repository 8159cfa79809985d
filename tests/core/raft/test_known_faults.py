"""The seven faults of earlier implementations of this system, each shown to be absent, and what was found since."""

from __future__ import annotations

import random

import pytest

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    AppendRequest,
    AppendResponse,
    Entry,
    EntryKind,
    HardState,
    Persisted,
    PreVoteRequest,
    Received,
    Tick,
    VoteRequest,
    VoteResponse,
)
from raftgossip.core.raft.node import RaftNode
from raftgossip.ids import LogIndex, NodeId, Term
from tests.core.raft.lone_node import (
    LoneNode,
    append,
    appended,
    bodies,
    change_entry,
    chunk,
    configuration,
    entry,
    snapshot,
    vote_request,
)

# --- 1: a candidate never starts another election after a split vote


def test_1_a_candidate_stands_again_after_a_split_vote() -> None:
    node = LoneNode()
    for term in (2, 3, 4):
        requests = node.stand()
        assert {message.term for message in requests if isinstance(message.body, VoteRequest)} == {term}
        node.receive(2, term, VoteResponse(False))
        node.receive(3, term, VoteResponse(False))
        assert node.status.role != "leader"


def test_1_a_candidate_stands_again_when_nobody_answers() -> None:
    node = LoneNode()
    node.stand()
    assert bodies(node.time_out(), PreVoteRequest)


# --- 2: pre-vote never times out, and ignores a valid leader's heartbeat


def test_2_a_pre_vote_that_nobody_answers_times_out_and_is_asked_again() -> None:
    node = LoneNode()
    for _ in range(5):
        asked = node.time_out()
        assert [message.term for message in asked if isinstance(message.body, PreVoteRequest)] == [2, 2]


def test_2_a_pre_candidate_follows_a_valid_leaders_heartbeat() -> None:
    node = LoneNode()
    node.time_out()
    (message,) = node.receive(3, 1, append((1, 1)))
    assert message.receiver == 3 and node.status.leader == 3


# --- 3: a follower commits a stale conflicting entry on a heartbeat


def test_3_a_heartbeat_commits_no_stale_conflicting_entry() -> None:
    node = LoneNode(terms=(1, 2), term=2)
    node.receive(3, 3, append((2, 3), commit=2))
    node.receive(3, 3, append((1, 1), commit=2))
    assert node.status.commit_index == 1
    node.receive(3, 3, append((1, 1), entry(2, 3), commit=2))
    assert node.status.commit_index == 2 and node.committed[-1].term == 3


# --- 4: a replay from index 0 after compaction corrupts the log


def compacted() -> LoneNode:
    """A follower of term 1 with entries up to 8, a snapshot up to 6, and everything up to 4 discarded."""
    node = LoneNode(terms=(1,) * 8, commit=6, config=RaftConfig(snapshot_trailing=2))
    node.take_snapshot(6)
    assert (node.status.first_index, node.status.last_index, node.status.commit_index) == (5, 8, 6)
    return node


def replay(first: int, last: int, commit: int = 0) -> AppendRequest:
    """The leader's log from `first` to `last`, all of term 1, as it once stood there."""
    one = [change_entry(1, 1, "1,2,3"), *(entry(index, 1) for index in range(2, 20))]
    previous = (first - 1, 1 if first > 1 else 0)
    return append(previous, *one[first - 1 : last], commit=commit)


@pytest.mark.parametrize("last", range(1, 9))
@pytest.mark.parametrize("first", range(1, 6))
def test_4_a_replay_of_what_was_discarded_changes_nothing(first: int, last: int) -> None:
    node = compacted()
    saved, handed_out = list(node.disk.entries), list(node.committed)
    (answer,) = bodies(node.receive(2, 1, replay(first, last, commit=last)), AppendResponse)
    assert answer.success and answer.match_index == max(last, 4, first - 1)
    assert node.disk.entries == saved and node.status.snapshot_index == 6
    assert node.status.commit_index == max(6, min(last, 8))
    assert node.committed[: len(handed_out)] == handed_out
    assert [one.index for one in node.committed] == list(range(1, node.status.commit_index + 1)), "once, in order"


def test_4_a_replay_from_index_0_that_reaches_further_adds_only_what_is_new() -> None:
    node = compacted()
    (answer,) = bodies(node.receive(2, 1, replay(1, 10, commit=10)), AppendResponse)
    assert (answer.success, answer.match_index) == (True, 10)
    assert [one.index for one in node.disk.entries] == [5, 6, 7, 8, 9, 10]
    assert [one.index for one in node.committed] == list(range(1, 11))


def test_4_a_replay_after_a_restart_applies_nothing_that_the_snapshot_holds() -> None:
    node = compacted()
    node.restart()
    node.receive(2, 1, replay(1, 8, commit=8))
    assert [one.index for one in node.committed] == [7, 8]
    assert [one.index for one in node.disk.entries] == [5, 6, 7, 8]


def test_4_a_replay_after_a_received_snapshot_leaves_it_in_place() -> None:
    node = LoneNode()
    node.receive(2, 1, chunk(snapshot((8, 1))))
    (answer,) = bodies(node.receive(2, 1, replay(1, 5, commit=5)), AppendResponse)
    assert (answer.success, answer.match_index) == (True, 8)
    node.receive(2, 1, replay(1, 10, commit=9))
    assert [one.index for one in node.disk.entries] == [9, 10]
    assert [one.index for one in node.committed] == [1, 9] and node.status.commit_index == 9


def test_4_a_snapshot_that_is_sent_again_takes_nothing_back() -> None:
    node = compacted()
    node.receive(2, 1, append((8, 1), commit=8))
    for last in (3, 6, 8):
        (answer,) = bodies(node.receive(2, 1, chunk(snapshot((last, 1)))), AppendResponse)
        assert (answer.success, answer.match_index) == (True, last)
    assert node.installed == [] and node.status.commit_index == node.status.last_index == 8


# --- 5: term and vote are lost over a restart, so a node votes twice


def test_5_a_restarted_node_does_not_vote_twice_in_a_term() -> None:
    node = LoneNode()
    node.receive(2, 2, vote_request((1, 1)))
    node.restart()
    (message,) = node.receive(3, 2, vote_request((9, 1)))
    assert node.status.term == 2 and message.body == VoteResponse(False)


def test_5_a_restarted_candidate_remembers_that_it_voted_for_itself() -> None:
    node = LoneNode()
    node.stand()
    node.restart()
    (message,) = node.receive(3, 2, vote_request((9, 1)))
    assert message.body == VoteResponse(False)


def test_5_a_snapshot_keeps_term_and_vote() -> None:
    node = compacted()
    node.receive(2, 2, vote_request((8, 1)))
    node.take_snapshot(6)
    node.restart()
    (message,) = node.receive(3, 2, vote_request((9, 1)))
    assert node.status.term == 2 and message.body == VoteResponse(False)


# --- 6: two membership changes in flight, acknowledgements of those who are no members yet count


def test_6_a_second_membership_change_waits_for_the_first() -> None:
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(2))
    node.change("1,2,3|4")
    node.change("1,2,3|5")
    assert node.changes == ["1,2,3|4"]
    node.receive(2, 2, appended(3))
    node.change("1,2,3|4,5")
    assert node.changes == ["1,2,3|4", "1,2,3|4,5"]


@pytest.mark.parametrize("outsider", [4, 9])
def test_6_the_acknowledgement_of_a_node_that_is_no_voter_yet_commits_nothing(outsider: int) -> None:
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(2))
    node.change("1,2,3|4")
    node.receive(outsider, 2, appended(3))
    assert node.status.commit_index == 2
    node.receive(2, 2, appended(3))
    node.propose()
    node.receive(outsider, 2, appended(4, sequence=6))
    assert node.status.commit_index == 3


# --- 7: a joiner's match index is assumed before it acknowledged


def test_7_nothing_is_assumed_of_a_joiners_log_before_it_acknowledged() -> None:
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(2))
    assert bodies(node.change("1,2,3|4"), AppendRequest, receiver=4) != []
    node.receive(2, 2, appended(3))
    assert {one.node_id: one.match_index for one in node.status.followers} == {2: 3, 3: 0, 4: 0}
    node.change("1,2,3,4|")
    node.receive(2, 2, appended(4, sequence=4))
    node.propose()
    node.receive(2, 2, appended(5, sequence=4))
    assert node.status.commit_index == 3, "two of four hold entries 4 and 5; the joiner's silence is no third"


def test_7_nothing_is_assumed_of_who_left_and_came_back() -> None:
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(2))
    node.receive(3, 2, appended(2, sequence=2))
    node.change("1,2|")
    node.receive(2, 2, appended(3))
    node.change("1,2|3")
    assert {one.node_id: one.match_index for one in node.status.followers} == {2: 3, 3: 0}
    node.receive(3, 2, appended(2, sequence=2))
    assert node.status.followers[1].match_index == 0, "that answer was given in its earlier life as a member"


# --- found since


def test_survivors_of_a_leader_that_could_not_tell_of_a_new_voter_elect_one_of_theirs() -> None:
    """The leader commits "2 -> 3 voters" and dies before anybody hears of it: two of three must be enough."""
    two, three = NodeId(2), NodeId(3)
    entries = [
        Entry(LogIndex(place), Term(1), EntryKind.CONFIGURATION, configuration(text).encode())
        for place, text in enumerate(("1,2|3", "1,2,3|"), 1)
    ]
    saved = HardState(Term(1), None, LogIndex(1))
    nodes = {
        node_id: RaftNode(node_id, RaftConfig(), random.Random(node_id), hard_state=saved, entries=entries)
        for node_id in (two, three)
    }
    for now_ms in range(0, 10_000, 10):
        for node in nodes.values():
            due_ms = node.deadline_ms()
            if due_ms is not None and due_ms <= now_ms:
                node.handle(Tick(), now_ms)
        for node in nodes.values():
            while (ready := node.ready()) is not None:
                if ready.entries:
                    node.handle(Persisted(ready.entries[-1].index), now_ms)
                for message in (*ready.prompt_messages, *ready.messages):
                    if message.receiver in nodes:
                        nodes[message.receiver].handle(Received(message), now_ms)
        if any(node.status().role == "leader" for node in nodes.values()):
            return
    raise AssertionError("nobody leads, though two of three voters are there")


def test_a_joiner_does_not_renew_the_word_that_it_gave_a_silent_leader() -> None:
    """It knows no configuration, so it cannot stand; but it must let others stand."""
    node = LoneNode(members="2,3")
    node.receive(2, 1, append((1, 1)))
    node.time_out()
    (message,) = node.receive(3, 2, vote_request((1, 1)))
    assert message.body == VoteResponse(True)


def test_a_term_out_of_all_proportion_is_not_taken_over() -> None:
    node = LoneNode()
    node.receive(2, 2**61, VoteResponse(False))
    assert node.status.term < 2**61
