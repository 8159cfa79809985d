"""One test for each rule of Raft, in the order of Figure 3.1 of Ongaro's thesis (2014), then of later chapters.

Votes have a file of their own, `test_paper_elections.py`, and so have chapters 4 to 6: `test_paper_membership.py`,
`test_paper_snapshots.py`, `test_paper_reads.py`.
"""

from __future__ import annotations

import pytest

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    AppendRequest,
    AppendResponse,
    EntryKind,
    PreVoteResponse,
    Proposed,
    VoteRequest,
    VoteResponse,
)
from tests.core.raft.lone_node import LoneNode, answer, append, appended, bodies, entry, granted, refused, vote_request

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
    assert node.status.commit_index == expected


def test_the_same_append_twice_is_answered_alike_and_changes_nothing() -> None:
    """Section 3.7: requests are idempotent, so a leader may repeat what it has no answer to."""
    node = LoneNode(term=2)
    request = append((1, 1), entry(2, 2), entry(3, 2), commit=2)
    first = answer(node.receive(2, 2, request))
    saved = list(node.disk.entries)
    assert answer(node.receive(2, 2, request)) == first
    assert node.disk.entries == saved and [one.index for one in node.committed] == [1, 2]


@pytest.mark.parametrize(
    ("terms", "previous", "conflict"),
    [
        ((1, 2, 2, 2), (4, 3), (2, 2)),  # the first index of the conflicting term
        ((1, 2, 2, 3), (4, 4), (4, 3)),
        ((1, 2), (7, 4), (3, 0)),  # the log ends before
    ],
)
def test_a_refusal_names_the_place_where_the_leader_should_try_next(
    terms: tuple[int, ...], previous: tuple[int, int], conflict: tuple[int, int]
) -> None:
    """Section 3.5: one refusal for each conflicting term, not for each entry."""
    node = LoneNode(terms=terms, term=4)
    refusal = answer(node.receive(2, 4, append(previous)))
    assert (refusal.success, refusal.conflict_index, refusal.conflict_term) == (False, *conflict)


# --- what is written (section 3.8)


def test_an_append_is_acknowledged_only_when_its_entries_are_written() -> None:
    """Section 3.8."""
    node = LoneNode()
    node.is_disk_slow = True
    assert node.receive(2, 1, append((1, 1), entry(2, 1))) == []
    assert answer(node.finish_writing()).match_index == 2


def test_a_restart_keeps_term_vote_and_log() -> None:
    """Section 3.8: and it begins as a follower of nobody."""
    node = LoneNode()
    node.receive(2, 1, append((1, 1), entry(2, 1), commit=2))
    node.receive(3, 2, append((2, 1)))
    node.now_ms = 2_000
    node.receive(2, 3, vote_request((2, 1)))
    node.restart()
    assert (node.status.role, node.status.term, node.status.leader, node.status.last_index) == ("follower", 3, None, 2)
    assert granted(node.receive(3, 3, vote_request((9, 3)))) is False


# --- all servers, followers, candidates (Figure 3.1)


@pytest.mark.parametrize("role", ["leader", "candidate"])
def test_a_newer_term_makes_a_follower(role: str) -> None:
    """Section 3.3."""
    node = LoneNode()
    node.lead() if role == "leader" else node.stand()
    assert node.status.role == role
    node.receive(3, 9, appended(1))
    assert (node.status.role, node.status.term, node.disk.term) == ("follower", 9, 9)


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
    assert node.status.role == "follower"


def test_a_vote_that_is_given_restarts_the_election_timer() -> None:
    """Section 3.4: also one in the term that it is in already."""
    node = LoneNode(term=2)
    node.now_ms = 400
    node.receive(2, 2, vote_request((1, 1)))
    deadline_ms = node.node.deadline_ms()
    assert deadline_ms is not None and deadline_ms >= 400 + node.config.election_min_ms


def test_a_majority_of_votes_makes_a_leader_and_the_same_vote_twice_does_not() -> None:
    """Section 3.4."""
    node = LoneNode(members="1,2,3,4,5")
    node.time_out()
    node.receive(2, 2, PreVoteResponse(True))
    node.receive(3, 2, PreVoteResponse(True))
    node.receive(2, 2, VoteResponse(True))
    node.receive(2, 2, VoteResponse(True))
    assert node.status.role == "candidate"
    node.receive(4, 2, VoteResponse(True))
    assert node.status.role == "leader"


def test_a_vote_of_an_earlier_election_does_not_count() -> None:
    """Section 3.3: who answers in an older term is not heard."""
    node = LoneNode()
    node.stand()
    node.stand()
    node.receive(2, 2, VoteResponse(True))
    assert (node.status.role, node.status.term) == ("candidate", 3)


def test_an_answer_to_a_leader_s_request_of_an_earlier_term_does_not_count() -> None:
    """Section 3.3."""
    node = LoneNode(terms=(1, 1))
    node.lead()
    node.receive(3, 3, vote_request((9, 2), is_transfer=True))
    node.lead()
    assert node.status.term == 4
    node.receive(2, 2, appended(4))
    assert [one.match_index for one in node.status.followers] == [0, 0]


def test_an_answer_that_claims_more_than_the_leader_has_does_not_count() -> None:
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(3))
    assert node.status.followers[0].match_index == 0 and node.status.commit_index == 1


def test_a_late_answer_takes_nothing_back() -> None:
    node = LoneNode()
    node.lead()
    node.propose()
    node.receive(2, 2, appended(3))
    node.receive(2, 2, appended(2))
    assert node.status.followers[0].match_index == 3 and node.status.commit_index == 3


def test_a_candidate_follows_the_leader_of_its_term() -> None:
    """Section 3.4."""
    node = LoneNode()
    node.stand()
    node.receive(3, 2, append((1, 1)))
    assert (node.status.role, node.status.leader) == ("follower", 3)


def test_a_candidate_does_not_follow_the_leader_of_an_older_term() -> None:
    """Section 3.4."""
    node = LoneNode()
    node.stand()
    messages = node.receive(3, 1, append((1, 1)))
    assert node.status.role == "candidate" and not answer(messages).success and messages[0].term == 2


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
    requests = bodies(LoneNode(terms=(1, 1)).lead(), AppendRequest)
    assert len(requests) == 2
    for request in requests:
        assert (request.previous_index, request.previous_term) == (2, 1)
        assert [(one.index, one.term, one.kind) for one in request.entries] == [(3, 2, EntryKind.NOOP)]


def test_an_idle_leader_sends_heartbeats() -> None:
    node = LoneNode()
    node.lead()
    before_ms = node.now_ms
    requests = bodies(node.time_out(), AppendRequest)
    assert node.now_ms - before_ms == node.config.heartbeat_ms and len(requests) == 2


def test_a_leader_asks_a_silent_follower_for_ever() -> None:
    """Section 3.5: it retries until the follower has all entries, also after it has answered its client."""
    node = LoneNode()
    node.lead()
    begun_ms, num_asked = node.now_ms, 0
    while node.now_ms < begun_ms + 30 * node.config.heartbeat_ms:
        node.receive(2, 2, appended(2))
        num_asked += len(bodies(node.time_out(), AppendRequest, receiver=3))
    assert num_asked >= 30
    (request,) = bodies(node.receive(3, 2, refused(2, sequence=num_asked)), AppendRequest, receiver=3)
    assert [one.index for one in request.entries] == [2]


def test_a_leader_never_overwrites_its_own_log() -> None:
    """Leader Append-Only (Figure 3.2)."""
    node = LoneNode(terms=(1, 1, 1))
    node.lead()
    saved = list(node.disk.entries)
    node.receive(3, 1, append((1, 1), entry(2, 1, b"other"), commit=2))
    node.receive(3, 2, append((1, 1), entry(2, 2, b"other"), commit=2))
    assert node.disk.entries == saved and node.status.role == "leader"


def test_a_command_is_answered_by_its_commit_and_not_before() -> None:
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(2))
    node.propose(b"x")
    assert b"x" not in [one.data for one in node.committed]
    node.receive(2, 2, appended(3))
    assert node.committed[-1].data == b"x"


def test_a_follower_refuses_a_command_and_names_its_leader() -> None:
    """Section 6.2."""
    node = LoneNode()
    node.receive(3, 1, append((1, 1)))
    node.handle(Proposed(7, b"x"))
    assert [(one.request_id, one.reason, one.leader) for one in node.refused] == [(7, "not_leader", 3)]


@pytest.mark.parametrize(
    ("refusal", "previous"),
    [
        (refused(2), (1, 1)),  # its log ends there
        (refused(2, term=1), (2, 1)),  # both have term 1: behind the leader's last entry of it
        (refused(2, term=2), (1, 1)),  # the leader has no such term: before the follower's first of it
    ],
)
def test_after_a_refusal_the_leader_tries_where_both_may_agree(
    refusal: AppendResponse, previous: tuple[int, int]
) -> None:
    """Section 3.5."""
    node = LoneNode(terms=(1, 1, 3, 3), term=3)
    node.lead()
    (request,) = bodies(node.receive(2, 4, refusal), AppendRequest)
    assert (request.previous_index, request.previous_term) == previous
    assert [one.index for one in request.entries] == list(range(previous[0] + 1, 6))


def test_refusals_of_what_was_under_way_when_the_leader_began_to_probe_cause_no_more_probes() -> None:
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(2))
    late = [bodies(node.propose(), AppendRequest, receiver=2)[0].sequence for _ in range(3)]
    answers = [bodies(node.receive(2, 2, refused(3, sequence=each)), AppendRequest) for each in late]
    assert [len(each) for each in answers] == [1, 0, 0]


def test_the_commit_index_is_told_with_every_request() -> None:
    """Section 3.5: so followers learn of it."""
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(2))
    node.receive(3, 2, appended(2, sequence=2))
    assert {request.commit_index for request in bodies(node.propose(), AppendRequest)} == {2}


def test_entries_of_earlier_terms_are_committed_only_along_with_one_of_the_own_term() -> None:
    """Section 3.6.2, Figure 3.7."""
    node = LoneNode(terms=(1, 2, 2), term=3)
    node.lead()
    node.receive(2, 4, appended(3))
    assert node.status.commit_index == 1
    node.receive(2, 4, appended(4))
    assert node.status.commit_index == 4 and [one.index for one in node.committed] == [1, 2, 3, 4]


# --- the disk beside the network, batches and pipelines (section 10.2)


def test_a_leader_counts_its_own_disk_only_when_it_has_written() -> None:
    """Section 10.2.1: a leader sends while it writes, but its own copy counts when it is durable."""
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(2))
    node.is_disk_slow = True
    assert bodies(node.propose(), AppendRequest, receiver=2), "sent though it is not written"
    node.receive(2, 2, appended(3))
    assert node.status.commit_index == 2
    node.receive(3, 2, appended(3, sequence=2))
    assert node.status.commit_index == 3


def test_commands_that_wait_go_in_one_message() -> None:
    """Section 10.2.2: batching."""
    node = LoneNode()
    node.lead()
    node.receive(2, 2, appended(2))
    node.node.handle(Proposed(1, b"a"), node.now_ms)
    (request,) = bodies(node.handle(Proposed(2, b"b")), AppendRequest, receiver=2)
    assert [one.data for one in request.entries] == [b"a", b"b"]


def test_a_follower_that_keeps_up_is_sent_more_before_it_answers_up_to_a_window() -> None:
    """Section 10.2.2: pipelining."""
    node = LoneNode(config=RaftConfig(max_inflight=3))
    node.lead()
    node.receive(2, 2, appended(2))
    sent = [bool(bodies(node.propose(), AppendRequest, receiver=2)) for _ in range(5)]
    assert sent == [True, True, True, False, False]
    (request,) = bodies(node.receive(2, 2, appended(4)), AppendRequest, receiver=2)
    assert [one.index for one in request.entries] == [6, 7]
