"""Entries, messages, events and the Ready of Raft: frozen values, named as in the thesis (Ongaro 2014).

Each field says who sets it and what the receiver may conclude.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import Enum

from raftgossip.facts import RaftFact
from raftgossip.ids import LogIndex, NodeId, Term


class EntryKind(Enum):
    """What an entry's data is."""

    COMMAND = 0
    """Bytes for the state machine."""
    NOOP = 1
    """The first entry of a leader's term (thesis section 6.4): commits what earlier terms left behind. No data."""
    CONFIGURATION = 2
    """An encoded `Configuration`; it decides as soon as it stands in a log."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One log entry. Index and term together identify it for ever (Log Matching, thesis section 3.5)."""

    index: LogIndex
    term: Term
    kind: EntryKind
    data: bytes


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who votes and who only receives the log. Each group is sorted; nobody is voter and learner at once."""

    voters: tuple[NodeId, ...]
    learners: tuple[NodeId, ...] = ()
    outgoing: tuple[NodeId, ...] = ()
    """Not empty while the change is joint (thesis section 4.3): the voters before it. Then nothing is decided without a
    majority of both groups."""

    def __post_init__(self) -> None:
        for group in (self.voters, self.learners, self.outgoing):
            if tuple(sorted(set(group))) != group:
                raise ValueError("voters, learners and outgoing voters must be sorted and free of repetitions")
        if set(self.voters) & set(self.learners):
            raise ValueError("a node is either a voter or a learner")

    @property
    def halves(self) -> tuple[tuple[NodeId, ...], ...]:
        """The groups of which each must agree by majority."""
        return (self.voters, self.outgoing) if self.outgoing else (self.voters,)

    @property
    def deciders(self) -> tuple[NodeId, ...]:
        """Everybody whose vote counts, sorted."""
        return tuple(sorted({*self.voters, *self.outgoing})) if self.outgoing else self.voters

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Everybody who gets the log, sorted."""
        return tuple(sorted({*self.voters, *self.learners, *self.outgoing}))

    def encode(self) -> bytes:
        """The entry data: decimal ids as `voters|learners`, e.g. `1,2,3|4`; with `|outgoing` behind it while joint."""
        groups = (self.voters, self.learners, self.outgoing) if self.outgoing else (self.voters, self.learners)
        return "|".join(",".join(str(node) for node in group) for group in groups).encode()

    @classmethod
    def decode(cls, data: bytes) -> Configuration:
        """Read what `encode` wrote.

        Raises:
            ValueError: the bytes are not such an encoding.
        """
        texts = data.decode("ascii").split("|")
        if len(texts) not in (2, 3):
            raise ValueError(f"a configuration has two or three groups, not {len(texts)}")
        return cls(*(tuple(NodeId(int(part)) for part in text.split(",") if part) for text in texts))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state machine after the entry `last_index`, in place of the log up to there (thesis chapter 5).

    The state is a function of the log and its encoding of the state, so all nodes' snapshots of one index are equal,
    and a transfer that one leader began another can end.
    """

    last_index: LogIndex
    last_term: Term
    configuration: Configuration
    """The newest configuration at or before `last_index`."""
    data: bytes
    checksum: int
    """CRC-32 of `data`."""

    @classmethod
    def of(cls, last_index: LogIndex, last_term: Term, configuration: Configuration, data: bytes) -> Snapshot:
        """A snapshot with its checksum."""
        return cls(last_index, last_term, configuration, data, zlib.crc32(data))


# --- bodies of messages


@dataclass(frozen=True, slots=True)
class PreVoteRequest:
    """Thesis section 9.6: would you vote for me in `Message.term`? Nobody's term moves by asking."""

    last_log_index: LogIndex
    last_log_term: Term


@dataclass(frozen=True, slots=True)
class PreVoteResponse:
    """The answer; `Message.term` is the asked term if granted, the responder's own term if not."""

    granted: bool


@dataclass(frozen=True, slots=True)
class VoteRequest:
    """Thesis section 3.4: the candidate's term and how far its log reaches."""

    last_log_index: LogIndex
    last_log_term: Term
    is_transfer: bool = False
    """Set when the leader itself asked for this election (thesis section 3.10): leader stickiness does not apply."""


@dataclass(frozen=True, slots=True)
class VoteResponse:
    """A granted vote was persisted before this was sent."""

    granted: bool


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """Entries that follow (previous_index, previous_term) in the leader's log; empty: a heartbeat."""

    previous_index: LogIndex
    previous_term: Term
    entries: tuple[Entry, ...]
    commit_index: LogIndex
    sequence: int
    """Counts the leader's requests to this follower in this term; echoed in the answer."""


@dataclass(frozen=True, slots=True)
class AppendResponse:
    """Success: the follower's durable log equals the leader's up to `match_index`. Refusal: where to try next."""

    success: bool
    match_index: LogIndex
    conflict_index: LogIndex
    conflict_term: Term
    sequence: int


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """Thesis section 3.10: the leader asks its most caught-up follower to stand at once."""


@dataclass(frozen=True, slots=True)
class SnapshotChunk:
    """A part of the leader's snapshot, for a follower that needs entries which the log no longer has (chapter 5).

    Parts of one snapshot agree in index, term, length and checksum; parts of another one are never mixed in.
    """

    last_index: LogIndex
    last_term: Term
    configuration: Configuration
    total_bytes: int
    checksum: int
    offset: int
    data: bytes
    sequence: int
    """As in `AppendRequest`."""


@dataclass(frozen=True, slots=True)
class SnapshotResponse:
    """The follower holds `next_offset` bytes of this snapshot. A complete one is answered by an `AppendResponse`."""

    last_index: LogIndex
    last_term: Term
    next_offset: int
    sequence: int


@dataclass(frozen=True, slots=True)
class ReadIndexRequest:
    """A follower asks the leader from which index on its state answers a read of now (thesis section 6.4)."""

    context: int
    """Chosen by the asking node, new for each question."""


@dataclass(frozen=True, slots=True)
class ReadIndexResponse:
    """Sent after a majority confirmed the leader: whoever has applied up to `index` may answer the read."""

    context: int
    index: LogIndex


Body = (
    PreVoteRequest
    | PreVoteResponse
    | VoteRequest
    | VoteResponse
    | AppendRequest
    | AppendResponse
    | TimeoutNow
    | SnapshotChunk
    | SnapshotResponse
    | ReadIndexRequest
    | ReadIndexResponse
)


@dataclass(frozen=True, slots=True)
class Message:
    """An addressed body. `term` is the sender's current term, except in pre-votes (see there)."""

    sender: NodeId
    receiver: NodeId
    term: Term
    body: Body


# --- events: what goes into `RaftNode.handle`


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline that the core asked for has come."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message from another node, already decoded."""

    message: Message


@dataclass(frozen=True, slots=True)
class Proposed:
    """Append this command if this node leads; the outcome comes back in `Ready.committed` or `Ready.refused`."""

    request_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ConfigurationProposed:
    """Change the membership to this. A change of several voters goes through a joint configuration, which the leader
    leaves by itself (thesis section 4.3)."""

    request_id: int
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Persisted:
    """The oldest Ready with entries that was not reported yet is durable; its last entry is `last_index`."""

    last_index: LogIndex


@dataclass(frozen=True, slots=True)
class Applied:
    """The state machine has applied up to here."""

    index: LogIndex


@dataclass(frozen=True, slots=True)
class ReadRequested:
    """Ask from when on this node's state answers a read of now; the answer comes in `Ready.reads`, or never if no
    majority can be reached: ask again after a timeout."""

    request_id: int


@dataclass(frozen=True, slots=True)
class TransferRequested:
    """Hand the leadership over (thesis section 3.10) to `target`, or to the most caught-up voter that answers.

    Until it succeeds or an election timeout has passed, proposals are refused. A refusal comes in `Ready.refused`; the
    success shows in the next leader's term.
    """

    request_id: int
    target: NodeId | None = None


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """The state machine's encoded state after the entry `index`, which is applied; older entries may be dropped."""

    index: LogIndex
    data: bytes


RaftEvent = (
    Tick
    | Received
    | Proposed
    | ConfigurationProposed
    | Persisted
    | Applied
    | ReadRequested
    | TransferRequested
    | SnapshotTaken
)


# --- effects: what comes out of `RaftNode.ready`


@dataclass(frozen=True, slots=True)
class HardState:
    """What must survive a crash: term and vote before any answer in that term; the commit index is a hint."""

    term: Term
    voted_for: NodeId | None
    commit_index: LogIndex


@dataclass(frozen=True, slots=True)
class Appended:
    """A proposal of this node got a place in the log; it is not committed yet."""

    request_id: int
    index: LogIndex
    term: Term


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that was not taken. `reason`: `not_leader`, `busy`, `transferring`, `change_pending`, `invalid`,
    `no_successor` or `transfer_failed`."""

    request_id: int
    reason: str
    leader: NodeId | None


@dataclass(frozen=True, slots=True)
class ReadGranted:
    """Once everything up to `index` is applied, the state answers the read; that much is in `committed` by now."""

    request_id: int
    index: LogIndex


@dataclass(frozen=True, slots=True)
class SnapshotSave:
    """What to do to disk and state machine because of a snapshot."""

    snapshot: Snapshot
    base_index: LogIndex
    """Entries up to here are deleted; the ones behind it that the snapshot covers are kept for slow followers."""
    base_term: Term
    """Of the entry at `base_index`: what is sent after it must name it."""
    is_received: bool
    """It came from a leader: all entries are deleted, and the state machine takes its state from it."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Effects, in the order of execution.

    1. `prompt_messages` are sent: they promise nothing that is not durable, so a leader's followers write while it
       writes itself (thesis section 10.2.1).
    2. `hard_state`, `snapshot` and `entries` are persisted in one transaction, in this order; `entries` replace
       everything from the first one's index on.
    3. `messages` are sent.
    4. A received snapshot is installed, then `committed` entries are applied in order.
    5. `appended`, `refused`, `reads` and `facts` are handed over. Then the host feeds `Persisted` and `Applied`.

    Several Readys may be out at once: 1. is done at once, 2. to 5. in the order in which the Readys came.
    """

    hard_state: HardState | None = None
    snapshot: SnapshotSave | None = None
    entries: tuple[Entry, ...] = ()
    prompt_messages: tuple[Message, ...] = ()
    messages: tuple[Message, ...] = ()
    committed: tuple[Entry, ...] = ()
    appended: tuple[Appended, ...] = ()
    refused: tuple[Refused, ...] = ()
    reads: tuple[ReadGranted, ...] = ()
    facts: tuple[RaftFact, ...] = ()

    @property
    def needs_disk(self) -> bool:
        """Whether something has to be persisted."""
        return self.hard_state is not None or self.snapshot is not None or bool(self.entries)
