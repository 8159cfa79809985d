"""The one loop that drives a core: an overdue deadline first, then mail, then every Ready that follows.

It reads the clock, calls `handle`, performs each Ready through the host, and gives the core at once the events that
performing it returned. What the host finishes later it hands to `feed`. Which core it drives, it does not know.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from raftgossip.core.contract import Core
from raftgossip.runtime.clock import Clock

Event = TypeVar("Event")
Ready = TypeVar("Ready")

Perform = Callable[[Ready], Sequence[Event]]


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
        """`perform` does not wait: what takes time, the host does in a task of its own, and hands to `feed`.

        `batch_limit`: events handled before effects are performed, so that one fsync covers many proposals.
        """
        self._core = core
        self._perform = perform
        self._tick = tick
        self._clock = clock
        self._mailbox_limit = mailbox_limit
        self._batch_limit = batch_limit
        self._mailbox: deque[Event] = deque()
        self._mail = asyncio.Event()
        self._alarm_ms: int | None = None
        """When `run` looks at the deadline again by itself; None: not at all."""

    def submit(self, event: Event) -> bool:
        """Put an event into the mailbox, from the loop's own thread; False: full, nothing was taken."""
        if len(self._mailbox) >= self._mailbox_limit:
            return False
        self._mailbox.append(event)
        self._mail.set()
        return True

    def feed(self, events: Sequence[Event]) -> None:
        """Give the core events of the host's own at once, and perform what follows: nothing waits, nothing is lost.

        From the loop's own thread; not from within `perform`, whose events are its result. Raises what they raise.
        """
        now_ms = self._clock.now_ms()
        for event in events:
            self._core.handle(event, now_ms)
        self._perform_all(now_ms)
        if self._is_alarm_late():
            self._mail.set()

    async def run(self) -> None:
        """Drive until cancelled. An exception of the core or the host ends it and is raised."""
        while True:
            self._turn()
            self._alarm_ms = deadline_ms = self._core.deadline_ms()
            delay_s = None if deadline_ms is None else max(0, deadline_ms - self._clock.now_ms()) / 1000
            try:
                async with asyncio.timeout(delay_s) as alarm:
                    # One alarm serves many turns: most of them move the deadline away, and setting it is not cheap.
                    while not self._is_alarm_late():
                        await self._wait_for_mail()
                        self._turn()
            except TimeoutError:
                if not alarm.expired():
                    raise

    async def _wait_for_mail(self) -> None:
        """Return when there is mail or a new deadline; always let other tasks run once."""
        if self._mailbox:
            await asyncio.sleep(0)
            return
        self._mail.clear()
        await self._mail.wait()

    def _is_alarm_late(self) -> bool:
        deadline_ms = self._core.deadline_ms()
        return deadline_ms is not None and (self._alarm_ms is None or deadline_ms < self._alarm_ms)

    def _turn(self) -> None:
        now_ms = self._clock.now_ms()
        deadline_ms = self._core.deadline_ms()
        if deadline_ms is not None and deadline_ms <= now_ms:
            self._core.handle(self._tick, now_ms)
        handle, mailbox = self._core.handle, self._mailbox
        for _ in range(min(len(mailbox), self._batch_limit)):
            handle(mailbox.popleft(), now_ms)
        self._perform_all(now_ms)

    def _perform_all(self, now_ms: int) -> None:
        while (ready := self._core.ready()) is not None:
            events = self._perform(ready)
            if not events:
                return  # a Ready is all that must happen now, so there is no other
            for event in events:
                self._core.handle(event, now_ms)
