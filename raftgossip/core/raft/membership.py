"""Configurations: the founding one, which change may follow which, and when a change takes effect.

Changes go one voter at a time (thesis section 4.1), so that a majority of the old and one of the new configuration
always share a voter. Where the thesis lets a server use a configuration as soon as it is in its log, here it is in
force once it is committed and handed out to be applied, as in etcd. Three rules make that safe:

1. A leader proposes a change only after the one before it is in force there (one at a time), and only after it has
   committed an entry of its own term (Ongaro, raft-dev 2015, "bug in single-server membership changes").
2. A message that carries a change also carries a commit index that covers the change before it, since the leader knew
   that much when it appended. So whoever has change n + 1 in its log uses change n or a later one, never an older one.
3. The commit index is saved in the same transaction as entries; so rule 2 also holds after a restart.

A candidate with change n as the newest in its log thus counts by change n - 1 or n. If n + 1 is committed anywhere, it
is so by a majority of n, which shares a voter with every majority of n - 1 and of n; that voter has the longer log and
refuses. So no two majorities that decide without knowing of each other exist.
"""

from __future__ import annotations

from raftgossip.core.raft.message import Configuration, Entry, EntryKind, HardState
from raftgossip.core.raft.state import RaftState
from raftgossip.facts import ConfigurationChanged
from raftgossip.ids import LogIndex, NodeId, Term


def founding(node_id: NodeId) -> tuple[HardState, tuple[Entry, ...]]:
    """What a founder's disk holds before its first start: a log that makes it the only voter, already committed."""
    first = Entry(LogIndex(1), Term(1), EntryKind.CONFIGURATION, Configuration((node_id,)).encode())
    return HardState(term=Term(1), voted_for=None, commit_index=LogIndex(1)), (first,)


def refusal_of_change(state: RaftState, proposed: Configuration) -> str | None:
    """Why the leader must not append this change now: `change_pending` or `invalid`; None: it may."""
    if state.log.term_at(state.commit_index) != state.term or has_pending_change(state):
        return "change_pending"
    return None if is_single_change(state.configuration, proposed) else "invalid"


def has_pending_change(state: RaftState) -> bool:
    """Whether a configuration stands in the log that is not in force yet."""
    uncommitted = state.log.span(LogIndex(state.commit_index + 1), state.log.last_index)
    return any(entry.kind is EntryKind.CONFIGURATION for entry in uncommitted)


def is_single_change(current: Configuration, proposed: Configuration) -> bool:
    """Whether `proposed` differs from `current`, by one voter at most, and has one. Learners may change freely."""
    if proposed == current or not proposed.voters or min(proposed.voters + proposed.learners) < 1:
        return False
    return len(set(current.voters) ^ set(proposed.voters)) <= 1


def take_effect(state: RaftState, entry: Entry) -> ConfigurationChanged:
    """Put a committed configuration in force."""
    state.configuration = Configuration.decode(entry.data)
    return ConfigurationChanged(state.configuration.voters, state.configuration.learners, entry.index)


def restore_committed(state: RaftState, commit_index: LogIndex) -> tuple[list[Entry], ConfigurationChanged | None]:
    """After a restart: hand out what is known to be committed again; the newest configuration in it is in force."""
    state.commit_index = min(commit_index, state.log.last_index)
    committed = state.log.span(LogIndex(1), state.commit_index)
    changed: ConfigurationChanged | None = None
    for entry in committed:
        if entry.kind is EntryKind.CONFIGURATION:
            changed = take_effect(state, entry)
    return committed, changed
