"""One test for each rule of chapter 4 of Ongaro's thesis: who decides while the membership changes.

A configuration is written `voters|learners|outgoing`, as in the log; a joint one has outgoing voters.
"""

from __future__ import annotations

import pytest

from raftgossip.core.raft.message import (
    AppendRequest,
    PreVoteRequest,
    PreVoteResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftgossip.facts import ConfigurationChanged, PeerCaughtUp, PeerResponsive, PeerUnresponsive
from raftgossip.ids import NodeId
from tests.core.raft.lone_node import (
    LoneNode,
    append,
    appended,
    bodies,
    change_entry,
    entry,
    vote_request,
)

LATE = 99
"""A sequence that the leader has certainly reached in these stories, once `reach` was called."""


def reach(node: LoneNode) -> None:
    """Let the leader send so many heartbeats that every answer with the sequence `LATE` is one to them."""
    while max((one.sequence for one in bodies(node.time_out(), AppendRequest)), default=0) < LATE:
        for voter in (2, 3, 4, 5):
            node.receive(voter, node.status.term, appended(1))


def leading(members: str = "1,2,3", *supporters: int) -> LoneNode:
    """A leader that has committed its first entry (index 2, term 2), and answered sequences up to `LATE`."""
    node = LoneNode(members=members)
    node.lead(*supporters)
    for supporter in supporters or (2,):
        node.receive(supporter, 2, appended(2))
    reach(node)
    assert node.status.commit_index == 2
    return node


def asked(node: LoneNode) -> list[int]:
    """Whom it asks for their pre-votes when its timeout passes."""
    return sorted(message.receiver for message in node.time_out() if isinstance(message.body, PreVoteRequest))


# --- when a configuration takes effect (section 4.1)


def test_a_leader_decides_by_a_new_configuration_as_soon_as_it_is_in_its_log() -> None:
    node = leading()
    node.change("1,2,3,4|")
    assert node.changes == ["1,2,3,4|"]
    node.receive(2, 2, appended(3, LATE))
    assert node.status.commit_index == 2, "two of four are no majority"
    node.receive(3, 2, appended(3, LATE))
    assert node.status.commit_index == 3


def test_a_follower_decides_by_a_new_configuration_as_soon_as_it_is_in_its_log() -> None:
    node = LoneNode()
    node.receive(2, 1, append((1, 1), change_entry(2, 1, "1,2,3,4")))
    assert node.status.commit_index == 1
    assert asked(node) == [2, 3, 4]


def test_a_configuration_that_is_cut_off_the_log_decides_no_more() -> None:
    node = LoneNode()
    node.receive(2, 1, append((1, 1), change_entry(2, 1, "1,2,3,4")))
    node.receive(3, 2, append((1, 1), entry(2, 2)))
    assert asked(node) == [2, 3]


def test_a_restart_finds_the_newest_configuration_committed_or_not() -> None:
    node = LoneNode()
    node.receive(2, 1, append((1, 1), change_entry(2, 1, "1,2,3,4")))
    node.restart()
    assert asked(node) == [2, 3, 4]
    assert [fact.voters for fact in node.facts if isinstance(fact, ConfigurationChanged)] == [(1, 2, 3)]


def test_a_candidate_outside_the_configuration_may_get_a_vote() -> None:
    """Its own log may hold a newer configuration, with it."""
    (message,) = LoneNode().receive(9, 2, vote_request((2, 2)))
    assert message.body == VoteResponse(True)


def test_a_leader_outside_the_configuration_is_followed() -> None:
    node = LoneNode()
    node.receive(9, 2, append((1, 1), entry(2, 2), commit=2))
    assert (node.status.leader, node.status.commit_index) == (9, 2)


# --- one change at a time (section 4.1)


def test_no_change_is_taken_before_the_leader_committed_an_entry_of_its_term() -> None:
    """Ongaro, raft-dev 2015: the bug of single-server changes."""
    node = LoneNode()
    node.lead()
    node.change("1,2,3|4")
    assert node.changes == [] and [one.reason for one in node.refused] == ["change_pending"]
    node.receive(2, 2, appended(2))
    node.change("1,2,3|4")
    assert node.changes == ["1,2,3|4"]


def test_no_change_is_taken_before_the_last_one_is_committed() -> None:
    node = leading()
    node.change("1,2,3|4")
    node.change("1,2,3|5")
    assert node.changes == ["1,2,3|4"] and [one.reason for one in node.refused] == ["change_pending"]


@pytest.mark.parametrize("text", ["1,2,3|", "|1,2,3", "1,2|3|1,2,3", "0,1,2|3"])
def test_what_is_no_change_or_leaves_nobody_to_decide_is_refused(text: str) -> None:
    node = leading()
    node.change(text)
    assert node.changes == [] and [one.reason for one in node.refused] == ["invalid"]


def test_a_follower_takes_no_change() -> None:
    node = LoneNode()
    node.receive(3, 1, append((1, 1)))
    node.change("1,2,3|4")
    assert [(one.reason, one.leader) for one in node.refused] == [("not_leader", 3)]


# --- new servers catch up first (section 4.2.1)


def test_a_learner_gets_the_log_and_decides_nothing() -> None:
    node = leading("1,2,3|4")
    assert bodies(node.propose(), AppendRequest, receiver=4)
    node.receive(4, 2, appended(3, LATE))
    assert node.status.commit_index == 2
    node.receive(2, 2, appended(3, LATE))
    assert node.status.commit_index == 3


def test_a_learner_is_not_asked_for_its_vote_and_does_not_count_as_one() -> None:
    node = LoneNode(members="1,2,3|4")
    assert asked(node) == [2, 3]
    node.receive(4, 2, PreVoteResponse(True))
    assert node.status.term == 1


def test_a_learner_does_not_stand() -> None:
    node = LoneNode(members="2,3|1")
    node.receive(2, 1, append((1, 1)))
    assert asked(node) == []
    assert (node.status.role, node.status.term, node.status.leader) == ("learner", 1, None)


def test_a_learner_votes_all_the_same() -> None:
    """It may be a voter of a configuration that it has not heard of (section 4.1)."""
    (message,) = LoneNode(members="2,3|1").receive(2, 2, vote_request((1, 1)))
    assert message.body == VoteResponse(True)


def test_it_is_told_when_a_learner_has_caught_up() -> None:
    node = LoneNode(terms=(1,) * 40, members="1,2,3|4")
    node.lead()
    node.receive(2, 2, appended(41))  # a voter is not spoken of
    node.receive(4, 2, appended(41 - node.config.caught_up_lag - 1))
    assert not [fact for fact in node.facts if isinstance(fact, PeerCaughtUp)]
    node.receive(4, 2, appended(41 - node.config.caught_up_lag))
    node.receive(4, 2, appended(41))  # and a learner not twice
    assert [fact.node_id for fact in node.facts if isinstance(fact, PeerCaughtUp)] == [4]


def test_what_is_on_its_way_to_everybody_does_not_keep_a_learner_behind() -> None:
    node = LoneNode(members="1,2,3|4")
    node.lead()
    node.receive(2, 2, appended(2))
    for _ in range(4 * node.config.caught_up_lag):
        node.propose()
    node.receive(4, 2, appended(2))
    assert [fact.node_id for fact in node.facts if isinstance(fact, PeerCaughtUp)] == [4]


def test_a_learner_that_fell_silent_has_to_catch_up_again() -> None:
    node = leading("1,2,3|4")
    node.receive(4, 2, appended(2, LATE))
    for index in range(3, 43):
        node.propose()
        node.receive(2, 2, appended(index, LATE))
    silent_ms = node.now_ms + node.config.unresponsive_after_ms
    while node.now_ms <= silent_ms + node.config.heartbeat_ms:
        node.receive(2, 2, appended(42, LATE))
        node.time_out()
    node.receive(4, 2, appended(2, LATE))
    node.receive(4, 2, appended(42, LATE))
    told = [fact for fact in node.facts if isinstance(fact, PeerCaughtUp | PeerUnresponsive | PeerResponsive)]
    assert [type(fact).__name__ for fact in told if fact.node_id == 4] == [
        "PeerResponsive",
        "PeerCaughtUp",
        "PeerUnresponsive",
        "PeerResponsive",
        "PeerCaughtUp",
    ]


# --- removing the leader (section 4.2.2)


def test_a_leader_that_removes_itself_does_not_count_itself_and_leads_until_that_is_committed() -> None:
    node = leading()
    node.change("2,3|")
    node.receive(2, 2, appended(3, LATE))
    assert (node.status.role, node.status.commit_index) == ("leader", 2)
    messages = node.receive(3, 2, appended(3, LATE))
    assert node.status.role != "leader" and node.status.commit_index == 3
    assert len(bodies(messages, TimeoutNow)) == 1, "nobody should have to wait for an election timeout"


def test_a_server_that_is_being_removed_may_stand_until_that_is_committed() -> None:
    node = LoneNode()
    node.receive(2, 1, append((1, 1), change_entry(2, 1, "2,3")))
    assert asked(node) == [2, 3]
    node.receive(2, 1, append((2, 1), commit=2))
    assert asked(node) == []


def test_who_is_removed_does_not_count_its_own_vote() -> None:
    node = LoneNode()
    node.receive(2, 1, append((1, 1), change_entry(2, 1, "2,3")))
    node.time_out()
    node.receive(2, 2, PreVoteResponse(True))
    assert node.status.term == 1
    node.receive(3, 2, PreVoteResponse(True))
    assert node.status.term == 2


# --- disruptive servers (section 4.2.3)


def test_who_hears_its_leader_is_not_moved_by_a_candidate() -> None:
    node = LoneNode()
    node.receive(2, 1, append((1, 1)))
    node.now_ms += node.config.election_min_ms - 1
    assert node.receive(9, 7, vote_request((9, 7))) == []
    assert (node.status.term, node.status.leader) == (1, 2)
    node.now_ms += 1
    (message,) = node.receive(9, 7, vote_request((9, 7)))
    assert message.body == VoteResponse(True)


def test_a_leader_is_not_moved_by_a_candidate() -> None:
    node = leading()
    assert node.receive(9, 7, vote_request((9, 7))) == []
    assert (node.status.role, node.status.term) == ("leader", 2)


def test_a_candidate_that_the_leader_sent_is_heard_at_once() -> None:
    """Section 3.10."""
    node = LoneNode()
    node.receive(2, 1, append((1, 1)))
    (message,) = node.receive(3, 2, vote_request((1, 1), is_transfer=True))
    assert message.body == VoteResponse(True)


# --- joint consensus (section 4.3)


@pytest.mark.parametrize(
    ("now", "wanted", "entry_in_log"),
    [
        ("1,2,3|", "1,2,3,4|", "1,2,3,4|"),
        ("1,2,3|4", "1,2,3,4|", "1,2,3,4|"),
        ("1,2,3|", "1,2|3", "1,2|3"),
        ("1,2,3|", "1,2,3|4,5", "1,2,3|4,5"),
        ("1,2,3|4", "1,2,4|3", "1,2,4|3|1,2,3"),
        ("1,2,3|", "1|", "1||1,2,3"),
        ("1,2,3|", "2,4,5|1", "2,4,5|1|1,2,3"),
    ],
)
def test_a_change_of_one_voter_is_one_entry_and_a_larger_one_is_joint(now: str, wanted: str, entry_in_log: str) -> None:
    node = leading(now)
    node.change(wanted)
    assert node.changes == [entry_in_log]


@pytest.mark.parametrize(
    ("acknowledged_by", "is_committed"),
    [((2,), False), ((4, 5), False), ((2, 4), True), ((2, 3), False), ((3, 5), True)],
)
def test_a_joint_configuration_commits_by_a_majority_of_both_halves(
    acknowledged_by: tuple[int, ...], is_committed: bool
) -> None:
    node = leading()
    node.change("1,4,5|")  # joint: 1, 4, 5 and 1, 2, 3
    node.receive(2, 2, appended(2, LATE))
    sent = node.time_out()
    late = max(one.sequence for one in bodies(sent, AppendRequest))
    for other in acknowledged_by:
        node.receive(other, 2, appended(3, late))
    assert (node.status.commit_index >= 3) is is_committed


@pytest.mark.parametrize(
    ("granted_by", "wins"), [((2, 3), False), ((4, 5), False), ((2, 4), True), ((2, 3, 5), True), ((6, 7), False)]
)
def test_a_joint_configuration_elects_by_a_majority_of_both_halves(granted_by: tuple[int, ...], wins: bool) -> None:
    node = LoneNode(members="1,4,5||1,2,3")
    assert asked(node) == [2, 3, 4, 5]
    for other in granted_by:
        node.receive(other, 2, PreVoteResponse(True))
    assert (node.status.term == 2) is wins
    for other in granted_by:
        node.receive(other, 2, VoteResponse(True))
    assert (node.status.role == "leader") is wins


def test_a_server_of_either_half_may_stand() -> None:
    assert asked(LoneNode(members="2,3||1,4,5")) == [2, 3, 4, 5]
    assert asked(LoneNode(members="1,3||2,4,5")) == [2, 3, 4, 5]


def test_the_leader_ends_the_joint_configuration_once_when_it_is_committed() -> None:
    node = leading("1,2,3|4")
    node.change("1,2,4|3")
    node.receive(2, 2, appended(3, LATE))
    assert node.changes == ["1,2,4|3|1,2,3", "1,2,4|3"]
    node.receive(2, 2, appended(4, LATE))
    node.receive(3, 2, appended(4, LATE))
    node.receive(4, 2, appended(4, LATE))
    assert node.changes == ["1,2,4|3|1,2,3", "1,2,4|3"]
    told = [(fact.voters, fact.outgoing) for fact in node.facts if isinstance(fact, ConfigurationChanged)]
    assert told == [((1, 2, 3), ()), ((1, 2, 4), (1, 2, 3)), ((1, 2, 4), ())]


def test_the_joint_configuration_is_not_ended_by_the_commit_of_what_stands_before_it() -> None:
    node = leading("1,2,3|4")
    node.propose()
    node.change("1,2,4|3")
    node.receive(2, 2, appended(3, LATE))
    assert (node.status.commit_index, node.changes) == (3, ["1,2,4|3|1,2,3"])
    node.receive(2, 2, appended(4, LATE))
    assert node.changes == ["1,2,4|3|1,2,3", "1,2,4|3"]


def test_no_change_is_taken_while_the_configuration_is_joint() -> None:
    node = LoneNode(members="1,2,4|3|1,2,3")
    node.lead()
    node.receive(2, 2, appended(2))
    assert node.changes == ["1,2,4|3"]
    node.change("1,2,3,4|")
    assert node.changes == ["1,2,4|3"] and [one.reason for one in node.refused] == ["change_pending"]


def test_a_new_leader_ends_the_joint_configuration_that_its_predecessor_left() -> None:
    node = LoneNode(members="1,2,4|3|1,2,3")
    node.lead()
    assert node.changes == [], "not before it knows by an entry of its own term that it is committed"
    node.receive(2, 2, appended(2))
    assert node.changes == ["1,2,4|3"]


def test_a_leader_that_is_in_the_old_half_only_leads_until_the_end() -> None:
    node = leading()
    node.change("2,4,5|1")
    node.receive(2, 2, appended(3, LATE))
    sent = node.time_out()
    late = max(one.sequence for one in bodies(sent, AppendRequest))
    node.receive(4, 2, appended(3, late))
    assert node.changes == ["2,4,5|1|1,2,3", "2,4,5|1"] and node.status.role == "leader"
    node.receive(2, 2, appended(4, late))
    assert node.status.role == "leader"
    node.receive(4, 2, appended(4, late))
    assert (node.status.role, node.status.commit_index) == ("learner", 4)


def test_who_is_removed_is_told_so() -> None:
    """It would else go on standing for election."""
    node = leading()
    node.change("1,2|")
    told = bodies(node.receive(2, 2, appended(3, LATE)), AppendRequest, receiver=3)
    assert told and told[-1].commit_index == 3
    assert [one.node_id for one in node.status.followers] == [NodeId(2)]


def test_votes_are_counted_by_the_newest_configuration_also_if_it_comes_during_the_election() -> None:
    node = LoneNode()
    node.stand()
    node.receive(3, 2, append((1, 1), change_entry(2, 2, "1,2,3,4,5")))
    node.time_out()
    node.receive(2, 3, PreVoteResponse(True))
    assert not bodies(node.receive(2, 3, PreVoteResponse(True)), VoteRequest)
    assert bodies(node.receive(4, 3, PreVoteResponse(True)), VoteRequest)
