"""Entries, messages, events and the Ready of Raft: frozen values, named as in the thesis (Ongaro 2014).

Each field says who sets it and what the receiver may conclude.
"""

from __future__ import annotations

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
    """Who votes and who only receives the log. Sorted, disjoint; voters decide every quorum."""

    voters: tuple[NodeId, ...]
    learners: tuple[NodeId, ...] = ()

    def __post_init__(self) -> None:
        if tuple(sorted(set(self.voters))) != self.voters or tuple(sorted(set(self.learners))) != self.learners:
            raise ValueError("voters and learners must be sorted and free of repetitions")
        if set(self.voters) & set(self.learners):
            raise ValueError("a node is either a voter or a learner")

    def encode(self) -> bytes:
        """The entry data: decimal ids as `voters|learners`, e.g. `1,2,3|4`."""
        return "|".join(",".join(str(node) for node in group) for group in (self.voters, self.learners)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Configuration:
        """Read what `encode` wrote.

        Raises:
            ValueError: the bytes are not such an encoding.
        """
        voters_text, learners_text = data.decode("ascii").split("|")
        voters, learners = (
            tuple(NodeId(int(part)) for part in text.split(",") if part) for text in (voters_text, learners_text)
        )
        return cls(voters, learners)


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


Body = PreVoteRequest | PreVoteResponse | VoteRequest | VoteResponse | AppendRequest | AppendResponse | TimeoutNow


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
    """Change one server's membership (thesis section 4.1): the new configuration differs by one voter at most."""

    request_id: int
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Persisted:
    """Everything of earlier Readys is durable up to `last_index`."""

    last_index: LogIndex


@dataclass(frozen=True, slots=True)
class Applied:
    """The state machine has applied up to here."""

    index: LogIndex


@dataclass(frozen=True, slots=True)
class StepDown:
    """Clean stop: a leader hands over to its most caught-up voter and follows; others ignore it."""


RaftEvent = Tick | Received | Proposed | ConfigurationProposed | Persisted | Applied | StepDown


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
    """A proposal that got no place. `reason`: `not_leader`, `busy`, `change_pending` or `invalid`."""

    request_id: int
    reason: str
    leader: NodeId | None


@dataclass(frozen=True, slots=True)
class Ready:
    """Effects, in the order of execution.

    1. `hard_state` and `entries` are persisted in one transaction; `entries` replace everything from the first
       one's index on. 2. `messages` are sent. 3. `committed` entries are applied in order. 4. `appended`, `refused`
       and `facts` are handed over. Then the host feeds `Persisted` and `Applied`.
    """

    hard_state: HardState | None = None
    entries: tuple[Entry, ...] = ()
    messages: tuple[Message, ...] = ()
    committed: tuple[Entry, ...] = ()
    appended: tuple[Appended, ...] = ()
    refused: tuple[Refused, ...] = ()
    facts: tuple[RaftFact, ...] = ()
