"""What a leader knows of one follower: how far its log agrees, what is on the way to it, and whether it answers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.snapshot import Outgoing
from raftgossip.ids import LogIndex

NEVER_MS = -(10**12)
"""A time before every other."""


class Flow(Enum):
    """How entries go to a follower."""

    PROBE = "probe"
    """Its log's end is unknown: one message, then silence until an answer, heartbeats excepted."""
    REPLICATE = "replicate"
    """It keeps up: messages follow each other without waiting, up to the window."""
    SNAPSHOT = "snapshot"
    """It lacks entries that are compacted: it gets the snapshot, chunk by chunk, before any entry."""


@dataclass(slots=True)
class Progress:
    """One follower, as seen by the leader of one term.

    Invariants: match < next; the window is empty except while replicating; there is a transfer exactly while its flow
    is snapshot; match only rises.
    """

    next_index: LogIndex
    """The first entry that was not sent yet; a guess while probing."""
    first_sequence: int
    """Answers to older requests are ignored: they were given to an earlier membership of the same node."""
    contact_ms: int
    """When it last answered; before the first answer, when the leader began to follow it."""
    match_index: LogIndex = LogIndex(0)
    """Its durable log equals the leader's up to here: nothing is assumed before it says so."""
    flow: Flow = Flow.PROBE
    probe_sent: bool = False
    """While probing: a question is out. Any answer, also that to a heartbeat, allows the next."""
    probe_sequence: int = 0
    """Refusals of requests sent before this one are ignored: they tell of the loss that started the probing."""
    sent_commit_index: LogIndex = LogIndex(0)
    """The commit index that it was last told."""
    answered_sequence: int = 0
    """The newest request of this term that it answered: it took the sender for its leader then."""
    answered_sent_ms: int = NEVER_MS
    """When that request was sent, or earlier: from then on it refuses others its vote (thesis section 6.4.1)."""
    inflight: deque[tuple[LogIndex, int]] = field(default_factory=deque)
    """The last index and the size of each message with entries that is out, in order."""
    inflight_bytes: int = 0
    transfer: Outgoing | None = None
    pin_index: LogIndex | None = None
    """It got, or gets, a snapshot of up to here, and needs the log behind that: compaction waits until it caught up."""
    responsive: bool | None = None
    """Whether it answers; None: not known yet in this leadership."""
    caught_up: bool = False
    """`PeerCaughtUp` was reported, and it has not fallen silent since."""

    def can_send(self, config: RaftConfig) -> bool:
        """Whether entries may go now."""
        match self.flow:
            case Flow.PROBE:
                return not self.probe_sent
            case Flow.REPLICATE:
                return len(self.inflight) < config.max_inflight and self.inflight_bytes < config.max_inflight_bytes
            case Flow.SNAPSHOT:
                return False

    def sent(self, last_index: LogIndex, num_bytes: int) -> None:
        """A message with entries up to `last_index` went out."""
        if self.flow is Flow.PROBE:
            self.probe_sent = True
        else:
            self.inflight.append((last_index, num_bytes))
            self.inflight_bytes += num_bytes
            self.next_index = LogIndex(last_index + 1)

    def acknowledged(self, match_index: LogIndex) -> bool:
        """Its log agrees up to `match_index`; returns whether that is news."""
        has_snapshot = self.transfer is not None and match_index >= self.transfer.snapshot.last_index
        if self.flow is Flow.PROBE or has_snapshot:
            self.flow, self.transfer = Flow.REPLICATE, None
            self.probe_sent = False
            self.next_index = LogIndex(max(self.match_index, match_index) + 1)
        while self.inflight and self.inflight[0][0] <= match_index:
            self.inflight_bytes -= self.inflight.popleft()[1]
        is_news = match_index > self.match_index
        if is_news:
            if self.pin_index is not None:
                self.pin_index = max(self.pin_index, match_index)
            self.match_index = match_index
            self.next_index = max(self.next_index, LogIndex(match_index + 1))
        return is_news

    def probe_from(self, next_index: LogIndex, next_sequence: int) -> None:
        """Something got lost or does not fit: forget what is out, which frees the window, and ask anew."""
        self.flow, self.transfer = Flow.PROBE, None
        self.probe_sent = False
        self.probe_sequence = next_sequence
        self.inflight.clear()
        self.inflight_bytes = 0
        self.next_index = max(next_index, LogIndex(self.match_index + 1))

    def begin_transfer(self, transfer: Outgoing) -> None:
        """What it needs is compacted: send the snapshot first."""
        self.flow, self.transfer = Flow.SNAPSHOT, transfer
        self.pin_index = transfer.snapshot.last_index
        self.probe_sent = False
        self.inflight.clear()
        self.inflight_bytes = 0

    def check_invariants(self, last_index: LogIndex, config: RaftConfig) -> None:
        """Assert what the class promises, against the leader's last index."""
        assert 0 <= self.match_index < self.next_index <= last_index + 1
        assert len(self.inflight) <= config.max_inflight
        assert self.inflight_bytes == sum(size for _, size in self.inflight)
        assert self.flow is Flow.REPLICATE or not self.inflight
        assert (self.flow is Flow.SNAPSHOT) == (self.transfer is not None)
