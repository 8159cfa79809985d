"""Snapshots on their way: cut into chunks by a leader, put together by a follower (thesis chapter 5).

One chunk is on the way at a time, and the follower answers how many bytes it holds: so a lost chunk is sent again, a
repeated one is harmless, and a new leader goes on where the old one stopped, because all nodes' snapshots of one index
are equal byte for byte.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import Snapshot, SnapshotChunk
from raftgossip.ids import LogIndex, Term

Identity = tuple[LogIndex, Term, int, int]
"""Index, term, length and checksum: what differs in one of them is another snapshot."""


def identity_of(chunk: SnapshotChunk) -> Identity:
    """Which snapshot a chunk belongs to."""
    return chunk.last_index, chunk.last_term, chunk.total_bytes, chunk.checksum


@dataclass(slots=True)
class Outgoing:
    """A leader's transfer to one follower. Invariant: 0 <= offset <= length of the data."""

    snapshot: Snapshot
    """Kept for the whole transfer, though newer ones may be taken meanwhile."""
    offset: int = 0
    """So many bytes the follower is known to hold."""
    is_waiting: bool = False
    """A chunk is on the way."""
    sent_ms: int = 0
    """When it was sent."""
    begun_ms: int | None = None
    """When the first chunk was sent."""
    num_sent_bytes: int = 0
    """Over all chunks, also those that were sent again."""
    due_ms: int = 0
    """The rate limit allows the next chunk from then on."""

    def next_chunk(self, config: RaftConfig, sequence: int, now_ms: int) -> SnapshotChunk | None:
        """The chunk to send now; None: one is on the way, or it is too early."""
        if now_ms < self.due_ms or (self.is_waiting and now_ms - self.sent_ms < config.election_min_ms):
            return None
        snapshot = self.snapshot
        data = snapshot.data[self.offset : self.offset + config.snapshot_chunk_bytes]
        self.is_waiting, self.sent_ms = True, now_ms
        self.begun_ms = now_ms if self.begun_ms is None else self.begun_ms
        self.num_sent_bytes += len(data)
        self.due_ms = self.begun_ms + self.num_sent_bytes * 1000 // config.snapshot_bytes_per_s
        return SnapshotChunk(
            snapshot.last_index,
            snapshot.last_term,
            snapshot.configuration,
            len(snapshot.data),
            snapshot.checksum,
            self.offset,
            data,
            sequence,
        )

    def wake_ms(self, config: RaftConfig) -> int:
        """When the next chunk may go, or the one on the way counts as lost."""
        return max(self.due_ms, self.sent_ms + config.election_min_ms) if self.is_waiting else self.due_ms

    def answered(self, last_index: LogIndex, last_term: Term, next_offset: int) -> None:
        """The follower holds `next_offset` bytes of the snapshot that ends at (last_index, last_term)."""
        if (last_index, last_term) == (self.snapshot.last_index, self.snapshot.last_term):
            self.offset = min(next_offset, len(self.snapshot.data))
            self.is_waiting = False


@dataclass(slots=True)
class Incoming:
    """A follower's part of one snapshot. It grows to `max_snapshot_bytes` at most, and one is held at a time."""

    identity: Identity | None = None
    term: Term = Term(0)
    """Whose leader sent the last chunk that was taken."""
    data: bytearray = field(default_factory=bytearray)

    def take(self, chunk: SnapshotChunk, term: Term) -> Snapshot | None:
        """Add a chunk of the leader of `term` if it is the next one; the snapshot, once it is whole and undamaged.

        What is held gives way to a newer snapshot, and to whatever the leader of a newer term has. A chunk of an older
        one is a late message of a transfer that is over: it is left out.
        """
        identity = identity_of(chunk)
        if self.identity is None or identity[:2] > self.identity[:2] or (term > self.term and chunk.offset == 0):
            if identity != self.identity:
                self.data.clear()
            self.identity, self.term = identity, term
        if identity != self.identity:
            return None
        if chunk.offset == len(self.data):
            self.data += chunk.data
        if len(self.data) != chunk.total_bytes:
            return None
        data = bytes(self.data)
        self.forget()
        if zlib.crc32(data) != chunk.checksum:
            return None
        return Snapshot(chunk.last_index, chunk.last_term, chunk.configuration, data, chunk.checksum)

    def held_bytes(self, chunk: SnapshotChunk) -> int:
        """So many bytes are held of the snapshot that the chunk belongs to."""
        return len(self.data) if identity_of(chunk) == self.identity else 0

    def forget_up_to(self, commit_index: LogIndex) -> None:
        """Drop what is held of a snapshot that the log has overtaken."""
        if self.identity is not None and self.identity[0] <= commit_index:
            self.forget()

    def forget(self) -> None:
        """Drop what is held."""
        self.identity = None
        self.data = bytearray()


def is_news(chunk: SnapshotChunk, commit_index: LogIndex) -> bool:
    """Whether the snapshot reaches further than what is committed here: another one would take the state back."""
    return chunk.last_index > commit_index


def is_well_formed(chunk: SnapshotChunk, term: Term, config: RaftConfig) -> bool:
    """Whether the chunk lies within a snapshot of a size that this node takes, and of a term that can be."""
    return (
        chunk.last_index > 0
        and 0 < chunk.last_term <= term
        and 0 <= chunk.offset <= chunk.offset + len(chunk.data) <= chunk.total_bytes <= config.max_snapshot_bytes
    )
