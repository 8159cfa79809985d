"""Raft with one rule broken: what the simulator must notice, or it proves nothing.

Each mutation is a list of (owner, name, replacement) that a caller puts in place and takes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from raftgossip.core.raft import election, membership, replication
from raftgossip.core.raft.log import Log
from raftgossip.core.raft.message import AppendRequest, Configuration, HardState, Ready
from raftgossip.core.raft.node import RaftNode
from raftgossip.core.raft.progress import Progress
from raftgossip.core.raft.quorum import majority_value
from raftgossip.core.raft.replication import Leadership
from raftgossip.core.raft.state import RaftState
from raftgossip.ids import LogIndex


@dataclass(frozen=True, slots=True)
class Mutation:
    """One broken rule."""

    rule: str
    """What is broken, with the section of the thesis that asks for it."""
    patches: tuple[tuple[Any, str, Any], ...]
    max_seeds: int
    """Within so many seeds from 0 on, the simulator must report a violation."""


@contextmanager
def applied(mutation: Mutation) -> Iterator[None]:
    """Break the rule while the context lasts."""
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in mutation.patches]
    for owner, name, replacement in mutation.patches:
        setattr(owner, name, replacement)
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


# --- the broken parts

_take_hard_state = RaftNode._take_hard_state
_ready = RaftNode.ready
_truncate_from = Log.truncate_from


def _always(*_: object) -> bool:
    return True


def _hard_state_without_vote(node: RaftNode, has_entries: bool) -> HardState | None:
    saved = _take_hard_state(node, has_entries)
    return replace(saved, voted_for=None) if saved is not None else None


def _hard_state_with_entries_only(node: RaftNode, has_entries: bool) -> HardState | None:
    return _take_hard_state(node, has_entries) if has_entries else None


def _committable_by_counting(leadership: Leadership, state: RaftState) -> LogIndex:
    return max(state.commit_index, leadership.majority_index(state))


def _messages_first() -> Callable[[RaftNode], Ready | None]:
    """Messages in a Ready of their own, ahead of what they promise."""
    held: dict[int, Ready] = {}

    def ready(node: RaftNode) -> Ready | None:
        later = held.pop(id(node), None)
        if later is not None:
            return later
        whole = _ready(node)
        if whole is None or not whole.messages or not whole.entries:
            return whole
        held[id(node)] = replace(whole, messages=())
        return Ready(hard_state=whole.hard_state, messages=whole.messages)

    return ready


def _merge_with_a_cut(state: RaftState, request: AppendRequest) -> None:
    if request.entries:
        _truncate_from(state.log, request.entries[0].index)
        for entry in request.entries:
            state.log.append(entry)


def _commit_index_of_the_leader(request: AppendRequest) -> LogIndex:
    return request.commit_index


def _majority_with_learners(leadership: Leadership, state: RaftState) -> LogIndex:
    members = state.configuration.voters + state.configuration.learners
    return LogIndex(
        majority_value(
            state.log.durable_index if node_id == state.node_id else leadership.followers[node_id].match_index
            for node_id in members
        )
    )


def _majority_with_unsaved_entries(leadership: Leadership, state: RaftState) -> LogIndex:
    return LogIndex(
        majority_value(
            state.log.last_index if voter == state.node_id else leadership.followers[voter].match_index
            for voter in state.configuration.voters
        )
    )


def _no_fresh_probe(progress: Progress, next_index: LogIndex, next_sequence: int) -> None:
    """The window keeps what was lost."""


def _any_change(state: RaftState, proposed: Configuration) -> str | None:
    return None if membership.is_single_change(state.configuration, proposed) else "invalid"


MUTATIONS = {
    "vote-without-log-check": Mutation(
        "a vote needs a log at least as up-to-date as the voter's (3.6.1)",
        ((election, "log_allows_vote", _always),),
        max_seeds=10,
    ),
    "vote-twice": Mutation(
        "one vote a term (3.4)",
        ((election, "may_grant_vote", lambda state, candidate, request: election.log_allows_vote(state, request)),),
        max_seeds=10,
    ),
    "vote-not-saved": Mutation(
        "the vote is saved before the answer (3.8)",
        ((RaftNode, "_take_hard_state", _hard_state_without_vote),),
        max_seeds=10,
    ),
    "term-not-saved": Mutation(
        "the term is saved before anything is said in it (3.8)",
        ((RaftNode, "_take_hard_state", _hard_state_with_entries_only),),
        max_seeds=10,
    ),
    "old-term-by-counting": Mutation(
        "only entries of the own term are committed by counting (3.6.2, Figure 3.7)",
        ((Leadership, "committable_index", _committable_by_counting),),
        max_seeds=100,
    ),
    "acknowledged-before-durable": Mutation(
        "an append is acknowledged when it is on disk (3.8)",
        ((RaftNode, "ready", _messages_first()),),
        max_seeds=10,
    ),
    "leader-counts-unsaved": Mutation(
        "a leader counts itself when its entries are on disk (10.2.1)",
        ((Leadership, "majority_index", _majority_with_unsaved_entries),),
        max_seeds=40,
    ),
    "log-cut-on-every-append": Mutation(
        "entries that match stay, and those behind them (3.5)",
        ((replication, "_merge", _merge_with_a_cut),),
        max_seeds=10,
    ),
    "commit-past-verified": Mutation(
        "a follower commits no further than it verified (Figure 3.1)",
        ((replication, "verified_commit_index", _commit_index_of_the_leader),),
        max_seeds=30,
    ),
    "learner-counted": Mutation(
        "learners decide nothing (4.2.1)",
        ((Leadership, "majority_index", _majority_with_learners),),
        max_seeds=30,
    ),
    "window-not-freed": Mutation(
        "what was lost is sent again (3.5)",
        ((Progress, "probe_from", _no_fresh_probe),),
        max_seeds=10,
    ),
    "two-changes-at-once": Mutation(
        "one membership change at a time (4.1)",
        ((membership, "refusal_of_change", _any_change),),
        max_seeds=100,
    ),
}
"""By the name that `scripts/simulate_raft.py --mutation` takes."""
