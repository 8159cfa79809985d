"""Majorities, by table and by their defining property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.core.raft.quorum import VoteResult, majority, majority_value, vote_result
from raftgossip.ids import NodeId


@pytest.mark.parametrize(("num_voters", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_two_majorities_always_share_a_voter_and_smaller_sets_do_not(num_voters: int, needed: int) -> None:
    assert majority(num_voters) == needed
    assert 2 * needed > num_voters >= 2 * (needed - 1)


@pytest.mark.parametrize(
    ("voters", "granted", "refused", "expected"),
    [
        ((1,), (1,), (), VoteResult.WON),
        ((1, 2), (1,), (), VoteResult.PENDING),
        ((1, 2), (1,), (2,), VoteResult.LOST),
        ((1, 2, 3), (1, 3), (), VoteResult.WON),
        ((1, 2, 3), (1,), (2,), VoteResult.PENDING),
        ((1, 2, 3), (1,), (2, 3), VoteResult.LOST),
        ((1, 2, 3, 4), (1, 2), (3,), VoteResult.PENDING),
        ((1, 2, 3, 4), (1, 2), (3, 4), VoteResult.LOST),
        ((1, 2, 3), (1, 7, 8, 9), (), VoteResult.PENDING),
        ((1, 2, 3), (1,), (7, 8, 9), VoteResult.PENDING),
        ((), (1, 2), (), VoteResult.LOST),
    ],
)
def test_a_vote_stands_as_the_voters_answers_say(
    voters: tuple[int, ...], granted: tuple[int, ...], refused: tuple[int, ...], expected: VoteResult
) -> None:
    answers = {NodeId(node): True for node in granted} | {NodeId(node): False for node in refused}
    assert vote_result(tuple(map(NodeId, voters)), answers) is expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [((), 0), ((5,), 5), ((5, 3), 3), ((5, 3, 9), 5), ((9, 5, 3, 1), 3), ((9, 9, 5, 1, 1), 5), ((0, 0, 7), 0)],
)
def test_the_value_that_a_majority_reaches(values: tuple[int, ...], expected: int) -> None:
    assert majority_value(values) == expected


@given(st.lists(st.integers(0, 50), min_size=1, max_size=9))
def test_a_majority_reaches_the_value_and_none_reaches_a_larger_one(values: list[int]) -> None:
    reached = majority_value(values)
    needed = majority(len(values))
    assert sum(value >= reached for value in values) >= needed
    assert sum(value > reached for value in values) < needed


@given(
    st.dictionaries(st.integers(1, 9).map(NodeId), st.booleans()), st.sets(st.integers(1, 9).map(NodeId), min_size=1)
)
def test_a_vote_is_decided_exactly_when_the_missing_answers_cannot_change_it(
    answers: dict[NodeId, bool], voter_set: set[NodeId]
) -> None:
    voters = tuple(sorted(voter_set))
    missing = [voter for voter in voters if voter not in answers]
    if_all_grant = vote_result(voters, answers | dict.fromkeys(missing, True))
    if_all_refuse = vote_result(voters, answers | dict.fromkeys(missing, False))
    expected = if_all_grant if if_all_grant is if_all_refuse else VoteResult.PENDING
    assert vote_result(voters, answers) is expected
