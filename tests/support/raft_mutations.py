"""Raft with one rule broken: what the simulator must notice, or it proves nothing.

Each mutation replaces a few functions while a context lasts; the files stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from raftgossip.core.raft import election, membership, quorum, read_index, replication, snapshot
from raftgossip.core.raft.effects import Effects
from raftgossip.core.raft.log import Log
from raftgossip.core.raft.message import (
    AppendRequest,
    Configuration,
    HardState,
    Message,
    Ready,
    Snapshot,
    SnapshotChunk,
    SnapshotSave,
)
from raftgossip.core.raft.node import RaftNode
from raftgossip.core.raft.progress import Progress
from raftgossip.core.raft.read_index import Waiting
from raftgossip.core.raft.replication import Leadership
from raftgossip.core.raft.snapshot import Incoming
from raftgossip.core.raft.state import RaftState
from raftgossip.core.sessions import Once, Sessions
from raftgossip.ids import LogIndex, Term


@dataclass(frozen=True, slots=True)
class Mutation:
    """One broken rule."""

    number: int
    """Its place in the list of faults that the tests must catch; 0: added beyond that list."""
    rule: str
    """What is broken, with the section of the thesis that asks for it."""
    patches: tuple[tuple[Any, str, Any], ...]
    max_seeds: int
    """Within so many seeds from 0 on, the simulator must report a violation."""
    first_seed: int = 0
    """The tests begin here, where it is rare; `scripts/mutate_raft.py` counts from 0."""


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
_take = Effects.take
_truncate_from = Log.truncate_from
_on_message = RaftNode._on_message
_restore = membership.restore


def _always(*_: object) -> bool:
    return True


def _hard_state_without_vote(node: RaftNode, has_promise: bool, entries: Any) -> HardState | None:
    saved = _take_hard_state(node, has_promise, entries)
    return replace(saved, voted_for=None) if saved is not None else None


def _hard_state_with_entries_only(node: RaftNode, has_promise: bool, entries: Any) -> HardState | None:
    return _take_hard_state(node, has_promise, entries) if entries else None


def _committable_by_counting(leadership: Leadership, state: RaftState) -> LogIndex:
    return max(state.commit_index, leadership.majority_index(state))


def _take_without_waiting(effects: Effects, hard_state: Any, entries: Any, *, is_prompt: bool) -> Ready | None:
    del is_prompt
    return _take(effects, hard_state, entries, is_prompt=True)


def _merge_with_a_cut(state: RaftState, request: AppendRequest) -> None:
    entries = [entry for entry in request.entries if entry.index > state.log.base_index]
    if entries:
        _truncate_from(state.log, entries[0].index)
        for entry in entries:
            state.log.append(entry)


def _commit_index_of_the_leader(request: AppendRequest) -> LogIndex:
    return request.commit_index


def _vote_of_the_new_half(halves: quorum.Halves, answers: Any) -> quorum.VoteResult:
    return quorum.vote_result(halves[:1], answers)


def _agreed_by_the_new_half(halves: quorum.Halves, value_of: Any) -> int:
    return quorum.agreed_value(halves[:1], value_of)


def _majority_with_learners(leadership: Leadership, state: RaftState) -> LogIndex:
    return LogIndex(
        quorum.majority_value(
            state.log.durable_index if node_id == state.node_id else leadership.followers[node_id].match_index
            for node_id in state.configuration.members
        )
    )


def _majority_with_unsaved_entries(leadership: Leadership, state: RaftState) -> LogIndex:
    return LogIndex(
        quorum.agreed_value(
            state.configuration.halves,
            lambda voter: state.log.last_index if voter == state.node_id else leadership.followers[voter].match_index,
        )
    )


def _message_raises_term(node: RaftNode, message: Message) -> None:
    if message.term > node._state.term and message.receiver == node._state.node_id:
        node._roles.follow(message.term)
    _on_message(node, message)


def _every_read(leadership: Leadership, state: RaftState) -> list[Waiting]:
    return leadership.reads.take_all() if membership.has_committed_in_term(state) else []


def _reads_before_own_entry(leadership: Leadership, state: RaftState) -> list[Waiting]:
    sequence = quorum.agreed_value(
        state.configuration.halves,
        lambda voter: 1 << 60 if voter == state.node_id else leadership.followers[voter].answered_sequence,
    )
    return leadership.reads.take_confirmed(sequence)


def _any_chunk(incoming: Incoming, chunk: SnapshotChunk, term: Term) -> Snapshot | None:
    """Chunks count by their place alone, whatever snapshot they belong to."""
    incoming.identity, incoming.term = snapshot.identity_of(chunk), term
    if chunk.offset == len(incoming.data):
        incoming.data += chunk.data
    if len(incoming.data) < chunk.total_bytes:
        return None
    data = bytes(incoming.data)
    incoming.forget()
    return Snapshot(chunk.last_index, chunk.last_term, chunk.configuration, data, chunk.checksum)


def _install_always(node: RaftNode, received: Snapshot) -> None:
    node._state.install_snapshot(received)
    node._effects.committed.clear()
    node._effects.snapshot = SnapshotSave(received, received.last_index, received.last_term, is_received=True)


def _restore_everything(state: RaftState, saved: HardState, stored: Any) -> Any:
    """What the snapshot covers is handed out again, as far as it is still there."""
    committed, changed = _restore(state, saved, stored)
    covered = state.log.span(LogIndex(state.log.base_index + 1), state.snapshot_index)
    return covered + committed, changed


def _apply_always(
    sessions: Sessions[Any], client: str, sequence: int, first_unanswered: int, apply: Callable[[], Any]
) -> Once[Any]:
    del sessions, client, sequence, first_unanswered
    return Once(apply(), is_new=True)


def _no_fresh_probe(progress: Progress, next_index: LogIndex, next_sequence: int) -> None:
    """The window keeps what was lost."""


def _any_change(state: RaftState, proposed: Configuration) -> str | None:
    return None if membership.is_valid_change(state.configuration, proposed) else "invalid"


def _leave_at_once(state: RaftState) -> Configuration | None:
    """The joint configuration is left as soon as it stands in the log."""
    newest = state.configurations[-1][1] if state.configurations else Configuration(())
    return Configuration(newest.voters, newest.learners) if newest.outgoing else None


def _long_lease(config: Any) -> int:
    return 3 * config.election_min_ms if config.lease_drift_percent else 0


def _single_step(current: Configuration, proposed: Configuration) -> Configuration:
    """Several voters at once, without a joint configuration."""
    del current
    return proposed


MUTATIONS = {
    "vote-without-log-check": Mutation(
        1,
        "a vote needs a log at least as up-to-date as the voter's (3.6.1)",
        ((election, "log_allows_vote", _always),),
        max_seeds=10,
    ),
    "vote-not-saved": Mutation(
        2,
        "the vote is saved before the answer (3.8)",
        ((RaftNode, "_take_hard_state", _hard_state_without_vote),),
        max_seeds=10,
    ),
    "term-not-saved": Mutation(
        2,
        "the term is saved before anything is said in it (3.8)",
        ((RaftNode, "_take_hard_state", _hard_state_with_entries_only),),
        max_seeds=10,
    ),
    "old-term-by-counting": Mutation(
        3,
        "only entries of the own term are committed by counting (3.6.2, Figure 3.7)",
        ((Leadership, "committable_index", _committable_by_counting),),
        max_seeds=200,
    ),
    "acknowledged-before-durable": Mutation(
        4,
        "an append is acknowledged when it is on disk (3.8)",
        ((Effects, "take", _take_without_waiting),),
        max_seeds=10,
    ),
    "log-cut-on-every-append": Mutation(
        5,
        "entries that match stay, and those behind them (3.5)",
        ((replication, "_merge", _merge_with_a_cut),),
        max_seeds=10,
    ),
    "commit-past-verified": Mutation(
        6,
        "a follower commits no further than it verified (Figure 3.1)",
        ((replication, "verified_commit_index", _commit_index_of_the_leader),),
        max_seeds=30,
    ),
    "joint-decided-by-one-half": Mutation(
        7,
        "while a change is joint, both halves must agree (4.3)",
        ((election, "vote_result", _vote_of_the_new_half), (replication, "agreed_value", _agreed_by_the_new_half)),
        max_seeds=100,
    ),
    "learner-counted": Mutation(
        8,
        "learners decide nothing (4.2.1)",
        ((Leadership, "majority_index", _majority_with_learners),),
        max_seeds=30,
    ),
    "pre-vote-raises-term": Mutation(
        9,
        "a question before the election moves no term (9.6)",
        ((RaftNode, "_on_message", _message_raises_term),),
        max_seeds=10,
    ),
    "read-without-majority": Mutation(
        10,
        "a leader that was cut off answers no read (6.4)",
        ((Leadership, "take_confirmed_reads", _every_read),),
        max_seeds=250,
        first_seed=185,
    ),
    "stale-snapshot": Mutation(
        11,
        "a snapshot never takes the state back (5)",
        ((snapshot, "is_news", _always), (RaftNode, "_install", _install_always)),
        max_seeds=30,
    ),
    "chunk-of-another-snapshot": Mutation(
        11,
        "chunks of different snapshots are never put together (5)",
        ((Incoming, "take", _any_chunk),),
        max_seeds=40,
    ),
    "applied-again-after-restart": Mutation(
        12,
        "what the snapshot covers is not applied again (5)",
        ((membership, "restore", _restore_everything),),
        max_seeds=30,
    ),
    "repeated-proposal-applied-twice": Mutation(
        13,
        "a command that is proposed again is applied once (6.3)",
        ((Sessions, "once", _apply_always),),
        max_seeds=30,
    ),
    "window-not-freed": Mutation(
        14,
        "what was lost is sent again (3.5)",
        ((Progress, "probe_from", _no_fresh_probe),),
        max_seeds=10,
    ),
    "two-changes-at-once": Mutation(
        15,
        "one membership change at a time (4.1)",
        ((membership, "refusal_of_change", _any_change),),
        max_seeds=20,
    ),
    "vote-twice": Mutation(
        0,
        "one vote a term (3.4)",
        ((election, "may_grant_vote", lambda state, candidate, request: election.log_allows_vote(state, request)),),
        max_seeds=10,
    ),
    "leader-counts-unsaved": Mutation(
        0,
        "a leader counts itself when its entries are on disk (10.2.1)",
        ((Leadership, "majority_index", _majority_with_unsaved_entries),),
        max_seeds=40,
    ),
    "read-before-own-entry": Mutation(
        0,
        "a new leader answers no read before it committed an entry of its term (6.4)",
        ((Leadership, "take_confirmed_reads", _reads_before_own_entry),),
        max_seeds=40,
    ),
    "lease-too-long": Mutation(
        0,
        "a lease ends before another leader can be elected (6.4.1)",
        ((replication, "lease_ms", _long_lease), (read_index, "lease_ms", _long_lease)),
        max_seeds=250,
        first_seed=200,
    ),
    "joint-left-before-committed": Mutation(
        0,
        "a joint configuration is left once it is committed (4.3)",
        ((membership, "leaving", _leave_at_once),),
        max_seeds=40,
    ),
    "several-voters-without-joint": Mutation(
        0,
        "a change of several voters goes through a joint configuration (4.3)",
        ((membership, "transition", _single_step),),
        max_seeds=20,
    ),
}
"""By the name that `scripts/simulate_raft.py --mutation` takes."""
