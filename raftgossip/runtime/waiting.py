"""Questions that wait for an answer, by number; who is not answered in time is told so.

A timer for each would cost as much as the rest of asking. So the host calls `sweep` every `SWEEP_MS` while somebody
waits, and time is counted in sweeps: a wait ends one sweep late, and a little later still when the loop is busy.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from raftgossip.errors import NoQuorum, RaftGossipError

SWEEP_MS = 50
"""How late an unanswered question ends; smaller: more wake-ups while anybody waits."""

AnswerT = TypeVar("AnswerT")


class Waiting(Generic[AnswerT]):
    """Who waits for answers of one kind. All methods run on the event loop.

    It is as long as its owner allows: see `__len__`.
    """

    def __init__(self, asked: asyncio.Event, hint: str) -> None:
        """`asked` is set when somebody begins to wait; `hint` tells whoever waited in vain what that means."""
        self._asked = asked
        self._hint = hint
        self._num_sweeps = 0
        self._entries: dict[int, tuple[asyncio.Future[AnswerT], int, int]] = {}
        """The future, and the sweeps in which its wait began and ends."""

    def __len__(self) -> int:
        """How many wait."""
        return len(self._entries)

    def __contains__(self, number: int) -> bool:
        """Whether somebody waits for this one."""
        return number in self._entries

    async def answer(self, number: int, timeout_ms: int) -> AnswerT:
        """Wait for `resolve` or `fail` of this number. Cancellation forgets it.

        Raises:
            NoQuorum: neither came in time.
            RaftGossipError: what `fail` was given.
        """
        future: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        num_sweeps = self._num_sweeps
        self._entries[number] = (future, num_sweeps, num_sweeps + 1 + -(-timeout_ms // SWEEP_MS))
        self._asked.set()
        try:
            return await future
        except TimeoutError:
            raise NoQuorum(f"no majority confirmed it within {timeout_ms} ms; {self._hint}") from None
        finally:
            self._entries.pop(number, None)

    def resolve(self, number: int, answer: AnswerT) -> None:
        """Answer; whoever waits no more is passed over."""
        entry = self._entries.pop(number, None)
        if entry is not None and not entry[0].done():
            entry[0].set_result(answer)

    def fail(self, number: int, error: RaftGossipError) -> None:
        """Answer with an error; whoever waits no more is passed over."""
        entry = self._entries.pop(number, None)
        if entry is not None and not entry[0].done():
            entry[0].set_exception(error)

    def resolve_all(self, answer: AnswerT) -> None:
        """Give everybody the same answer."""
        for number in list(self._entries):
            self.resolve(number, answer)

    def fail_all(self, error: type[RaftGossipError], text: str) -> None:
        """Give everybody an error with this text."""
        for number in list(self._entries):
            self.fail(number, error(text))

    def sweep(self) -> None:
        """`SWEEP_MS` have passed: end what is over."""
        self._num_sweeps += 1
        over = [future for future, _, last in self._entries.values() if last <= self._num_sweeps]
        for future in over:
            if not future.done():
                future.set_exception(TimeoutError())

    def unanswered(self, period_ms: int) -> list[int]:
        """Who has waited for a whole number of periods at this sweep, of which each is `SWEEP_MS` or longer."""
        period = max(1, period_ms // SWEEP_MS)
        return [
            number
            for number, (_, begun, _) in self._entries.items()
            if begun < self._num_sweeps and (self._num_sweeps - begun) % period == 0
        ]
