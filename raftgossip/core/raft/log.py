"""The log: entries by index, with the two marks up to which they were handed out for saving and are durable."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence

from raftgossip.core.raft.message import Entry
from raftgossip.ids import LogIndex, Term


class Log:
    """Entries from index 1 on, without gaps.

    Invariants: entry i stands at index i + 1; terms never fall; durable <= handed out <= last.
    """

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        """`entries`: what the disk holds; all of it is durable."""
        self._entries = list(entries)
        self._num_taken = len(self._entries)
        self._durable_index = LogIndex(len(self._entries))
        self._out: deque[tuple[LogIndex, Term]] = deque()

    @property
    def last_index(self) -> LogIndex:
        """The newest entry's index; 0 while the log is empty."""
        return LogIndex(len(self._entries))

    @property
    def last_term(self) -> Term:
        """The newest entry's term; 0 while the log is empty."""
        return self._entries[-1].term if self._entries else Term(0)

    @property
    def durable_index(self) -> LogIndex:
        """Everything up to here is on disk."""
        return self._durable_index

    def term_at(self, index: LogIndex) -> Term | None:
        """The term of the entry at `index`, 0 for the position before the first; None: the log does not reach there."""
        if index == 0:
            return Term(0)
        return self._entries[index - 1].term if 0 < index <= len(self._entries) else None

    def matches(self, index: LogIndex, term: Term) -> bool:
        """Whether this log holds the entry (index, term), and so all before it (Log Matching, thesis section 3.5)."""
        return self.term_at(index) == term

    def is_behind_or_equal(self, last_index: LogIndex, last_term: Term) -> bool:
        """Whether a log that ends in (last_index, last_term) is at least as up-to-date as this one (section 3.6.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def span(self, first: LogIndex, last: LogIndex) -> list[Entry]:
        """The entries from `first` to `last`, both included; the log reaches to `last`."""
        return self._entries[first - 1 : last]

    def batch(self, first: LogIndex, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """The entries from `first` on that fit into one message: within both limits, but at least one."""
        entries = self._entries[first - 1 : first - 1 + max_entries]
        num_bytes = 0
        for position, entry in enumerate(entries):
            num_bytes += len(entry.data)
            if num_bytes > max_bytes and position:
                return tuple(entries[:position])
        return tuple(entries)

    def first_index_of(self, term: Term) -> LogIndex:
        """Where `term` begins or would begin."""
        return LogIndex(bisect_left(self._entries, term, key=_term_of) + 1)

    def last_index_of(self, term: Term) -> LogIndex | None:
        """The last entry of `term`; None: the log has none of it."""
        end = bisect_right(self._entries, term, key=_term_of)
        return LogIndex(end) if end and self._entries[end - 1].term == term else None

    def append(self, entry: Entry) -> None:
        """Add the next entry at the end."""
        if entry.index != self.last_index + 1 or entry.term < self.last_term:
            raise RuntimeError(f"{entry.index}/{entry.term} cannot follow {self.last_index}/{self.last_term}")
        self._entries.append(entry)

    def truncate_from(self, index: LogIndex) -> None:
        """Drop the entry at `index` and all behind it: they conflict with the leader's (thesis section 3.5)."""
        del self._entries[index - 1 :]
        self._num_taken = min(self._num_taken, index - 1)
        self._durable_index = LogIndex(min(self._durable_index, index - 1))

    def take_unsaved(self) -> tuple[Entry, ...]:
        """The entries that were never handed out; from now on they count as handed out."""
        entries = tuple(self._entries[self._num_taken :])
        if entries:
            self._num_taken = len(self._entries)
            self._out.append((entries[-1].index, entries[-1].term))
        return entries

    def persisted(self, last_index: LogIndex) -> None:
        """The oldest batch that was handed out, which ends at `last_index`, is on disk, and all before it.

        Its last entry may have been cut off and replaced meanwhile; then the batch says nothing about its successor.
        """
        while self._out:
            index, term = self._out.popleft()
            if self.matches(index, term):
                self._durable_index = max(self._durable_index, index)
            if index == last_index:
                return

    def check_invariants(self) -> None:
        """Assert what the class promises, at its two ends: O(1)."""
        assert self._durable_index <= self._num_taken <= len(self._entries)
        if self._entries:
            assert self._entries[-1].index == len(self._entries)
        if len(self._entries) > 1:
            assert self._entries[-2].term <= self._entries[-1].term


def _term_of(entry: Entry) -> Term:
    return entry.term
