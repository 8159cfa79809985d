"""One test for each rule of who gets a vote (Ongaro's thesis, 2014): RequestVote of Figure 3.1, transfer, pre-vote."""

from __future__ import annotations

import pytest

from raftgossip.core.raft.message import (
    Message,
    PreVoteRequest,
    PreVoteResponse,
    Received,
    TimeoutNow,
    TransferRequested,
    VoteRequest,
)
from raftgossip.ids import LogIndex, NodeId, Term
from tests.core.raft.lone_node import LoneNode, append, appended, bodies, granted, vote_request

# --- RequestVote, receiver (Figure 3.1)


def test_a_vote_in_an_older_term_is_refused() -> None:
    node = LoneNode(term=5)
    messages = node.receive(2, 4, vote_request((9, 4)))
    assert granted(messages) is False and messages[0].term == 5


@pytest.mark.parametrize(("earlier_vote", "expected"), [(None, True), (2, True), (3, False)])
def test_a_node_votes_for_one_candidate_a_term(earlier_vote: int | None, expected: bool) -> None:
    node = LoneNode(term=5, vote=earlier_vote)
    assert granted(node.receive(2, 5, vote_request((1, 1)))) is expected


def test_who_follows_a_leader_of_the_term_votes_for_nobody_else_in_it() -> None:
    node = LoneNode(term=5)
    node.receive(3, 5, append((1, 1)))
    node.now_ms += node.config.election_max_ms
    assert granted(node.receive(2, 5, vote_request((9, 5)))) is False


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
    assert ready is not None and ready.hard_state is not None and not ready.prompt_messages
    assert (ready.hard_state.term, ready.hard_state.voted_for) == (2, 2)
    assert granted(ready.messages) is True


def test_a_vote_is_kept_for_the_whole_term_also_when_the_election_timer_passes() -> None:
    """Section 3.4."""
    node = LoneNode()
    node.receive(2, 2, vote_request((1, 1)))
    node.time_out()
    assert granted(node.receive(3, 2, vote_request((9, 1)))) is False


# --- leadership transfer (section 3.10)


def test_a_leader_asks_the_most_caught_up_voter_to_stand() -> None:
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(1))
    node.receive(3, 2, appended(2, sequence=2))
    messages = node.handle(TransferRequested(5))
    assert [message.receiver for message in messages if isinstance(message.body, TimeoutNow)] == [3]


@pytest.mark.parametrize(("target", "reason"), [(1, "invalid"), (4, "invalid"), (9, "invalid"), (None, "no_successor")])
def test_only_another_voter_that_answers_can_take_over(target: int | None, reason: str) -> None:
    node = LoneNode(members="1,2,3|4")
    node.lead()
    node.receive(4, 2, appended(2))
    assert not bodies(node.handle(TransferRequested(5, NodeId(target) if target else None)), TimeoutNow)
    assert [(one.request_id, one.reason) for one in node.refused] == [(5, reason)]


def test_while_it_hands_over_a_leader_takes_no_commands() -> None:
    node = LoneNode()
    node.lead()
    node.receive(3, 2, appended(2, sequence=2))
    node.handle(TransferRequested(5))
    node.propose()
    assert [(one.request_id, one.reason) for one in node.refused] == [(1, "transferring")]


def test_the_next_leader_must_have_the_whole_log_first() -> None:
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(2))
    assert not bodies(node.handle(TransferRequested(5, NodeId(3))), TimeoutNow)
    assert not bodies(node.receive(3, 2, appended(1, sequence=2)), TimeoutNow)
    assert bodies(node.receive(3, 2, appended(2, sequence=2)), TimeoutNow, receiver=3)


def test_a_transfer_that_takes_an_election_timeout_is_given_up() -> None:
    node = LoneNode()
    node.lead()
    begun_ms = node.now_ms
    node.handle(TransferRequested(5, NodeId(3)))
    for _ in range(100):
        if not node.refused:
            node.receive(2, 2, appended(2))
            node.time_out()
    assert node.refused[0].reason == "transfer_failed" and node.status.role == "leader"
    assert begun_ms + node.config.election_max_ms <= node.now_ms
    node.propose()
    assert len(node.refused) == 1


def test_who_is_asked_to_stand_does_so_at_once_and_says_so() -> None:
    node = LoneNode()
    node.receive(3, 1, append((1, 1)))
    requests = bodies(node.receive(3, 1, TimeoutNow()), VoteRequest)
    assert requests == [vote_request((1, 1), is_transfer=True)] * 2 and node.status.term == 2


@pytest.mark.parametrize(("sender", "term"), [(2, 1), (3, 0)])
def test_only_the_leader_of_the_term_may_ask_to_stand(sender: int, term: int) -> None:
    node = LoneNode()
    node.receive(3, 1, append((1, 1)))
    assert node.receive(sender, term, TimeoutNow()) == [] and node.status.term == 1


# --- pre-vote (section 9.6)


@pytest.mark.parametrize(
    ("term", "last", "expected"), [(2, (1, 1), True), (2, (1, 0), False), (1, (9, 9), False), (9, (1, 1), True)]
)
def test_a_pre_vote_is_granted_as_the_vote_would_be_and_promises_nothing(
    term: int, last: tuple[int, int], expected: bool
) -> None:
    node = LoneNode()
    (message,) = node.receive(2, term, PreVoteRequest(LogIndex(last[0]), Term(last[1])))
    assert message.body == PreVoteResponse(expected)
    assert node.disk.term == node.status.term == 1
    assert granted(node.receive(3, 2, vote_request((1, 1)))) is True


def test_no_pre_vote_is_granted_while_a_leader_is_heard() -> None:
    node = LoneNode()
    node.receive(2, 1, append((1, 1)))
    (message,) = node.receive(3, 2, PreVoteRequest(LogIndex(9), Term(1)))
    assert message.body == PreVoteResponse(False)


def test_an_answer_to_another_pre_vote_does_not_count() -> None:
    node = LoneNode()
    node.time_out()
    assert not bodies(node.receive(2, 3, PreVoteResponse(True)), VoteRequest)
    assert bodies(node.receive(2, 2, PreVoteResponse(True)), VoteRequest)


def test_who_wins_no_pre_vote_raises_no_term_however_long_it_is_alone() -> None:
    node = LoneNode()
    for _ in range(50):
        assert not bodies(node.time_out(), VoteRequest)
    assert node.status.term == node.disk.term == 1
