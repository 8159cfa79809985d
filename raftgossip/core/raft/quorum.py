"""Majorities: is a vote won, and up to where does a majority agree? Pure functions of numbers.

Every function takes the groups of a configuration, its halves: one, or two while a change is joint. Then each half must
agree by itself (thesis section 4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum

from raftgossip.ids import NodeId

Halves = tuple[tuple[NodeId, ...], ...]


class VoteResult(Enum):
    """How a vote stands."""

    PENDING = 0
    """The votes that are still out decide it."""
    WON = 1
    """A majority of each half has granted."""
    LOST = 2
    """So many of one half have refused that no majority of it can come together any more."""


def majority(num_voters: int) -> int:
    """The smallest number of voters of which any two sets overlap."""
    return num_voters // 2 + 1


def vote_result(halves: Halves, answers: Mapping[NodeId, bool]) -> VoteResult:
    """How the vote stands. Answers of others than the voters do not count; a half without voters is lost."""
    results = {_result_of_half(half, answers) for half in halves}
    if VoteResult.LOST in results:
        return VoteResult.LOST
    return VoteResult.PENDING if VoteResult.PENDING in results else VoteResult.WON


def _result_of_half(voters: tuple[NodeId, ...], answers: Mapping[NodeId, bool]) -> VoteResult:
    num_granted = sum(1 for voter in voters if answers.get(voter) is True)
    num_refused = sum(1 for voter in voters if answers.get(voter) is False)
    needed = majority(len(voters))
    if num_granted >= needed:
        return VoteResult.WON
    if len(voters) - num_refused < needed:
        return VoteResult.LOST
    return VoteResult.PENDING


def majority_value(values: Iterable[int]) -> int:
    """The largest number that a majority of the values reaches; 0 without values."""
    ordered = sorted(values, reverse=True)
    return ordered[len(ordered) // 2] if ordered else 0


def agreed_value(halves: Halves, value_of: Callable[[NodeId], int]) -> int:
    """The largest number that a majority of each half reaches.

    Over the voters' match indices this is the index that a majority holds (Figure 2: "a majority of matchIndex[i] >=
    N"); over the times at which they last answered it is the time at which a majority was last heard.
    """
    return min(majority_value(value_of(voter) for voter in half) for half in halves)
