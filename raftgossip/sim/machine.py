"""One machine of a simulated cluster: a disk that survives crashes, and what does not."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from raftgossip.core.raft.message import Entry, HardState, RaftEvent, Ready
from raftgossip.core.raft.node import RaftNode
from raftgossip.ids import NodeId, Term


@dataclass(slots=True)
class Disk:
    """What one machine keeps over a crash. Only what was synced is in here."""

    hard_state: HardState | None = None
    entries: list[Entry] = field(default_factory=list)

    @property
    def term(self) -> Term:
        """The saved term; 0 on a new disk."""
        return self.hard_state.term if self.hard_state is not None else Term(0)

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """One transaction; `entries` replace everything from the first one's index on."""
        if hard_state is not None:
            self.hard_state = hard_state
        if entries:
            assert entries[0].index <= len(self.entries) + 1, f"a gap before entry {entries[0].index} on the disk"
            self.entries[entries[0].index - 1 :] = entries

    def holds(self, entry: Entry) -> bool:
        """Whether this very entry stands in the saved log."""
        return entry.index <= len(self.entries) and self.entries[entry.index - 1] == entry


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
    mailbox: deque[RaftEvent] = field(default_factory=deque)
    writing: deque[Ready] = field(default_factory=deque)
    """Readys that wait for the disk, in order."""
    has_run_planned: bool = False
    """It will look at its mailbox."""
    wake_at_ms: int | None = None
    """When it will look at its deadline."""

    def local_ms(self, now_ms: int) -> int:
        """What its own clock shows."""
        return now_ms * self.rate // 1000

    def world_ms(self, local_ms: int) -> int:
        """The first world time at which its clock shows `local_ms`."""
        return -(-local_ms * 1000 // self.rate)
