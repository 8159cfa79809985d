"""What a leader knows of one follower: how far its log agrees, what is on the way to it, and whether it answers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from raftgossip.ids import LogIndex


class Flow(Enum):
    """How entries go to a follower."""

    PROBE = 0
    """Its log's end is unknown: one message, then silence until an answer, heartbeats excepted."""
    REPLICATE = 1
    """It keeps up: messages follow each other without waiting, up to the window."""


@dataclass(slots=True)
class Progress:
    """One follower, as seen by the leader of one term.

    Invariants: match < next; the window is empty while probing; match only rises.
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
    inflight: deque[LogIndex] = field(default_factory=deque)
    """The last indices of the messages with entries that are out, in order."""
    responsive: bool | None = None
    """Whether it answers; None: not known yet in this leadership."""
    caught_up: bool = False
    """`PeerCaughtUp` was reported."""

    def can_send(self, max_inflight: int) -> bool:
        """Whether entries may go now."""
        if self.flow is Flow.PROBE:
            return not self.probe_sent
        return len(self.inflight) < max_inflight

    def sent(self, last_index: LogIndex) -> None:
        """A message with entries up to `last_index` went out."""
        if self.flow is Flow.PROBE:
            self.probe_sent = True
        else:
            self.inflight.append(last_index)
            self.next_index = LogIndex(last_index + 1)

    def acknowledged(self, match_index: LogIndex) -> bool:
        """Its log agrees up to `match_index`; returns whether that is news."""
        if self.flow is Flow.PROBE:
            self.flow = Flow.REPLICATE
            self.probe_sent = False
            self.next_index = LogIndex(max(self.match_index, match_index) + 1)
        while self.inflight and self.inflight[0] <= match_index:
            self.inflight.popleft()
        is_news = match_index > self.match_index
        if is_news:
            self.match_index = match_index
            self.next_index = max(self.next_index, LogIndex(match_index + 1))
        return is_news

    def probe_from(self, next_index: LogIndex, next_sequence: int) -> None:
        """Something got lost or does not fit: forget what is out, which frees the window, and ask anew."""
        self.flow = Flow.PROBE
        self.probe_sent = False
        self.probe_sequence = next_sequence
        self.inflight.clear()
        self.next_index = max(next_index, LogIndex(self.match_index + 1))

    def check_invariants(self, last_index: LogIndex, max_inflight: int) -> None:
        """Assert what the class promises, against the leader's last index."""
        assert 0 <= self.match_index < self.next_index <= last_index + 1
        assert len(self.inflight) <= max_inflight
        assert self.flow is Flow.REPLICATE or not self.inflight
