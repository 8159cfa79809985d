"""The ledger as Raft's state machine: log entries to commands, snapshots to bytes. Raft roles are not known here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raftgossip.core.epoch.ledger import Applied, Ledger, LedgerState
from raftgossip.core.replica import Replica
from raftgossip.errors import WireError
from raftgossip.facts import EpochClosed, EpochOpened, Fact, RosterChanged, RunStarted
from raftgossip.ids import LogIndex
from raftgossip.wire.ledger_codec import envelope_from_bytes
from raftgossip.wire.snapshot_codec import record_to_part, snapshot_from_bytes, snapshot_to_bytes


class LedgerMachine:
    """A `core.raft.state_machine.StateMachine[Applied]` around one `Replica`; its methods run on the event loop.

    Invariant: `_parts` are the records of the ledger, each as a snapshot holds it. Encoding them anew for every
    snapshot would take the longer the longer the run lasts.
    """

    def __init__(self) -> None:
        self._replica = Replica()
        self._parts: list[bytes] = []

    @property
    def replica(self) -> Replica:
        """What the applied commands add up to, for reading; the same object for ever."""
        return self._replica

    @property
    def ledger(self) -> Ledger:
        """The replica's ledger, for reading; another object once a snapshot was installed."""
        return self._replica.ledger

    def apply(self, index: LogIndex, data: bytes) -> tuple[Applied, Sequence[Fact]]:
        """Take the stamped command at `index`; one that was applied before gets its first answer and has no effect."""
        try:
            envelope = envelope_from_bytes(data)
        except WireError as error:
            # All replicas run this same decoder on the same bytes, so all of them refuse it alike.
            return Applied(False, f"undecodable command: {error}"), ()
        result, facts = self._replica.apply(index, envelope)
        for fact in facts:
            if isinstance(fact, EpochClosed):
                self._parts.extend(map(record_to_part, self.ledger.records(fact.epoch, 1)))
        return result, facts

    def capture(self) -> Callable[[], bytes]:
        """Hold the state of this moment; the returned function encodes it, in any thread."""
        state, parts = self._replica.capture(), tuple(self._parts)
        return lambda: snapshot_to_bytes(state, parts)

    def restore(self, data: bytes) -> Callable[[], Sequence[Fact]]:
        """Decode a captured state, in any thread; the returned function, on the loop, puts it in place.

        Its facts are what a peer must act on: who is in the roster, that the run started, which epoch is open.

        Raises:
            ValueError: the bytes are no such state; nothing changed.
        """
        try:
            state = snapshot_from_bytes(data)
        except WireError as error:
            raise ValueError(str(error)) from error
        parts = list(map(record_to_part, state.ledger.records))

        def install() -> Sequence[Fact]:
            self._replica.restore(state)
            self._parts = parts
            return _facts_of(state.ledger)

        return install

    def check_invariants(self) -> None:
        """Assert what the class promises; for tests."""
        self._replica.check_invariants()
        records = self._replica.capture().ledger.records
        assert self._parts == [record_to_part(record) for record in records]


def _facts_of(ledger: LedgerState) -> tuple[Fact, ...]:
    """What is true in this state. Where the run started is not in it: by its last command at the latest."""
    facts: list[Fact] = [RosterChanged(entry.node_id, present=True) for entry in ledger.roster]
    if ledger.specification is not None:
        facts.append(RunStarted(LogIndex(ledger.applied_index)))
    if ledger.open_epoch is not None:
        opened = ledger.open_epoch
        facts.append(EpochOpened(opened.epoch, opened.attempt, opened.participants))
    return tuple(facts)
