"""Majorities: is a vote won, and up to where does a majority agree? Pure functions of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from raftgossip.ids import NodeId


class VoteResult(Enum):
    """How a vote stands."""

    PENDING = 0
    """The votes that are still out decide it."""
    WON = 1
    """A majority has granted."""
    LOST = 2
    """So many have refused that no majority can come together any more."""


def majority(num_voters: int) -> int:
    """The smallest number of voters of which any two sets overlap."""
    return num_voters // 2 + 1


def vote_result(voters: tuple[NodeId, ...], answers: Mapping[NodeId, bool]) -> VoteResult:
    """How the vote stands. Answers of others than `voters` do not count; no voters: lost."""
    num_granted = sum(1 for voter in voters if answers.get(voter) is True)
    num_refused = sum(1 for voter in voters if answers.get(voter) is False)
    needed = majority(len(voters))
    if num_granted >= needed:
        return VoteResult.WON
    if len(voters) - num_refused < needed:
        return VoteResult.LOST
    return VoteResult.PENDING


def majority_value(values: Iterable[int]) -> int:
    """The largest number that a majority of the values reaches; 0 without values.

    Over the voters' match indices this is the index that a majority holds (Figure 2: "a majority of matchIndex[i] >=
    N"); over the times at which they last answered it is the time at which a majority was last heard.
    """
    ordered = sorted(values, reverse=True)
    return ordered[majority(len(ordered)) - 1] if ordered else 0
