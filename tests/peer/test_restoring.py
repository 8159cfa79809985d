"""What a node starts from: nothing, a log, or a snapshot with the log behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from raftgossip.core.epoch.command import AddPeer, Command, Envelope, StartRun
from raftgossip.core.raft.message import Configuration, Snapshot, SnapshotSave
from raftgossip.errors import StorageError
from raftgossip.facts import RosterChanged, RunStarted
from raftgossip.ids import Address, Incarnation, LogIndex, NodeId, Term
from raftgossip.peer.restoring import Restored, restore
from raftgossip.runtime.ledger_machine import LedgerMachine
from raftgossip.wire.ledger_codec import envelope_to_bytes
from tests.support.golden import SPECIFICATION

COMMANDS: tuple[Command, ...] = (
    StartRun(SPECIFICATION, b"d" * 32),
    AddPeer(NodeId(1), Address("h", 1), Incarnation("a"), (), "mine"),
)


@dataclass
class Stored:
    """As `StoredLog`, and the store that loads it."""

    snapshot: SnapshotSave | None

    def load(self) -> Stored:
        return self


def restored_from(data: bytes | None) -> Restored:
    saved = None
    if data is not None:
        snapshot = Snapshot.of(LogIndex(40), Term(2), Configuration((NodeId(1),)), data)
        saved = SnapshotSave(snapshot, LogIndex(40), Term(2), is_received=False)
    return restore(cast(Any, Stored(saved)))


def test_a_node_without_a_snapshot_starts_from_nothing() -> None:
    restored = restored_from(None)
    assert restored.machine.ledger.view().roster == ()
    assert restored.facts == ()


def test_a_snapshot_is_in_place_before_the_log_behind_it_and_says_what_is_true() -> None:
    machine = LedgerMachine()
    for sequence, command in enumerate(COMMANDS, start=1):
        machine.apply(LogIndex(sequence), envelope_to_bytes(Envelope("1/a", sequence, sequence, command)))
    restored = restored_from(machine.capture()())
    assert restored.machine.ledger.view() == machine.ledger.view()
    assert RosterChanged(NodeId(1), present=True) in restored.facts
    assert any(isinstance(fact, RunStarted) for fact in restored.facts)


def test_a_snapshot_that_cannot_be_read_is_named() -> None:
    with pytest.raises(StorageError, match="snapshot of log entry 40"):
        restored_from(b"\xff\xff")
