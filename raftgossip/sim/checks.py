"""The invariants of Raft (thesis Figure 3.2) over a whole cluster, looked at after every step of a simulated run.

What a node believes is compared with what all nodes handed out so far and with what the disks hold, never with what
the node itself says of its log: a core whose newest entries are not written yet would give false alarms. Each check
costs a constant per entry, message or election. How the run was made is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raftgossip.core.raft.message import (
    AppendRequest,
    AppendResponse,
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    Ready,
    Snapshot,
    VoteRequest,
    VoteResponse,
)
from raftgossip.core.raft.quorum import majority
from raftgossip.core.raft.status import RaftStatus
from raftgossip.facts import RoleChanged
from raftgossip.ids import NodeId, Term
from raftgossip.sim.machine import CHAIN_BYTES, Disk


class Violation(AssertionError):
    """An invariant does not hold: the text has the seed and the step, so that the run can be repeated up to there."""


@dataclass(slots=True)
class _Seen:
    """What one life of a node has handed out so far."""

    terms: list[Term]
    """The term of each entry of its log."""
    term: Term
    voted_for: NodeId | None
    commit_index: int = 0
    saved_commit_index: int = 0
    applied_index: int = 0
    leads: Term | None = None
    """The term that it leads."""
    configurations: list[tuple[int, Configuration]] = field(default_factory=list)
    """In its log, by index."""

    def note_configurations(self, entries: Sequence[Entry]) -> None:
        """These entries replace everything from the first one's index on."""
        if entries:
            self.configurations = [each for each in self.configurations if each[0] < entries[0].index]
        for entry in entries:
            if entry.kind is EntryKind.CONFIGURATION:
                new = Configuration.decode(entry.data)
                if self.configurations:
                    _check_transition(self.configurations[-1][1], new)
                self.configurations.append((entry.index, new))


class Checks:
    """Everything that ever became true in one run, and the rules that it must not break.

    It grows with the run: one record for each entry, term and vote. A broken rule raises `AssertionError`; whoever
    runs the world adds the seed and the step.
    """

    def __init__(self, disks: Mapping[NodeId, Disk]) -> None:
        """`disks`: the machines' disks, looked at whenever durability is in question; their entries are committed."""
        self._disks = disks
        self._seen: dict[NodeId, _Seen] = {}
        self._leaders: dict[Term, NodeId] = {}
        self._contents: dict[tuple[int, Term], tuple[Entry, Term | None]] = {}
        self._committed: list[Entry] = []
        self._committed_in: dict[Term, int] = {}
        self._configurations: list[tuple[int, Configuration]] = []
        self._votes: dict[tuple[NodeId, Term], NodeId] = {}
        self._chains: list[bytes] = [bytes(CHAIN_BYTES)]
        """By applied index: a hash over all entries up to there."""
        self._snapshots: dict[int, Snapshot] = {}
        self.num_installed = 0
        for node_id, disk in disks.items():
            self.restarted(node_id)
            self._note_entries(disk.entries, Term(0))
            self._note_committed(disk.entries[len(self._committed) :])

    @property
    def num_elections(self) -> int:
        """Elections that were won."""
        return len(self._leaders)

    @property
    def num_committed(self) -> int:
        """Entries that are committed."""
        return len(self._committed)

    @property
    def num_changes(self) -> int:
        """Membership changes that are committed; the first configuration does not count."""
        return max(0, len(self._configurations) - 1)

    @property
    def num_joint(self) -> int:
        """Joint ones among them."""
        return sum(bool(configuration.outgoing) for _, configuration in self._configurations)

    @property
    def num_snapshots(self) -> int:
        """Indices of which some node took a snapshot."""
        return len(self._snapshots)

    @property
    def configuration(self) -> Configuration:
        """The newest committed configuration."""
        return self._configurations[-1][1]

    # --- what happens to a node

    def restarted(self, node_id: NodeId) -> None:
        """A node begins a life with what its disk holds."""
        disk = self._disks[node_id]
        voted_for = disk.hard_state.voted_for if disk.hard_state is not None else None
        compacted = [entry.term for entry in self._committed[: disk.base_index]]
        seen = _Seen(compacted + [entry.term for entry in disk.entries], disk.term, voted_for)
        seen.saved_commit_index = disk.hard_state.commit_index if disk.hard_state is not None else 0
        if disk.snapshot is not None:
            snapshot = disk.snapshot.snapshot
            seen.commit_index = seen.applied_index = snapshot.last_index
            seen.configurations = [(snapshot.last_index, snapshot.configuration)]
        seen.note_configurations([entry for entry in disk.entries if entry.index > seen.commit_index])
        self._seen[node_id] = seen

    def restored(self, status: RaftStatus) -> None:
        """A restarted node must know what its disk knows: terms, entries and commits do not go back."""
        seen = self._seen[status.node_id]
        assert status.term == seen.term, f"node {status.node_id} restarts in term {status.term}, saved: {seen.term}"
        assert status.last_index == len(seen.terms), f"node {status.node_id} restarts with another log than it saved"
        assert status.snapshot_index == seen.commit_index, f"node {status.node_id} restarts with another snapshot"
        assert status.commit_index >= seen.saved_commit_index, f"node {status.node_id} forgot what was committed"

    def handed_out(self, node_id: NodeId, ready: Ready) -> None:
        """A node hands out a Ready; nothing of it is performed yet."""
        seen = self._seen[node_id]
        if ready.snapshot is not None:
            self._check_snapshot(node_id, seen, ready.snapshot.snapshot, is_received=ready.snapshot.is_received)
        if ready.entries:
            self._check_entries(node_id, seen, ready)
        if ready.hard_state is not None:
            self._check_hard_state(node_id, seen, ready.hard_state)
        for fact in ready.facts:
            if isinstance(fact, RoleChanged):
                seen.leads = fact.term if fact.role == "leader" else None
                if fact.role == "leader":
                    self._check_election(node_id, fact.term, seen)
        if ready.committed:
            self._check_committed(node_id, seen, ready.committed)
        if seen.leads is not None:
            pending = [index for index, _ in seen.configurations if index > seen.commit_index]
            assert len(pending) <= 1, f"one change at a time (4.1): leader {node_id} has {pending} uncommitted"

    def saved(self, ready: Ready) -> None:
        """A Ready came to a disk: from now on its entries can be met again."""
        if ready.entries:
            self._note_entries(ready.entries, None)

    def sent(self, message: Message) -> None:
        """A message leaves its sender: what it promises must be on the sender's disk."""
        disk, body = self._disks[message.sender], message.body
        if isinstance(body, AppendRequest) and body.entries:
            self._note_entries(body.entries, body.previous_term)
        if isinstance(body, PreVoteRequest | PreVoteResponse):
            return
        assert message.term <= disk.term, f"node {message.sender} speaks in term {message.term}, saved: {disk.term}"
        if isinstance(body, VoteRequest):
            self._check_vote(message.sender, message.sender, message.term)
        elif isinstance(body, VoteResponse) and body.granted:
            self._check_vote(message.sender, message.receiver, message.term)
        elif isinstance(body, AppendResponse) and body.success and message.term == disk.term:
            assert body.match_index <= disk.last_index, (
                f"node {message.sender} acknowledges entry {body.match_index}, saved: {disk.last_index}"
            )

    def applied(self, node_id: NodeId, index: int, chain: bytes) -> None:
        """State machine safety (3.6.3): equal applied index, equal history; each entry once, without gaps."""
        seen = self._seen[node_id]
        assert index == seen.applied_index + 1, f"node {node_id} applies {index} after {seen.applied_index}"
        seen.applied_index = index
        if index == len(self._chains):
            self._chains.append(chain)
        self._check_chain(node_id, index, chain)

    def installed(self, node_id: NodeId, index: int, chain: bytes) -> None:
        """A received snapshot became the state of a node: it must be the one that applying gives (chapter 5)."""
        seen = self._seen[node_id]
        assert index > seen.applied_index, f"node {node_id} goes back from entry {seen.applied_index} to {index}"
        seen.applied_index = index
        self.num_installed += 1
        self._check_chain(node_id, index, chain)

    def _check_chain(self, node_id: NodeId, index: int, chain: bytes) -> None:
        assert self._chains[index] == chain, (
            f"state machine safety: node {node_id} has another history up to entry {index}"
        )

    # --- the rules

    def _check_entries(self, node_id: NodeId, seen: _Seen, ready: Ready) -> None:
        """Leader append-only, log matching, and no committed entry is replaced."""
        first = ready.entries[0].index
        assert first <= len(seen.terms) + 1, f"node {node_id} leaves a gap before entry {first}"
        if seen.leads is not None and not any(isinstance(fact, RoleChanged) for fact in ready.facts):
            assert first == len(seen.terms) + 1, f"leader append-only: leader {node_id} replaces its entry {first}"
        assert first > seen.commit_index, f"node {node_id} replaces the committed entry {first}"
        seen.terms[first - 1 :] = [entry.term for entry in ready.entries]
        seen.note_configurations(ready.entries)

    def _check_snapshot(self, node_id: NodeId, seen: _Seen, snapshot: Snapshot, *, is_received: bool) -> None:
        """A snapshot covers committed entries only, and is the same on all nodes."""
        index = snapshot.last_index
        assert index <= len(self._committed), f"node {node_id} has a snapshot of {index}, which is not committed"
        known = self._snapshots.setdefault(index, snapshot)
        assert known == snapshot, f"node {node_id} has another snapshot of {index} than an earlier one"
        assert snapshot.last_term == self._committed[index - 1].term, f"a snapshot of {index} with a wrong term"
        newest = [each for at, each in self._configurations if at <= index][-1]
        assert snapshot.configuration == newest, f"a snapshot of {index} with {snapshot.configuration}, not {newest}"
        if not is_received:
            assert index <= seen.applied_index, f"node {node_id} has a snapshot of {index} before it applied that"
            return
        assert index > seen.commit_index, f"node {node_id} takes a stale snapshot of {index} for {seen.commit_index}"
        seen.terms = [entry.term for entry in self._committed[:index]]
        seen.commit_index = index
        seen.configurations = [(index, snapshot.configuration)]

    def _note_entries(self, entries: Sequence[Entry], previous_term: Term | None) -> None:
        """Log matching (3.5): an index and a term have one content and one predecessor, for ever.

        What a node handed out for saving but lost in a crash before it told anybody does not count. `previous_term`:
        of the entry before the first; None: not known.
        """
        for entry in entries:
            known, before = self._contents.setdefault((entry.index, entry.term), (entry, previous_term))
            if before is None and previous_term is not None:
                self._contents[entry.index, entry.term] = known, previous_term
                before = previous_term
            assert known == entry and (previous_term is None or before == previous_term), (
                f"log matching: {entry} follows term {previous_term}, elsewhere it is {known} and follows {before}"
            )
            previous_term = entry.term

    def _check_hard_state(self, node_id: NodeId, seen: _Seen, new: HardState) -> None:
        """Terms and commits never go back; a vote is not changed within its term."""
        assert new.term >= seen.term, f"node {node_id} goes back from term {seen.term} to {new.term}"
        if new.term == seen.term:
            assert seen.voted_for in (None, new.voted_for), f"node {node_id} changes its vote in term {new.term}"
        assert new.commit_index >= seen.saved_commit_index, f"node {node_id} takes back its commit index"
        assert new.commit_index <= len(seen.terms), f"node {node_id} saves a commit index past its log's end"
        seen.term, seen.voted_for, seen.saved_commit_index = new.term, new.voted_for, new.commit_index

    def _check_election(self, node_id: NodeId, term: Term, seen: _Seen) -> None:
        """Election safety (3.4) and leader completeness (3.6.3).

        By log matching it is enough to look for the last entry that was committed in an earlier term.
        """
        first = self._leaders.setdefault(term, node_id)
        assert first == node_id, f"election safety: nodes {first} and {node_id} both lead term {term}"
        index = max((index for earlier, index in self._committed_in.items() if earlier < term), default=0)
        if index == 0:
            return
        needed = self._committed[index - 1].term
        assert len(seen.terms) >= index and seen.terms[index - 1] == needed, (
            f"leader completeness: leader {node_id} of term {term} lacks the committed entry {index}/{needed}"
        )

    def _check_committed(self, node_id: NodeId, seen: _Seen, committed: Sequence[Entry]) -> None:
        """What is committed never changes, and whoever commits first does so on a durable quorum."""
        for entry in committed:
            assert entry.index == seen.commit_index + 1, (
                f"node {node_id} commits {entry.index} after {seen.commit_index}"
            )
            assert entry.index <= len(seen.terms) and seen.terms[entry.index - 1] == entry.term, (
                f"node {node_id} commits entry {entry.index}/{entry.term}, which is not in its log"
            )
            seen.commit_index = entry.index
            if entry.index <= len(self._committed):
                assert self._committed[entry.index - 1] == entry, (
                    f"state machine safety: node {node_id} commits {entry}, "
                    f"but {self._committed[entry.index - 1]} was committed there"
                )
        fresh = [entry for entry in committed if entry.index > len(self._committed)]
        if fresh:
            self._note_committed(fresh)
            self._check_durable(node_id, seen, fresh[-1])

    def _check_durable(self, node_id: NodeId, seen: _Seen, last: Entry) -> None:
        """A majority of the voters has the last new entry on disk (and, by log matching, all before it).

        A node counts by the newest configuration in its log; by the one before it if that was appended only after the
        count, in the same batch.
        """
        for _, configuration in seen.configurations[-2:]:
            holders = [node_id for node_id in configuration.members if self._disks[node_id].holds(last)]
            if all(len(set(holders) & set(half)) >= majority(len(half)) for half in configuration.halves):
                return
        raise AssertionError(
            f"node {node_id} commits {last.index}/{last.term}, durable on too few: "
            f"{[node_id for node_id, disk in self._disks.items() if disk.holds(last)]} of {seen.configurations[-2:]}"
        )

    def _note_committed(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._committed.append(entry)
            if entry.kind is EntryKind.CONFIGURATION:
                self._configurations.append((entry.index, Configuration.decode(entry.data)))
        if entries:
            # A leader counts entries of its own term only: the last one's term is the one it was committed in.
            self._committed_in[entries[-1].term] = entries[-1].index

    def _check_vote(self, voter: NodeId, candidate: NodeId, term: Term) -> None:
        """A vote is saved before it is told, and there is one a term, also over restarts (3.4, 3.8)."""
        hard_state = self._disks[voter].hard_state
        assert hard_state is not None
        assert hard_state.term > term or hard_state.voted_for == candidate, (
            f"node {voter} votes for {candidate} in term {term}, saved: {hard_state}"
        )
        first = self._votes.setdefault((voter, term), candidate)
        assert first == candidate, f"node {voter} votes for {first} and {candidate} in term {term}"


def _check_transition(old: Configuration, new: Configuration) -> None:
    """No two configurations that follow each other could decide without each other (4.1, 4.3)."""
    if old.outgoing:
        assert (new.voters, new.outgoing) == (old.voters, ()), f"the joint {old} is left for {new}"
    elif new.outgoing:
        assert new.outgoing == old.voters, f"{new} is no joint configuration of {old}"
    else:
        assert len(set(old.voters) ^ set(new.voters)) <= 1, f"several voters at once (4.3): {old} becomes {new}"
