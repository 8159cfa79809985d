"""The replicated state machine: client sessions, so that a repeated proposal is applied once, and the ledger.

Everything that `apply` reads is the ledger and the sessions, both functions of the log alone: a snapshot is these two.
Raft roles and proposers' addresses are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

from raftgossip.core.epoch.command import Envelope
from raftgossip.core.epoch.ledger import Applied, Ledger, LedgerState
from raftgossip.core.sessions import Sessions, SessionState
from raftgossip.facts import LedgerFact


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """A replica at one moment. Equal on all replicas that applied the same log."""

    ledger: LedgerState
    sessions: tuple[SessionState[Applied], ...]
    """The client that was silent longest first."""


class Replica:
    """Applies committed envelopes in log order. Invariant: the state is a function of the applied log alone."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._sessions: Sessions[Applied] = Sessions()

    @property
    def ledger(self) -> Ledger:
        """What the applied commands add up to; another object after `restore`."""
        return self._ledger

    def apply(self, index: int, envelope: Envelope) -> tuple[Applied, tuple[LedgerFact, ...]]:
        """Take the committed command at `index`; a repeated one gets its first answer and has no effect."""
        facts: tuple[LedgerFact, ...] = ()

        def apply_now() -> Applied:
            nonlocal facts
            result, facts = self._ledger.apply(index, envelope.command)
            return result

        client, sequence = envelope.client, envelope.sequence
        result = self._sessions.once(client, sequence, envelope.first_unanswered, apply_now).result
        if result is None:
            floor = self._sessions.floor(client)
            return Applied(False, f"sequence {sequence} of client {client!r} is below {floor}: too late"), ()
        return result, facts

    def capture(self) -> ReplicaState:
        """The state of this moment; later commands do not change it."""
        return ReplicaState(self._ledger.state(), self._sessions.states())

    def restore(self, state: ReplicaState) -> None:
        """Go on from `state`, as if the commands before it had been applied here; what was here is gone."""
        self._ledger = Ledger(state.ledger)
        self._sessions = Sessions(state.sessions)

    def check_invariants(self) -> None:
        """Assert what the classes promise; for tests and the simulator."""
        self._sessions.check_invariants()
        self._ledger.check_invariants()
