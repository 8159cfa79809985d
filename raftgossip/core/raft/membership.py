"""Configurations: the founding one, which change may follow which, and when a change takes effect.

A change of one voter is a single entry (thesis section 4.1): a majority of the old and one of the new configuration
always share a voter. A larger one goes through a joint configuration (section 4.3), in which both must agree; the
leader ends it by itself once it is committed, and if it dies, the next leader does. Learners may change freely.

A configuration decides from the moment that it stands in a node's log, committed or not, and stops deciding when it is
cut off again. Counting only by committed ones, as etcd does, is safe too, but it lets a cluster stop for good: the
leader that committed "2 -> 3 voters" dies before it told the others so, and the survivors, a majority of three, count
as one of two. Two rules make it safe:

1. A leader proposes a change only after the one before it is committed, and is not joint (one at a time).
2. … and only after it has committed an entry of its own term (Ongaro, raft-dev 2015, "bug in single-server membership
   changes").

A server that is being removed may stand until that is committed (section 4.2.2), though its own vote does not count.
"""

from __future__ import annotations

from raftgossip.core.raft.message import Configuration, Entry, EntryKind, HardState, SnapshotSave
from raftgossip.core.raft.state import RaftState
from raftgossip.facts import ConfigurationChanged
from raftgossip.ids import LogIndex, NodeId, Term


def founding(node_id: NodeId) -> tuple[HardState, tuple[Entry, ...]]:
    """What a founder's disk holds before its first start: a log that makes it the only voter, already committed."""
    first = Entry(LogIndex(1), Term(1), EntryKind.CONFIGURATION, Configuration((node_id,)).encode())
    return HardState(term=Term(1), voted_for=None, commit_index=LogIndex(1)), (first,)


def refusal_of_change(state: RaftState, proposed: Configuration) -> str | None:
    """Why the leader must not append this change now: `change_pending` or `invalid`; None: it may."""
    if not has_committed_in_term(state) or state.has_pending_change:
        return "change_pending"
    return None if is_valid_change(state.configuration, proposed) else "invalid"


def has_committed_in_term(state: RaftState) -> bool:
    """Whether an entry of the current term is committed: then the leader knows of every committed entry that it is."""
    return state.log.term_at(state.commit_index) == state.term


def is_valid_change(current: Configuration, proposed: Configuration) -> bool:
    """Whether `proposed` differs from `current` and has voters. Joint ones are the leader's to make."""
    if proposed == current or proposed.outgoing or not proposed.voters:
        return False
    return min(proposed.members) >= 1


def transition(current: Configuration, proposed: Configuration) -> Configuration:
    """The entry that begins the change: `proposed` itself if it differs by one voter at most, else a joint one."""
    if len(set(current.voters) ^ set(proposed.voters)) <= 1:
        return proposed
    return Configuration(proposed.voters, proposed.learners, outgoing=current.voters)


def leaving(state: RaftState) -> Configuration | None:
    """The entry that ends a joint configuration, once that is committed; None: nothing is to be ended now."""
    if not state.configurations:
        return None
    index, newest = state.configurations[-1]
    if not newest.outgoing or index > state.commit_index or not has_committed_in_term(state):
        return None
    return Configuration(newest.voters, newest.learners)


def is_readable(entry: Entry) -> bool:
    """Whether it is no configuration, or one that can be decoded."""
    if entry.kind is EntryKind.CONFIGURATION:
        try:
            Configuration.decode(entry.data)
        except ValueError:
            return False
    return True


def committed_fact(index: LogIndex, configuration: Configuration) -> ConfigurationChanged:
    """What to tell when a configuration is committed."""
    return ConfigurationChanged(configuration.voters, configuration.learners, index, configuration.outgoing)


def restore(
    state: RaftState, saved: HardState, stored: SnapshotSave | None
) -> tuple[list[Entry], ConfigurationChanged | None]:
    """After a restart: take over what the disk holds besides the log, and find the configurations.

    Returns the entries behind the snapshot that are known to be committed, to be applied again, and the newest
    committed configuration.
    """
    state.term, state.voted_for = saved.term, saved.voted_for
    if stored is not None:
        state.snapshot = stored.snapshot
        state.applied_index = stored.snapshot.last_index
        state.configurations = [(stored.snapshot.last_index, stored.snapshot.configuration)]
    state.commit_index = min(max(saved.commit_index, state.snapshot_index), state.log.last_index)
    behind = state.log.span(LogIndex(state.snapshot_index + 1), state.log.last_index)
    state.configurations += [
        (entry.index, Configuration.decode(entry.data)) for entry in behind if entry.kind is EntryKind.CONFIGURATION
    ]
    known = [each for each in state.configurations if each[0] <= state.commit_index]
    committed = state.log.span(LogIndex(state.snapshot_index + 1), state.commit_index)
    return committed, committed_fact(*known[-1]) if known else None
