"""One machine of a simulated cluster: a disk that survives crashes, and what does not."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from raftgossip.core.raft.message import Entry, EntryKind, HardState, RaftEvent, Ready, SnapshotSave
from raftgossip.core.raft.node import RaftNode
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.sim.registers import Answer, RegisterMachine

CHAIN_BYTES = 32


@dataclass(slots=True)
class Disk:
    """What one machine keeps over a crash. Only what was synced is in here."""

    hard_state: HardState | None = None
    entries: list[Entry] = field(default_factory=list)
    """Those behind `base_index`."""
    snapshot: SnapshotSave | None = None

    @property
    def term(self) -> Term:
        """The saved term; 0 on a new disk."""
        return self.hard_state.term if self.hard_state is not None else Term(0)

    @property
    def base_index(self) -> LogIndex:
        """Entries up to here are deleted."""
        return self.snapshot.base_index if self.snapshot is not None else LogIndex(0)

    @property
    def last_index(self) -> LogIndex:
        """The newest saved entry, or what the snapshot covers."""
        return LogIndex(self.base_index + len(self.entries))

    def save(self, hard_state: HardState | None, entries: Sequence[Entry], snapshot: SnapshotSave | None) -> None:
        """One transaction; `entries` replace everything from the first one's index on."""
        if hard_state is not None:
            self.hard_state = hard_state
        if snapshot is not None:
            kept = [] if snapshot.is_received else self.entries[snapshot.base_index - self.base_index :]
            self.snapshot, self.entries = snapshot, kept
        if entries:
            assert entries[0].index <= self.last_index + 1, f"a gap before entry {entries[0].index} on the disk"
            self.entries[entries[0].index - self.base_index - 1 :] = entries

    def holds(self, entry: Entry) -> bool:
        """Whether this very entry stands in the saved log, or a snapshot covers its place."""
        if self.snapshot is not None and entry.index <= self.snapshot.snapshot.last_index:
            return True
        place = entry.index - self.base_index
        return place <= len(self.entries) and self.entries[place - 1] == entry


@dataclass(slots=True)
class Replica:
    """What a machine has applied: registers, and a hash over all entries in their order. It dies with the machine."""

    registers: RegisterMachine = field(default_factory=RegisterMachine)
    chain: bytes = bytes(CHAIN_BYTES)
    index: LogIndex = LogIndex(0)
    num_since_snapshot: int = 0

    def apply(self, entry: Entry) -> Answer | None:
        """Take a committed entry; the registers' answer, if it is a command."""
        text = f"{entry.index} {entry.term} {entry.kind.value} ".encode()
        self.chain = hashlib.sha256(self.chain + text + entry.data).digest()
        self.index = entry.index
        self.num_since_snapshot += 1
        return self.registers.apply(entry.index, entry.data)[0] if entry.kind is EntryKind.COMMAND else None

    def capture(self) -> bytes:
        """The state as a snapshot's data."""
        self.num_since_snapshot = 0
        return self.chain + self.registers.capture()()

    def restore(self, index: LogIndex, data: bytes) -> None:
        """Take the state of a snapshot."""
        self.registers.restore(data[CHAIN_BYTES:])()
        self.chain, self.index, self.num_since_snapshot = data[:CHAIN_BYTES], index, 0
        self.registers.check_invariants()


@dataclass(slots=True)
class Machine:
    """One node's surroundings: its disk survives a crash, everything else does not."""

    node_id: NodeId
    rate: int
    disk: Disk = field(default_factory=Disk)
    node: RaftNode | None = None
    """None: crashed."""
    life: int = 0
    """Counts starts and crashes: what was planned for an earlier life does not happen."""
    replica: Replica = field(default_factory=Replica)
    mailbox: deque[RaftEvent] = field(default_factory=deque)
    writing: deque[Ready] = field(default_factory=deque)
    """Readys that wait for the disk, in order."""
    is_full: bool = False
    """Its disk has no room: the next write fails, and the machine stops."""
    paused_until_ms: int = 0
    """It does nothing until then, and does not know it: its clock goes on."""
    places: dict[LogIndex, tuple[Term, int]] = field(default_factory=dict)
    """Where the requests of this life stand in the log: term and request id by index."""
    has_run_planned: bool = False
    """It will look at its mailbox."""
    wake_at_ms: int | None = None
    """When it will look at its deadline."""

    def die(self) -> None:
        """Lose everything but the disk."""
        self.life += 1
        self.node, self.has_run_planned, self.wake_at_ms, self.paused_until_ms = None, False, None, 0
        self.mailbox.clear()
        self.writing.clear()
        self.places.clear()
        self.replica = Replica()

    def local_ms(self, now_ms: int) -> int:
        """What its own clock shows."""
        return now_ms * self.rate // 1000

    def world_ms(self, local_ms: int) -> int:
        """The first world time at which its clock shows `local_ms`."""
        return -(-local_ms * 1000 // self.rate)
