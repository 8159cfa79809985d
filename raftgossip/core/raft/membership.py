"""Configurations: the founding one, which change may follow which, and when a change takes effect.

Changes go one voter at a time (thesis section 4.1), so that a majority of the old and one of the new configuration
always share a voter. A configuration decides from the moment that it stands in a node's log, committed or not, and
stops deciding when it is cut off again. Counting only by committed ones, as etcd does, is safe too, but it lets a
cluster stop for good: the leader that committed "2 -> 3 voters" dies before it told the others so, and the survivors,
a majority of three, count as one of two. Two rules make it safe:

1. A leader proposes a change only after the one before it is committed (one at a time).
2. … and only after it has committed an entry of its own term (Ongaro, raft-dev 2015, "bug in single-server membership
   changes").

A server that is being removed may stand until that is committed (section 4.2.2), though its own vote does not count.
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
    """Whether a configuration stands in the log that is not committed yet."""
    uncommitted = state.log.span(LogIndex(state.commit_index + 1), state.log.last_index)
    return any(entry.kind is EntryKind.CONFIGURATION for entry in uncommitted)


def is_single_change(current: Configuration, proposed: Configuration) -> bool:
    """Whether `proposed` differs from `current`, by one voter at most, and has one. Learners may change freely."""
    if proposed == current or not proposed.voters or min(proposed.voters + proposed.learners) < 1:
        return False
    return len(set(current.voters) ^ set(proposed.voters)) <= 1


def is_readable(entry: Entry) -> bool:
    """Whether it is no configuration, or one that can be decoded."""
    if entry.kind is EntryKind.CONFIGURATION:
        try:
            Configuration.decode(entry.data)
        except ValueError:
            return False
    return True


def committed_fact(entry: Entry) -> ConfigurationChanged:
    """What to tell when a configuration is committed."""
    configuration = Configuration.decode(entry.data)
    return ConfigurationChanged(configuration.voters, configuration.learners, entry.index)


def restore_committed(state: RaftState, commit_index: LogIndex) -> tuple[list[Entry], ConfigurationChanged | None]:
    """After a restart: hand out what is known to be committed again, and find the configurations in the log."""
    state.commit_index = min(commit_index, state.log.last_index)
    committed = state.log.span(LogIndex(1), state.commit_index)
    entries = state.log.span(LogIndex(1), state.log.last_index)
    changes = [entry for entry in entries if entry.kind is EntryKind.CONFIGURATION]
    state.configurations = [(entry.index, Configuration.decode(entry.data)) for entry in changes]
    known = [entry for entry in changes if entry.index <= state.commit_index]
    return committed, committed_fact(known[-1]) if known else None
