"""The log: entries by index, with the two marks up to which they were handed out for saving and are durable."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence

from raftgossip.core.raft.message import Entry
from raftgossip.ids import LogIndex, Term


class Log:
    """Entries behind `base_index` without gaps; those up to there are compacted, and only the last one's term is known.

    Invariants: entry i stands at index base + i + 1; terms never fall; durable <= handed out <= last.
    """

    def __init__(
        self,
        entries: Sequence[Entry] = (),
        base_index: LogIndex = LogIndex(0),
        base_term: Term = Term(0),
    ) -> None:
        """`entries`: what the disk holds behind `base_index`; all of it is durable."""
        self._entries = list(entries)
        self._base_index, self._base_term = base_index, base_term
        self._durable_index = self._taken_index = self.last_index
        self._out: deque[LogIndex] = deque()
        """The last index of each batch that is on its way to the disk, or lower if the batch was cut since."""
        self._out_since_ms: deque[int] = deque()
        """When each of them was handed out."""

    @property
    def base_index(self) -> LogIndex:
        """Entries up to here are compacted; 0: none."""
        return self._base_index

    @property
    def base_term(self) -> Term:
        """The term of the entry at `base_index`."""
        return self._base_term

    @property
    def last_index(self) -> LogIndex:
        """The newest entry's index; 0 while there was none."""
        return LogIndex(self._base_index + len(self._entries))

    @property
    def last_term(self) -> Term:
        """The newest entry's term; 0 while there was none."""
        return self._entries[-1].term if self._entries else self._base_term

    @property
    def durable_index(self) -> LogIndex:
        """Everything up to here is on disk."""
        return self._durable_index

    def term_at(self, index: LogIndex) -> Term | None:
        """The term of the entry at `index`, 0 for the position before the first; None: not known here (any more)."""
        if index == self._base_index:
            return self._base_term
        place = index - self._base_index
        return self._entries[place - 1].term if 0 < place <= len(self._entries) else None

    def matches(self, index: LogIndex, term: Term) -> bool:
        """Whether this log holds the entry (index, term), and so all before it (Log Matching, thesis section 3.5)."""
        return self.term_at(index) == term

    def is_behind_or_equal(self, last_index: LogIndex, last_term: Term) -> bool:
        """Whether a log that ends in (last_index, last_term) is at least as up-to-date as this one (section 3.6.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def span(self, first: LogIndex, last: LogIndex) -> list[Entry]:
        """The entries from `first`, which is not compacted, to `last`, both included; the log reaches that far."""
        return self._entries[first - self._base_index - 1 : last - self._base_index]

    def batch(self, first: LogIndex, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """The entries from `first` on that fit into one message: within both limits, but at least one."""
        start = first - self._base_index - 1
        entries = self._entries[start : start + max_entries]
        num_bytes = 0
        for position, entry in enumerate(entries):
            num_bytes += len(entry.data)
            if num_bytes > max_bytes and position:
                return tuple(entries[:position])
        return tuple(entries)

    def first_index_of(self, term: Term) -> LogIndex:
        """Where `term` begins or would begin, as far as the log still knows."""
        return LogIndex(self._base_index + bisect_left(self._entries, term, key=_term_of) + 1)

    def last_index_of(self, term: Term) -> LogIndex | None:
        """The last entry of `term`; None: the log has none of it (any more)."""
        end = bisect_right(self._entries, term, key=_term_of)
        if end:
            return LogIndex(self._base_index + end) if self._entries[end - 1].term == term else None
        return self._base_index if self._base_index and self._base_term == term else None

    def append(self, entry: Entry) -> None:
        """Add the next entry at the end."""
        if entry.index != self.last_index + 1 or entry.term < self.last_term:
            raise RuntimeError(f"{entry.index}/{entry.term} cannot follow {self.last_index}/{self.last_term}")
        self._entries.append(entry)

    def truncate_from(self, index: LogIndex) -> None:
        """Drop the entry at `index` and all behind it: they conflict with the leader's (thesis section 3.5)."""
        del self._entries[index - self._base_index - 1 :]
        self._limit_marks(LogIndex(index - 1))

    def compact(self, index: LogIndex) -> None:
        """Forget the entries up to `index`, which a snapshot covers (thesis chapter 5)."""
        term = self.term_at(index)
        assert term is not None, f"entry {index} is not in the log"
        del self._entries[: index - self._base_index]
        self._base_index, self._base_term = index, term

    def reset(self, base_index: LogIndex, base_term: Term) -> None:
        """Forget everything: a received snapshot stands in its place."""
        self._entries.clear()
        self._base_index, self._base_term = base_index, base_term
        self._out = deque([LogIndex(0)] * len(self._out))
        self._durable_index = self._taken_index = base_index

    def take_unsaved(self, now_ms: int) -> tuple[Entry, ...]:
        """The entries that were never handed out; from now on they count as handed out."""
        entries = tuple(self._entries[self._taken_index - self._base_index :])
        if entries:
            self._taken_index = entries[-1].index
            self._out.append(self._taken_index)
            self._out_since_ms.append(now_ms)
        return entries

    @property
    def oldest_out_ms(self) -> int | None:
        """When the oldest batch that is not durable yet was handed out; None: all are."""
        return self._out_since_ms[0] if self._out_since_ms else None

    def persisted(self) -> None:
        """The oldest batch that was handed out is on disk; what was cut off it meanwhile counts for nothing."""
        self._durable_index = max(self._durable_index, self._out.popleft())
        self._out_since_ms.popleft()

    def _limit_marks(self, index: LogIndex) -> None:
        """Nothing behind `index` is handed out or durable any more, also once it stands there again."""
        self._taken_index = min(self._taken_index, index)
        self._durable_index = min(self._durable_index, index)
        self._out = deque(min(last, index) for last in self._out)

    def check_invariants(self) -> None:
        """Assert what the class promises, at its two ends: O(1)."""
        assert self._durable_index <= self._taken_index <= self.last_index
        assert self._base_index <= self._taken_index
        if self._entries:
            assert self._entries[0].index == self._base_index + 1
            assert self._entries[-1].index == self.last_index
            assert self._entries[0].term >= self._base_term
        if len(self._entries) > 1:
            assert self._entries[-2].term <= self._entries[-1].term


def _term_of(entry: Entry) -> Term:
    return entry.term
