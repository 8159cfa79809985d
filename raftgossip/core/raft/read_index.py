"""Linearizable reads without a log entry (thesis section 6.4): who waits, and when may it read?

A leader may answer from its state once it has committed an entry of its term and a majority confirmed, to a request
sent after the read came, that it still leads. One round of heartbeats confirms all reads that came before it; while it
is out, new ones gather for the next. Answers to any request of the leader count, so under load reads cost no messages.

A follower asks the leader, once for all reads of one Ready, and reads when it has committed that far itself.

With leases (section 6.4.1) the leader asks nobody as long as a majority took it for its leader recently enough: until
`election_min_ms` after they heard it they refuse their votes to others, by their own clocks. So the lease counts from
when the request was sent, is shortened by how much two clocks may differ, and is void once the leader itself has asked
another node to stand.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from raftgossip.core.raft.config import RaftConfig
from raftgossip.ids import LogIndex, NodeId

MAX_WAITING = 8192
"""Reads that may wait at one node; more are refused."""
MAX_QUESTIONS = 256
"""Questions of a follower that may be unanswered; the oldest is given up, since it got lost."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A read that waits at the leader."""

    reader: NodeId
    number: int
    """The leader's own request id, or the context of a follower's question."""
    sequence: int
    """The first request of the leader whose answers confirm this read."""


class LeaderReads:
    """The reads of one leadership, the oldest first. One that a lease confirms waits for those before it, if any."""

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()

    def add(self, reader: NodeId, number: int, next_sequence: int) -> bool:
        """Let a read wait for answers to requests from `next_sequence` on; False: too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append(Waiting(reader, number, next_sequence))
        return True

    def needs_round(self, last_sequence: int) -> bool:
        """Whether reads wait, and no request that could confirm the first of them was sent yet."""
        return bool(self._waiting) and self._waiting[0].sequence > last_sequence

    def take_confirmed(self, sequence: int) -> list[Waiting]:
        """The reads that answers to requests up to `sequence` confirm."""
        confirmed = []
        while self._waiting and self._waiting[0].sequence <= sequence:
            confirmed.append(self._waiting.popleft())
        return confirmed

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not self._waiting

    def take_all(self) -> list[Waiting]:
        """Everybody who still waits: the leadership is over."""
        left = list(self._waiting)
        self._waiting.clear()
        return left


@dataclass(slots=True)
class FollowerReads:
    """The reads of one node while another leads."""

    next_context: int
    """Differs between two lives of a node, so that a late answer to an earlier one is not taken for its own."""
    fresh: list[int] = field(default_factory=list)
    """Request ids that were not asked for yet."""
    asked: dict[int, list[int]] = field(default_factory=dict)
    """By context, the oldest first."""
    granted: list[tuple[LogIndex, list[int]]] = field(default_factory=list)
    """Answered, but this node has not committed so far."""
    _num_asked: int = 0
    """Request ids in `asked`. The oldest are given up above `MAX_WAITING`: their question or its answer got lost."""

    def take_question(self) -> int | None:
        """The context of a question for all fresh reads; None: there are none."""
        if not self.fresh:
            return None
        context = self.next_context
        self.next_context += 1
        self.asked[context] = self.fresh
        self._num_asked += len(self.fresh)
        self.fresh = []
        while len(self.asked) > MAX_QUESTIONS or (self._num_asked > MAX_WAITING and len(self.asked) > 1):
            self._num_asked -= len(self.asked.pop(next(iter(self.asked))))
        return context

    def answered(self, context: int, index: LogIndex) -> None:
        """The leader's answer; one to a question that was never asked, or answered before, is dropped."""
        request_ids = self.asked.pop(context, None)
        if request_ids is not None:
            self._num_asked -= len(request_ids)
            self.granted.append((index, request_ids))
            del self.granted[:-MAX_QUESTIONS]

    def take_granted(self, commit_index: LogIndex) -> list[int]:
        """The requests that this node's state answers now that it committed so far."""
        ready = [request_id for index, ids in self.granted if index <= commit_index for request_id in ids]
        if ready:
            self.granted = [each for each in self.granted if each[0] > commit_index]
        return ready

    def take_all(self) -> list[int]:
        """Everybody who still waits, to be told that it was in vain."""
        left = [*self.fresh, *(each for ids in self.asked.values() for each in ids)]
        left += [each for _, ids in self.granted for each in ids]
        self.fresh, self.asked, self.granted, self._num_asked = [], {}, [], 0
        return left


class SendTimes:
    """When each of a leader's requests was sent, as far as a lease can depend on it. O(1) per millisecond."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque()

    def note(self, sequence: int, now_ms: int, keep_ms: int) -> None:
        """Requests from `sequence` on are sent at `now_ms`; what is older than `keep_ms` is forgotten."""
        if not self._marks or self._marks[-1][1] != now_ms:
            self._marks.append((sequence, now_ms))
        while len(self._marks) > 1 and self._marks[0][1] < now_ms - keep_ms:
            self._marks.popleft()

    def sent_ms(self, sequence: int) -> int | None:
        """When it was sent; None: long ago."""
        return next((ms for first, ms in reversed(self._marks) if first <= sequence), None)


def lease_ms(config: RaftConfig) -> int:
    """How long a lease lasts by the leader's clock, from the moment that the confirmed request was sent."""
    drift = config.lease_drift_percent
    # One millisecond less on either side, since clocks are read in whole ones.
    return (config.election_min_ms - 1) * (100 - drift) // (100 + drift) - 1 if drift else 0
