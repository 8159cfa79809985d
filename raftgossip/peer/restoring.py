"""What a node starts from: the log on its disk, and the state machine as the newest snapshot left it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raftgossip.errors import StorageError
from raftgossip.facts import Fact
from raftgossip.runtime.ledger_machine import LedgerMachine
from raftgossip.runtime.store import Storage, StoredLog


@dataclass(frozen=True, slots=True)
class Restored:
    """The log behind the snapshot is not applied yet: Raft hands its committed part out again."""

    stored: StoredLog
    machine: LedgerMachine
    facts: Sequence[Fact]
    """What the snapshot makes true; it was told before this start."""


def restore(store: Storage) -> Restored:
    """Read everything back; blocks, so it belongs into a thread.

    Raises:
        StorageError: the log or the snapshot is damaged, or of a version that this program cannot read.
    """
    stored = store.load()
    machine = LedgerMachine()
    if stored.snapshot is None:
        return Restored(stored, machine, ())
    snapshot = stored.snapshot.snapshot
    try:
        install = machine.restore(snapshot.data)
    except ValueError as error:
        raise StorageError(
            f"the snapshot of log entry {snapshot.last_index} cannot be read: {error}; install the version of "
            "raftgossip that wrote it, or restore the state directory from a backup"
        ) from None
    return Restored(stored, machine, install())
