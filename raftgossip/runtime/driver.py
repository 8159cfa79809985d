"""The one loop that drives a core: an overdue deadline first, then mail, then every Ready that follows.

It reads the clock, calls `handle`, performs each Ready through the host, and gives the core at once the events that
performing it returned. Which core it drives, it does not know.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from raftgossip.core.contract import Core
from raftgossip.runtime.clock import Clock

Event = TypeVar("Event")
Ready = TypeVar("Ready")

Perform = Callable[[Ready], Awaitable[Sequence[Event]]]


class Driver(Generic[Event, Ready]):
    """Runs one core on the event loop.

    The mailbox is bounded: when it is full, `submit` refuses and returns False. A remote message may then be dropped
    (Raft and gossip tolerate it); a proposal must be answered with `Busy`.
    """

    def __init__(
        self,
        core: Core[Event, Ready],
        perform: Perform[Ready, Event],
        tick: Event,
        clock: Clock,
        mailbox_limit: int = 8192,
        batch_limit: int = 512,
    ) -> None:
        """`batch_limit`: events handled before effects are performed, so that one fsync covers many proposals."""
        self._core = core
        self._perform = perform
        self._tick = tick
        self._clock = clock
        self._mailbox_limit = mailbox_limit
        self._batch_limit = batch_limit
        self._mailbox: deque[Event] = deque()
        self._mail = asyncio.Event()

    def submit(self, event: Event) -> bool:
        """Put an event into the mailbox, from the loop's own thread; False: full, nothing was taken."""
        if len(self._mailbox) >= self._mailbox_limit:
            return False
        self._mailbox.append(event)
        self._mail.set()
        return True

    async def run(self) -> None:
        """Drive until cancelled. An exception of the core or the host ends it and is raised."""
        while True:
            self._handle_batch()
            while (ready := self._core.ready()) is not None:
                for event in await self._perform(ready):
                    self._core.handle(event, self._clock.now_ms())
            await self._wait()

    def _handle_batch(self) -> None:
        now_ms = self._clock.now_ms()
        deadline_ms = self._core.deadline_ms()
        if deadline_ms is not None and deadline_ms <= now_ms:
            self._core.handle(self._tick, now_ms)
        for _ in range(min(len(self._mailbox), self._batch_limit)):
            self._core.handle(self._mailbox.popleft(), now_ms)

    async def _wait(self) -> None:
        """Return when there is mail or the core's deadline has come; always let other tasks run once."""
        if self._mailbox:
            await asyncio.sleep(0)
            return
        self._mail.clear()
        deadline_ms = self._core.deadline_ms()
        if deadline_ms is None:
            await self._mail.wait()
            return
        delay_ms = deadline_ms - self._clock.now_ms()
        if delay_ms <= 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(delay_ms / 1000):
                await self._mail.wait()
        except TimeoutError:
            pass
