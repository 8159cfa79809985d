"""The driver: deadlines first, then mail, then every Ready; bounded mailbox; errors end it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from raftgossip.runtime.driver import Driver


class ManualClock:
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        return self.ms

    def wall_ms(self) -> int:
        return self.ms


class RecordingCore:
    """Notes what it is given; a Ready is every event not yet handed out."""

    def __init__(self, deadline: int | None = None) -> None:
        self.seen: list[tuple[str, int]] = []
        self.deadline = deadline
        self._out: list[str] = []

    def handle(self, event: str, now_ms: int) -> None:
        self.seen.append((event, now_ms))
        if event == "tick":
            self.deadline = None
        if event.startswith("work"):
            self._out.append(event)

    def deadline_ms(self) -> int | None:
        return self.deadline

    def ready(self) -> tuple[str, ...] | None:
        out, self._out = tuple(self._out), []
        return out or None


def run_driver(driver: Driver[str, tuple[str, ...]], seconds: float = 0.2) -> None:
    async def main() -> None:
        async with asyncio.timeout(5):
            task = asyncio.get_running_loop().create_task(driver.run())
            await asyncio.wait([task], timeout=seconds)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass

    asyncio.run(main())


async def perform_done(ready: tuple[str, ...]) -> Sequence[str]:
    return [f"done {name}" for name in ready]


def test_an_overdue_deadline_comes_before_the_mail() -> None:
    core, clock = RecordingCore(deadline=5), ManualClock()
    clock.ms = 10
    driver = Driver(core, perform_done, "tick", clock)
    driver.submit("mail")

    run_driver(driver, 0.05)

    assert core.seen[:2] == [("tick", 10), ("mail", 10)]


def test_events_of_a_performed_ready_are_fed_before_new_mail() -> None:
    core = RecordingCore()
    driver = Driver(core, perform_done, "tick", ManualClock(), batch_limit=1)
    driver.submit("work a")
    driver.submit("work b")

    run_driver(driver, 0.05)

    assert [event for event, _ in core.seen] == ["work a", "done work a", "work b", "done work b"]


def test_a_full_mailbox_refuses() -> None:
    driver = Driver(RecordingCore(), perform_done, "tick", ManualClock(), mailbox_limit=2)

    assert [driver.submit("mail") for _ in range(3)] == [True, True, False]


def test_an_error_of_the_host_ends_the_driver() -> None:
    async def perform(ready: tuple[str, ...]) -> Sequence[str]:
        raise OSError("disk")

    async def main() -> None:
        driver = Driver(RecordingCore(), perform, "tick", ManualClock())
        driver.submit("work")
        await driver.run()

    with pytest.raises(OSError, match="disk"):
        asyncio.run(main())
