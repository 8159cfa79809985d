"""Client sessions: a repeated proposal is applied once (Ongaro 2014, section 6.3).

Raft delivers a command at least once from the proposer's point of view: an answer can get lost, and the proposer asks
again, perhaps at another node and after a change of leader. Each client numbers its proposals, and the replicated state
remembers the answers that the client may still wait for. It is a function of the applied log alone, and a part of
every snapshot: else a command that was repeated across a snapshot would be applied twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MAX_SESSIONS = 4096
"""Clients remembered; the one whose last command lies farthest back in the log is forgotten first."""
MAX_REMEMBERED = 1024
"""Answers remembered per client; the lowest sequence is forgotten first, as if the client had its answer."""

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class SessionState(Generic[ResultT]):
    """One client's part of a snapshot."""

    client: str
    floor: int
    results: tuple[tuple[int, ResultT], ...]
    """By sequence, in the order in which they were applied."""


@dataclass(slots=True)
class _Session(Generic[ResultT]):
    """One client's answers. Invariant: no sequence in `results` is below `floor`."""

    floor: int = 1
    """Sequences below it are answered; an unknown one among them must not be applied any more."""
    results: dict[int, ResultT] = field(default_factory=dict)

    def forget_below(self, floor: int) -> None:
        """The client waits for nothing below `floor`."""
        if floor > self.floor:
            self.floor = floor
            for sequence in [each for each in self.results if each < floor]:
                del self.results[sequence]


@dataclass(frozen=True, slots=True)
class Once(Generic[ResultT]):
    """What became of a command that should be applied once."""

    result: ResultT | None
    """Its first answer; None: it came so late that the answer is forgotten, and it was not applied now."""
    is_new: bool
    """It was applied by this very call."""


class Sessions(Generic[ResultT]):
    """Answers by client and sequence. Invariant: no more of either than the limits above."""

    def __init__(self, states: Iterable[SessionState[ResultT]] = ()) -> None:
        """`states`: from a snapshot, the client that was silent longest first."""
        self._sessions: OrderedDict[str, _Session[ResultT]] = OrderedDict(
            (state.client, _Session(state.floor, dict(state.results))) for state in states
        )

    def once(self, client: str, sequence: int, first_unanswered: int, apply: Callable[[], ResultT]) -> Once[ResultT]:
        """Call `apply` unless this command was applied before; the client has its answers below `first_unanswered`."""
        session = self._session(client)
        session.forget_below(first_unanswered)
        if sequence in session.results:
            return Once(session.results[sequence], is_new=False)
        if sequence < session.floor:
            return Once(None, is_new=False)
        result = apply()
        session.results[sequence] = result
        if len(session.results) > MAX_REMEMBERED:
            session.forget_below(min(session.results) + 1)
        return Once(result, is_new=True)

    def floor(self, client: str) -> int:
        """Sequences of `client` below this are forgotten."""
        session = self._sessions.get(client)
        return session.floor if session is not None else 1

    def states(self) -> tuple[SessionState[ResultT], ...]:
        """Everything, as a snapshot holds it: quick, since results are values and only referred to."""
        return tuple(
            SessionState(client, session.floor, tuple(session.results.items()))
            for client, session in self._sessions.items()
        )

    def check_invariants(self) -> None:
        """Assert what the classes promise."""
        assert len(self._sessions) <= MAX_SESSIONS
        for session in self._sessions.values():
            assert len(session.results) <= MAX_REMEMBERED
            assert all(sequence >= session.floor for sequence in session.results)

    def _session(self, client: str) -> _Session[ResultT]:
        session = self._sessions.get(client)
        if session is not None:
            self._sessions.move_to_end(client)
            return session
        session = self._sessions[client] = _Session()
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session
