"""One test for each rule of chapter 6 of Ongaro's thesis that Raft keeps: leaders that are none, and reads.

Sessions (section 6.3) are the state machine's part: `tests/core/test_sessions.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    AppendRequest,
    Message,
    ReadIndexRequest,
    ReadIndexResponse,
    TransferRequested,
    VoteResponse,
)
from raftgossip.ids import LogIndex, NodeId
from tests.core.raft.lone_node import LoneNode, append, appended, bodies, entry, vote_request

LEASES = RaftConfig(lease_drift_percent=20)


def leading(config: RaftConfig | None = None) -> LoneNode:
    """A leader that has committed its first entry: index 2, term 2."""
    node = LoneNode(config=config)
    node.lead()
    node.receive(2, 2, appended(2))
    assert node.status.commit_index == 2
    return node


def asked_at(messages: Sequence[Message], receiver: int = 2) -> int:
    """The sequence of the newest request to a follower."""
    return bodies(messages, AppendRequest, receiver)[-1].sequence


def granted(node: LoneNode) -> list[tuple[int, int]]:
    """Request ids and indices of the reads that may be answered."""
    return [(read.request_id, read.index) for read in node.reads]


# --- leaders that are none any more (section 6.2)


def test_a_leader_that_hears_no_majority_steps_down() -> None:
    node = LoneNode()
    node.lead()
    elected_ms = node.now_ms
    for _ in range(100):
        if node.status.role == "leader":
            node.time_out()
    silent_ms = node.now_ms - elected_ms
    assert node.config.election_max_ms <= silent_ms <= node.config.election_max_ms + node.config.heartbeat_ms


@pytest.mark.parametrize(
    ("members", "heard", "stays"),
    [
        ("1,2,3", (2,), True),
        ("1,2,3|4", (4,), False),
        ("1,2,3,4,5", (2,), False),
        ("1,2,3,4,5", (2, 5), True),
    ],
)
def test_only_answers_of_a_majority_of_voters_keep_a_leader(members: str, heard: tuple[int, ...], stays: bool) -> None:
    node = LoneNode(members=members)
    node.lead(2, 3)
    for _ in range(30):
        if node.status.role == "leader":
            for other in heard:
                node.receive(other, 2, appended(1))
            node.time_out()
    assert (node.status.role == "leader") is stays


# --- reads at the leader (section 6.4)


def test_a_read_waits_until_the_leader_has_committed_an_entry_of_its_term() -> None:
    """Step 1: before that it does not know what is committed."""
    node = LoneNode(terms=(1, 1), commit=1)
    node.lead()
    sequence = asked_at(node.read())
    node.receive(2, 2, appended(2, sequence))
    assert granted(node) == [], "the answer confirms it as the leader, but entry 3 is not committed"
    node.receive(2, 2, appended(3, sequence))
    assert granted(node) == [(3, 3)]


def test_a_read_waits_until_a_majority_answers_a_later_request() -> None:
    """Step 3: or another leader may have committed something meanwhile."""
    node = leading()
    sequence = asked_at(node.read())
    node.receive(2, 2, appended(2, sequence - 1))
    assert granted(node) == []
    node.receive(2, 2, appended(2, sequence))
    assert granted(node) == [(3, 2)]


def test_a_read_sees_what_was_committed_when_it_came() -> None:
    """Steps 2 and 4: its index is no lower, and everything up to there is applied before it is answered."""
    node = leading()
    node.propose()
    node.receive(2, 2, appended(3))
    sequence = asked_at(node.read())
    node.receive(2, 2, appended(3, sequence))
    ((_, index),) = granted(node)
    assert index >= 3 and [one.index for one in node.committed] == [1, 2, 3]


@pytest.mark.parametrize(("answers", "is_granted"), [((2,), False), ((2, 3), True), ((6, 7), False)])
def test_learners_and_minorities_confirm_no_read(answers: tuple[int, ...], is_granted: bool) -> None:
    node = LoneNode(members="1,2,3,4,5|6,7")
    node.lead(2, 3)
    node.receive(2, 2, appended(2))
    node.receive(3, 2, appended(2))
    messages = node.read()
    for other in answers:
        node.receive(other, 2, appended(1, asked_at(messages, other)))
    assert bool(node.reads) is is_granted


def test_a_joint_configuration_confirms_a_read_by_both_halves() -> None:
    """Section 4.3."""
    node = leading()
    node.change("1,4,5|")
    messages = node.read()
    node.receive(2, 2, appended(2, asked_at(messages)))
    node.receive(3, 2, appended(2, asked_at(messages, 3)))
    assert granted(node) == []
    node.receive(4, 2, appended(0, asked_at(messages, 4)))
    assert granted(node) == [(3, 2)]


def test_reads_that_come_while_one_round_is_out_share_the_next() -> None:
    """Section 6.4: the cost of a round is spread over all reads that gathered meanwhile."""
    node = leading()
    first = asked_at(node.read(1))
    assert [bodies(node.read(number), AppendRequest) for number in (2, 3, 4)] == [[], [], []]
    second = node.receive(2, 2, appended(2, first))
    assert [number for number, _ in granted(node)] == [1]
    node.receive(2, 2, appended(2, asked_at(second)))
    assert [number for number, _ in granted(node)] == [1, 2, 3, 4]


def test_a_late_answer_takes_no_confirmation_back() -> None:
    node = LoneNode(members="1,2,3,4,5")
    node.lead(2, 3)
    node.receive(2, 2, appended(2))
    node.receive(3, 2, appended(2))
    messages = node.read()
    node.receive(2, 2, appended(2, asked_at(messages)))
    node.receive(2, 2, appended(2, 1))
    node.receive(3, 2, appended(2, asked_at(messages, 3)))
    assert granted(node) == [(3, 2)]


def test_answers_to_appends_confirm_reads_too() -> None:
    node = leading()
    node.read(1)
    node.read(2)
    sequence = asked_at(node.propose())
    node.receive(2, 2, appended(3, sequence))
    assert [number for number, _ in granted(node)] == [1, 2]


def test_a_leader_that_is_deposed_answers_no_read() -> None:
    node = leading()
    node.read()
    node.receive(3, 3, append((2, 2)))
    assert granted(node) == [] and [(one.request_id, one.reason) for one in node.refused] == [(3, "not_leader")]


def test_a_leader_that_is_cut_off_answers_no_read_however_long_it_waits() -> None:
    node = leading()
    node.read()
    for _ in range(100):
        if node.status.role == "leader":
            node.time_out()
    assert node.status.role != "leader"
    assert granted(node) == [] and [one.reason for one in node.refused] == ["not_leader"]


def test_who_decides_alone_reads_at_once() -> None:
    node = LoneNode(members="1")
    node.time_out()
    node.read()
    assert granted(node) == [(3, 2)]


# --- reads at followers (section 6.4)


def following() -> LoneNode:
    """It follows node 2, which has committed up to entry 2."""
    node = LoneNode()
    node.receive(2, 1, append((1, 1), entry(2, 1), commit=2))
    return node


def test_a_follower_asks_the_leader_and_waits_until_it_has_committed_so_far() -> None:
    node = following()
    (question,) = bodies(node.read(), ReadIndexRequest, receiver=2)
    node.receive(2, 1, ReadIndexResponse(question.context, LogIndex(3)))
    assert granted(node) == []
    node.receive(2, 1, append((2, 1), entry(3, 1), commit=3))
    assert granted(node) == [(3, 3)] and node.committed[-1].index == 3


def test_an_answer_to_another_question_grants_nothing() -> None:
    node = following()
    (question,) = bodies(node.read(), ReadIndexRequest)
    node.receive(2, 1, ReadIndexResponse(question.context + 1, LogIndex(2)))
    assert granted(node) == []


def test_a_leader_answers_a_follower_only_when_a_majority_confirmed_it() -> None:
    node = leading()
    messages = node.receive(3, 2, ReadIndexRequest(77))
    assert bodies(messages, ReadIndexResponse) == []
    (answer,) = bodies(node.receive(2, 2, appended(2, asked_at(messages))), ReadIndexResponse, receiver=3)
    assert answer == ReadIndexResponse(77, LogIndex(2))


def test_a_leader_answers_no_stranger() -> None:
    node = leading()
    node.receive(9, 2, ReadIndexRequest(77))
    messages = node.time_out()
    assert not bodies(node.receive(2, 2, appended(2, asked_at(messages))), ReadIndexResponse)


def test_without_a_leader_a_follower_refuses_a_read() -> None:
    node = LoneNode()
    node.read()
    assert [one.reason for one in node.refused] == ["not_leader"]


def test_a_follower_that_loses_its_leader_gives_its_reads_back() -> None:
    node = following()
    node.read()
    node.time_out()
    assert [(one.request_id, one.reason) for one in node.refused] == [(3, "not_leader")]


# --- leases (section 6.4.1)


def test_without_leases_every_read_asks() -> None:
    node = leading()
    assert bodies(node.read(), AppendRequest) and granted(node) == []


def test_within_its_lease_a_leader_asks_nobody() -> None:
    node = leading(LEASES)
    node.receive(2, 2, appended(2, asked_at(node.time_out())))
    assert not bodies(node.read(), AppendRequest) and granted(node) == [(3, 2)]


@pytest.mark.parametrize(("drift_percent", "least", "most"), [(1, 480, 500), (20, 320, 334), (45, 180, 190)])
def test_the_lease_counts_from_the_sending_and_is_shortened_by_the_drift(
    drift_percent: int, least: int, most: int
) -> None:
    """A voter keeps its word for `election_min_ms` by its own clock, which may run (1 + e)/(1 - e) times as fast."""
    config = RaftConfig(lease_drift_percent=drift_percent)
    held_ms = 0
    for waited_ms in range(6, 500, 2):
        node = leading(config)
        sequence = asked_at(node.time_out())
        node.now_ms += 5
        node.receive(2, 2, appended(2, sequence))
        node.now_ms += waited_ms - 5
        node.read()
        held_ms = waited_ms if node.reads else held_ms
    assert least <= held_ms <= most


def test_the_lease_is_void_once_another_was_asked_to_stand() -> None:
    node = leading(LEASES)
    node.receive(2, 2, appended(2, asked_at(node.time_out())))
    node.handle(TransferRequested(5, NodeId(2)))
    assert bodies(node.read(), AppendRequest) and granted(node) == []


def test_with_leases_a_voter_keeps_its_word_whatever_term_it_hears_of() -> None:
    node = LoneNode(config=LEASES)
    node.receive(2, 1, append((1, 1)))
    node.receive(3, 5, VoteResponse(False))
    assert node.status.term == 5
    assert node.receive(3, 6, vote_request((9, 5))) == []
    node.now_ms += node.config.election_min_ms
    (message,) = node.receive(3, 6, vote_request((9, 5)))
    assert message.body == VoteResponse(True)


def test_a_restarted_voter_keeps_the_word_that_it_may_have_given() -> None:
    node = LoneNode(config=LEASES)
    node.receive(2, 1, append((1, 1)))
    node.now_ms += 10
    node.restart()
    assert node.receive(3, 2, vote_request((9, 1))) == []
    node.now_ms += node.config.election_min_ms
    (message,) = node.receive(3, 2, vote_request((9, 1)))
    assert message.body == VoteResponse(True)
