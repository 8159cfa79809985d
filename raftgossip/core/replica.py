"""The replicated state machine: client sessions, so that a repeated proposal is applied once, and the ledger.

Raft delivers an entry at least once from the proposer's point of view: an answer can get lost, and the proposer asks
again. The sessions make it exactly once (Ongaro 2014, section 6.3): each client numbers its proposals, and the replica
remembers the answers that the client may still wait for. Raft roles and proposers' addresses are not known here.

Everything that `apply` reads is the ledger and the sessions, both functions of the log alone: a snapshot is these two.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from raftgossip.core.epoch.command import Envelope
from raftgossip.core.epoch.ledger import Applied, Ledger
from raftgossip.facts import LedgerFact

MAX_SESSIONS = 4096
"""Clients remembered; the one whose last command lies farthest back in the log is forgotten first."""
MAX_REMEMBERED = 1024
"""Answers remembered per client; the lowest sequence is forgotten first, as if the client had its answer."""


@dataclass(slots=True)
class _Session:
    """One client's answers. Invariant: no sequence in `results` is below `floor`."""

    floor: int = 1
    """Sequences below it are answered; an unknown one among them must not be applied any more."""
    results: dict[int, Applied] = field(default_factory=dict)

    def forget_below(self, floor: int) -> None:
        """The client waits for nothing below `floor`."""
        if floor > self.floor:
            self.floor = floor
            self.results = {sequence: result for sequence, result in self.results.items() if sequence >= floor}


class Replica:
    """Applies committed envelopes in log order. Invariant: the state is a function of the applied log alone."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    @property
    def ledger(self) -> Ledger:
        """What the applied commands add up to."""
        return self._ledger

    def apply(self, index: int, envelope: Envelope) -> tuple[Applied, tuple[LedgerFact, ...]]:
        """Take the committed command at `index`; a repeated one gets its first answer and has no effect."""
        session = self._session(envelope.client)
        session.forget_below(envelope.first_unanswered)
        remembered = session.results.get(envelope.sequence)
        if remembered is not None:
            return remembered, ()
        if envelope.sequence < session.floor:
            reason = f"sequence {envelope.sequence} of client {envelope.client!r} is below {session.floor}: too late"
            return Applied(False, reason), ()
        result, facts = self._ledger.apply(index, envelope.command)
        session.results[envelope.sequence] = result
        if len(session.results) > MAX_REMEMBERED:
            session.forget_below(min(session.results) + 1)
        return result, facts

    def check_invariants(self) -> None:
        """Assert what the classes promise; for tests and the simulator."""
        assert len(self._sessions) <= MAX_SESSIONS
        for session in self._sessions.values():
            assert len(session.results) <= MAX_REMEMBERED
            assert all(sequence >= session.floor for sequence in session.results)
        self._ledger.check_invariants()

    def _session(self, client: str) -> _Session:
        session = self._sessions.setdefault(client, _Session())
        self._sessions.move_to_end(client)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session
