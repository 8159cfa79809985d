"""One test for each rule of Raft, in the order of Figure 3.1 of Ongaro's thesis (2014), then of later chapters."""

from __future__ import annotations

import pytest

from raftgossip.core.raft.message import (
    AppendRequest,
    AppendResponse,
    Body,
    EntryKind,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    Proposed,
    Received,
    StepDown,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftgossip.ids import LogIndex, NodeId, Term
from tests.core.raft.lone_node import LoneNode, append, appended, entry, vote_request


def bodies(messages: list[Message], kind: type[Body]) -> list[Body]:
    """The bodies of one kind."""
    return [message.body for message in messages if isinstance(message.body, kind)]


def granted(messages: list[Message]) -> bool | None:
    """The answer to a question for a vote; None: there is none."""
    answers = [message.body.granted for message in messages if isinstance(message.body, VoteResponse)]
    return answers[0] if answers else None


def answer(messages: list[Message]) -> AppendResponse:
    """The one answer to an append."""
    (body,) = bodies(messages, AppendResponse)
    assert isinstance(body, AppendResponse)
    return body


# --- AppendEntries, receiver (Figure 3.1)


def test_append_of_an_older_term_is_refused_with_the_newer_term() -> None:
    node = LoneNode(term=5)
    messages = node.receive(2, 4, append((1, 1), entry(2, 4)))
    assert not answer(messages).success and messages[0].term == 5 and node.log_terms == [1]


@pytest.mark.parametrize("previous", [(3, 1), (2, 2), (7, 5)])
def test_append_is_refused_where_the_log_does_not_hold_the_entry_before_it(previous: tuple[int, int]) -> None:
    node = LoneNode(terms=(1, 1), term=5)
    assert not answer(node.receive(2, 5, append(previous, entry(previous[0] + 1, 5)))).success
    assert node.log_terms == [1, 1]


def test_a_conflicting_entry_and_all_behind_it_are_deleted() -> None:
    node = LoneNode(terms=(1, 2, 2, 2), term=3)
    assert answer(node.receive(2, 3, append((1, 1), entry(2, 3)))).match_index == 2
    assert node.log_terms == [1, 3]


def test_entries_that_the_log_holds_stay_with_all_behind_them() -> None:
    node = LoneNode(terms=(1, 2, 2, 2), term=3)
    assert answer(node.receive(2, 3, append((1, 1), entry(2, 2)))).match_index == 2
    assert node.log_terms == [1, 2, 2, 2]


@pytest.mark.parametrize(("leader_commit", "expected"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_a_follower_commits_to_the_leaders_commit_but_not_past_the_last_new_entry(
    leader_commit: int, expected: int
) -> None:
    node = LoneNode(terms=(1, 2, 2, 2), term=2)
    node.receive(2, 2, append((1, 1), entry(2, 2), entry(3, 2), commit=leader_commit))
    assert node.node.status().commit_index == expected


def test_a_refusal_names_the_first_index_of_the_conflicting_term() -> None:
    """Section 3.5: one refusal for each conflicting term, not for each entry."""
    node = LoneNode(terms=(1, 2, 2, 2), term=3)
    refusal = answer(node.receive(2, 3, append((4, 3))))
    assert (refusal.conflict_index, refusal.conflict_term) == (2, 2)


# --- RequestVote, receiver (Figure 3.1)


def test_a_vote_in_an_older_term_is_refused() -> None:
    node = LoneNode(term=5)
    messages = node.receive(2, 4, vote_request((9, 4)))
    assert granted(messages) is False and messages[0].term == 5


@pytest.mark.parametrize(("earlier_vote", "expected"), [(None, True), (2, True), (3, False)])
def test_a_node_votes_for_one_candidate_a_term(earlier_vote: int | None, expected: bool) -> None:
    node = LoneNode(term=5, vote=earlier_vote)
    assert granted(node.receive(2, 5, vote_request((1, 1)))) is expected


@pytest.mark.parametrize(
    ("last", "expected"), [((3, 2), True), ((4, 2), True), ((2, 3), True), ((2, 2), False), ((9, 1), False)]
)
def test_only_a_log_that_is_at_least_as_up_to_date_gets_a_vote(last: tuple[int, int], expected: bool) -> None:
    """Section 3.6.1: the later last term, then the longer log."""
    node = LoneNode(terms=(1, 2, 2), term=3)
    assert granted(node.receive(2, 4, vote_request(last))) is expected


def test_the_vote_is_saved_in_the_transaction_before_its_answer() -> None:
    """Section 3.8."""
    node = LoneNode()
    node.node.handle(Received(Message(NodeId(2), NodeId(1), Term(2), vote_request((1, 1)))), 0)
    ready = node.take_ready()
    assert ready is not None and ready.hard_state is not None
    assert (ready.hard_state.term, ready.hard_state.voted_for) == (2, 2)
    assert granted(list(ready.messages)) is True


# --- all servers, followers, candidates (Figure 3.1)


def test_a_newer_term_makes_a_leader_a_follower() -> None:
    node = LoneNode()
    node.lead()
    node.receive(3, 9, appended(1))
    assert (node.node.status().role, node.node.status().term) == ("follower", 9)


def test_committed_entries_are_handed_out_in_order_and_once() -> None:
    node = LoneNode(terms=(1, 1, 1))
    node.receive(2, 1, append((3, 1), commit=2))
    node.receive(2, 1, append((3, 1), commit=3))
    node.receive(2, 1, append((3, 1), commit=3))
    assert [one.index for one in node.committed] == [1, 2, 3]


def test_a_follower_that_hears_no_leader_stands_in_the_next_term_with_its_own_vote() -> None:
    node = LoneNode(terms=(1, 2), term=4)
    messages = node.stand()
    assert bodies(messages, VoteRequest) == [vote_request((2, 2))] * 2
    assert node.disk.hard_state is not None and (node.disk.term, node.disk.hard_state.voted_for) == (5, 1)


def test_a_follower_that_hears_its_leader_does_not_stand() -> None:
    node = LoneNode()
    for _ in range(20):
        node.now_ms += node.config.election_min_ms - 1
        node.receive(2, 1, append((1, 1)))
        deadline_ms = node.node.deadline_ms()
        assert deadline_ms is not None and deadline_ms > node.now_ms
    assert node.node.status().role == "follower"


def test_a_vote_that_is_given_restarts_the_election_timer() -> None:
    """Section 3.4."""
    node = LoneNode()
    node.now_ms = 400
    node.receive(2, 2, vote_request((1, 1)))
    deadline_ms = node.node.deadline_ms()
    assert deadline_ms is not None and deadline_ms >= 400 + node.config.election_min_ms


def test_a_majority_of_votes_makes_a_leader_and_the_same_vote_twice_does_not() -> None:
    node = LoneNode(voters=(1, 2, 3, 4, 5))
    node.time_out()
    node.receive(2, 2, PreVoteResponse(True))
    node.receive(3, 2, PreVoteResponse(True))
    node.receive(2, 2, VoteResponse(True))
    node.receive(2, 2, VoteResponse(True))
    assert node.node.status().role == "candidate"
    node.receive(4, 2, VoteResponse(True))
    assert node.node.status().role == "leader"


def test_a_candidate_follows_the_leader_of_its_term() -> None:
    node = LoneNode()
    node.stand()
    node.receive(3, 2, append((1, 1)))
    assert (node.node.status().role, node.node.status().leader) == ("follower", 3)


def test_election_timeouts_are_drawn_anew_from_the_whole_interval() -> None:
    """Section 3.4: so that split votes are rare."""
    node, drawn = LoneNode(), []
    for _ in range(200):
        before_ms = node.now_ms
        node.time_out()
        drawn.append(node.now_ms - before_ms)
    assert node.config.election_min_ms <= min(drawn) < 520 and 980 < max(drawn) <= node.config.election_max_ms


# --- leaders (Figure 3.1)


def test_a_new_leader_sends_an_entry_of_its_term_at_once() -> None:
    """Sections 3.4 and 6.4."""
    node = LoneNode(terms=(1, 1))
    requests = bodies(node.lead(), AppendRequest)
    assert len(requests) == 2
    for request in requests:
        assert isinstance(request, AppendRequest)
        assert (request.previous_index, request.previous_term) == (2, 1)
        assert [(one.index, one.term, one.kind) for one in request.entries] == [(3, 2, EntryKind.NOOP)]


def test_an_idle_leader_sends_heartbeats() -> None:
    node = LoneNode()
    node.lead()
    before_ms = node.now_ms
    requests = bodies(node.time_out(), AppendRequest)
    assert node.now_ms - before_ms == node.config.heartbeat_ms and len(requests) == 2


def test_a_command_is_answered_by_its_commit_and_not_before() -> None:
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(2))
    node.propose(b"x")
    assert b"x" not in [one.data for one in node.committed]
    node.receive(2, 2, appended(3))
    assert node.committed[-1].data == b"x"


def test_a_follower_refuses_a_command_and_names_its_leader() -> None:
    node = LoneNode()
    node.receive(3, 1, append((1, 1)))
    node.node.handle(Proposed(7, b"x"), 0)
    ready = node.take_ready()
    assert ready is not None
    assert [(one.request_id, one.reason, one.leader) for one in ready.refused] == [(7, "not_leader", 3)]


def test_after_a_refusal_the_leader_tries_where_the_follower_says() -> None:
    node = LoneNode(terms=(1, 1, 1, 1), term=1)
    node.lead()
    refusal = AppendResponse(False, LogIndex(0), LogIndex(2), Term(0), 1)
    (request,) = bodies(node.receive(2, 2, refusal), AppendRequest)
    assert isinstance(request, AppendRequest) and request.previous_index == 1
    assert [one.index for one in request.entries] == [2, 3, 4, 5]


def test_a_leader_counts_its_own_disk_only_when_it_has_written() -> None:
    """Section 10.2.1: a leader may send while it writes, but its own copy counts when it is durable."""
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(2))
    node.is_disk_slow = True
    node.propose()
    node.receive(2, 2, appended(3))
    assert node.node.status().commit_index == 2
    node.receive(3, 2, appended(3, sequence=2))
    assert node.node.status().commit_index == 3


def test_entries_of_earlier_terms_are_committed_only_along_with_one_of_the_own_term() -> None:
    """Section 3.6.2, Figure 3.7."""
    node = LoneNode(terms=(1, 2, 2), term=3)
    node.lead()
    node.receive(2, 4, appended(3))
    assert node.node.status().commit_index == 1
    node.receive(2, 4, appended(4))
    assert node.node.status().commit_index == 4


def test_a_leader_never_takes_an_append_in_its_own_term() -> None:
    """Section 3.5, leader append-only."""
    node = LoneNode()
    node.lead()
    assert node.receive(3, 2, append((1, 1), entry(2, 2, b"other"))) == []
    assert node.disk.entries[1].kind is EntryKind.NOOP


# --- later chapters


def test_a_server_that_hears_a_leader_neither_votes_nor_takes_over_the_term() -> None:
    """Section 4.2.3."""
    node = LoneNode()
    node.receive(2, 1, append((1, 1)))
    node.now_ms = node.config.election_min_ms - 1
    assert node.receive(3, 9, vote_request((9, 9))) == []
    assert node.node.status().term == 1


def test_a_vote_that_the_leader_asked_for_is_given_all_the_same() -> None:
    """Section 3.10."""
    node = LoneNode()
    node.receive(2, 1, append((1, 1)))
    assert granted(node.receive(3, 2, vote_request((1, 1), is_transfer=True))) is True


def test_who_is_told_to_stand_does_so_at_once() -> None:
    """Section 3.10."""
    node = LoneNode()
    node.receive(2, 1, append((1, 1)))
    assert bodies(node.receive(2, 1, TimeoutNow()), VoteRequest) == [vote_request((1, 1), is_transfer=True)] * 2


def test_a_leader_hands_over_to_the_most_caught_up_voter() -> None:
    """Section 3.10."""
    node = LoneNode()
    node.lead()
    node.receive(3, 2, appended(2, sequence=2))
    (message,) = [one for one in node.handle(StepDown()) if isinstance(one.body, TimeoutNow)]
    assert message.receiver == 3 and node.node.status().role == "follower"


def test_a_leader_that_hears_no_majority_steps_down() -> None:
    """Section 6.2."""
    node = LoneNode()
    node.lead()
    elected_ms = node.now_ms
    while node.node.status().role == "leader":
        node.time_out()
    silent_ms = node.now_ms - elected_ms
    assert node.config.election_max_ms <= silent_ms <= node.config.election_max_ms + node.config.heartbeat_ms


@pytest.mark.parametrize(
    ("term", "last", "expected"), [(2, (1, 1), True), (2, (1, 0), False), (1, (9, 9), False), (9, (1, 1), True)]
)
def test_a_pre_vote_is_granted_as_the_vote_would_be_and_promises_nothing(
    term: int, last: tuple[int, int], expected: bool
) -> None:
    """Section 9.6."""
    node = LoneNode()
    (message,) = node.receive(2, term, PreVoteRequest(LogIndex(last[0]), Term(last[1])))
    assert message.body == PreVoteResponse(expected)
    assert node.disk.term == node.node.status().term == 1


def test_no_pre_vote_is_granted_while_a_leader_is_heard() -> None:
    """Section 9.6."""
    node = LoneNode()
    node.receive(2, 1, append((1, 1)))
    (message,) = node.receive(3, 2, PreVoteRequest(LogIndex(9), Term(1)))
    assert message.body == PreVoteResponse(False)
