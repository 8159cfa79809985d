"""Majorities of one half and of two, by table and by their defining property."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.core.raft.quorum import Halves, VoteResult, agreed_value, majority, majority_value, vote_result
from raftgossip.ids import NodeId


@pytest.mark.parametrize(("num_voters", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_two_majorities_always_share_a_voter_and_smaller_sets_do_not(num_voters: int, needed: int) -> None:
    assert majority(num_voters) == needed
    assert 2 * needed > num_voters >= 2 * (needed - 1)


def halves(text: str) -> Halves:
    """`"123 145"` -> ((1, 2, 3), (1, 4, 5))."""
    return tuple(tuple(NodeId(int(digit)) for digit in half) for half in text.split(" "))


@pytest.mark.parametrize(
    ("voters", "granted", "refused", "expected"),
    [
        ("1", "1", "", VoteResult.WON),
        ("12", "1", "", VoteResult.PENDING),
        ("12", "1", "2", VoteResult.LOST),
        ("123", "13", "", VoteResult.WON),
        ("123", "1", "2", VoteResult.PENDING),
        ("123", "1", "23", VoteResult.LOST),
        ("1234", "12", "3", VoteResult.PENDING),
        ("1234", "12", "34", VoteResult.LOST),
        ("123", "1789", "", VoteResult.PENDING),
        ("123", "1", "789", VoteResult.PENDING),
        ("", "12", "", VoteResult.LOST),
        # Joint: both halves must agree, and one that cannot any more is enough to lose.
        ("123 145", "12", "", VoteResult.PENDING),
        ("123 145", "23", "", VoteResult.PENDING),
        ("123 145", "2345", "", VoteResult.WON),
        ("123 145", "124", "", VoteResult.WON),
        ("123 145", "123", "4", VoteResult.PENDING),
        ("123 145", "123", "45", VoteResult.LOST),
        ("123 145", "", "23", VoteResult.LOST),
        ("123 145", "45", "23", VoteResult.LOST),
        ("123 45", "123", "", VoteResult.PENDING),
        ("123 45", "1234", "", VoteResult.PENDING),
        ("123 45", "1245", "", VoteResult.WON),
        ("123 45", "123", "5", VoteResult.LOST),
        ("123 123", "12", "3", VoteResult.WON),
        ("1 2", "1", "", VoteResult.PENDING),
        ("1 2", "12", "", VoteResult.WON),
    ],
)
def test_a_vote_stands_as_the_voters_answers_say(voters: str, granted: str, refused: str, expected: VoteResult) -> None:
    answers = {NodeId(int(node)): True for node in granted} | {NodeId(int(node)): False for node in refused}
    assert vote_result(halves(voters), answers) is expected
    assert vote_result(halves(voters)[::-1], answers) is expected, "no half is worth more than the other"


@pytest.mark.parametrize(
    ("values", "expected"),
    [((), 0), ((5,), 5), ((5, 3), 3), ((5, 3, 9), 5), ((9, 5, 3, 1), 3), ((9, 9, 5, 1, 1), 5), ((0, 0, 7), 0)],
)
def test_the_value_that_a_majority_reaches(values: tuple[int, ...], expected: int) -> None:
    assert majority_value(values) == expected


@pytest.mark.parametrize(
    ("voters", "values", "expected"),
    [
        ("123", {1: 9, 2: 5, 3: 1}, 5),
        ("123 145", {1: 9, 2: 5, 3: 1, 4: 3, 5: 0}, 3),
        ("123 145", {1: 9, 2: 9, 3: 9, 4: 0, 5: 0}, 0),
        ("123 145", {1: 0, 2: 4, 3: 5, 4: 6, 5: 7}, 4),
        ("12 1", {1: 9, 2: 2}, 2),
        ("1 23", {1: 9, 2: 3, 3: 4}, 3),
    ],
)
def test_the_value_that_a_majority_of_each_half_reaches(voters: str, values: dict[int, int], expected: int) -> None:
    assert agreed_value(halves(voters), lambda node: values[node]) == expected
    assert agreed_value(halves(voters)[::-1], lambda node: values[node]) == expected


# --- against all sets of voters

VOTERS = st.sets(st.integers(1, 7).map(NodeId), min_size=1, max_size=5).map(lambda nodes: tuple(sorted(nodes)))
HALVES = st.lists(VOTERS, min_size=1, max_size=2).map(tuple)
ANSWERS = st.dictionaries(st.integers(1, 9).map(NodeId), st.booleans())


def decides(agreeing: set[NodeId], groups: Halves) -> bool:
    """Whether these nodes hold, of each half, a set that overlaps with every other such set: brute force."""
    for half in groups:
        inside = agreeing & set(half)
        larger_half = len(half) // 2 + 1
        if not any(set(chosen) <= inside for chosen in combinations(half, larger_half)):
            return False
    return True


@given(HALVES, ANSWERS)
def test_a_vote_is_won_exactly_by_a_majority_of_each_half(groups: Halves, answers: dict[NodeId, bool]) -> None:
    granting = {node for node, granted in answers.items() if granted}
    refusing = {node for node, granted in answers.items() if not granted}
    everybody = {node for half in groups for node in half}
    if decides(granting, groups):
        expected = VoteResult.WON
    elif decides(everybody - refusing, groups):
        expected = VoteResult.PENDING
    else:
        expected = VoteResult.LOST
    assert vote_result(groups, answers) is expected


@given(HALVES, ANSWERS)
def test_a_decided_vote_is_not_changed_by_later_answers(groups: Halves, answers: dict[NodeId, bool]) -> None:
    result = vote_result(groups, answers)
    missing = {node for half in groups for node in half} - set(answers)
    later = {vote_result(groups, {**dict.fromkeys(missing, granted), **answers}) for granted in (True, False)}
    assert later == {result} if result is not VoteResult.PENDING else later == {VoteResult.WON, VoteResult.LOST}


@given(HALVES, st.lists(st.integers(0, 9), min_size=7, max_size=7))
def test_the_agreed_value_is_the_largest_that_decides(groups: Halves, numbers: list[int]) -> None:
    values = {NodeId(node): number for node, number in enumerate(numbers, 1)}
    reached = [
        number for number in range(11) if decides({node for node, value in values.items() if value >= number}, groups)
    ]
    assert agreed_value(groups, lambda node: values[node]) == max(reached)


@given(VOTERS, VOTERS, st.sets(st.integers(1, 7).map(NodeId)), st.sets(st.integers(1, 7).map(NodeId)))
def test_what_a_joint_configuration_decides_overlaps_with_what_either_half_decides(
    before: tuple[NodeId, ...], after: tuple[NodeId, ...], joint_quorum: set[NodeId], quorum: set[NodeId]
) -> None:
    """Thesis section 4.3: this is why two leaders of one term cannot be."""
    if not decides(joint_quorum, (before, after)):
        joint_quorum |= {*before, *after}
    for half in (before, after):
        if decides(quorum, (half,)):
            assert joint_quorum & quorum & set(half)
