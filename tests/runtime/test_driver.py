"""The driver: deadlines first, then mail, then every Ready; bounded mailbox; errors end it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from raftgossip.runtime.clock import Clock, SystemClock
from raftgossip.runtime.driver import Driver


class ManualClock:
    """Time that moves when the test says so."""

    def __init__(self, ms: int = 0) -> None:
        self.ms = ms

    def now_ms(self) -> int:
        return self.ms

    def wall_ms(self) -> int:
        return self.ms


class RecordingCore:
    """Notes what it is given; a Ready is every event not yet handed out."""

    def __init__(self, deadline: int | None = None) -> None:
        self.seen: list[tuple[str, int]] = []
        self.deadline = deadline
        self.changed = asyncio.Event()
        self._out: list[str] = []

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.seen]

    def handle(self, event: str, now_ms: int) -> None:
        self.seen.append((event, now_ms))
        self.changed.set()
        if event == "tick":
            self.deadline = None
        if event.startswith("work"):
            self._out.append(event)
        if event.startswith("wake at "):
            self.deadline = int(event.removeprefix("wake at "))

    def deadline_ms(self) -> int | None:
        return self.deadline

    def ready(self) -> tuple[str, ...] | None:
        out, self._out = tuple(self._out), []
        return out or None

    async def has(self, event: str) -> None:
        """Return when it was given this event."""
        while event not in self.events:
            self.changed.clear()
            await self.changed.wait()


Story = Callable[[Driver[str, tuple[str, ...]]], Awaitable[None]]


def run_story(core: RecordingCore, story: Story, clock: Clock | None = None, batch_limit: int = 512) -> None:
    """Run the driver for as long as the story lasts."""

    async def main() -> None:
        driver = Driver(core, perform_done, "tick", clock or ManualClock(), batch_limit=batch_limit)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            running = group.create_task(driver.run())
            await story(driver)
            running.cancel()

    asyncio.run(main())


def perform_done(ready: tuple[str, ...]) -> Sequence[str]:
    return [f"done {name}" for name in ready]


def test_an_overdue_deadline_comes_before_the_mail() -> None:
    core = RecordingCore(deadline=5)

    async def story(driver: Driver[str, tuple[str, ...]]) -> None:
        driver.submit("mail")
        await core.has("mail")

    run_story(core, story, ManualClock(10))

    assert core.seen == [("tick", 10), ("mail", 10)]


def test_events_of_a_performed_ready_are_handled_before_new_mail() -> None:
    core = RecordingCore()

    async def story(driver: Driver[str, tuple[str, ...]]) -> None:
        driver.submit("work a")
        driver.submit("work b")
        await core.has("done work b")

    run_story(core, story, batch_limit=1)

    assert core.events == ["work a", "done work a", "work b", "done work b"]


def test_what_the_host_finished_later_is_handled_at_once_and_before_the_mail() -> None:
    core = RecordingCore()

    async def story(driver: Driver[str, tuple[str, ...]]) -> None:
        await asyncio.sleep(0)
        driver.submit("mail")
        driver.feed(("work saved",))
        assert core.events == ["work saved", "done work saved"], "without a turn of the loop"
        await core.has("mail")

    run_story(core, story)


def test_a_full_mailbox_refuses_mail_but_not_what_the_host_finished() -> None:
    core = RecordingCore()
    driver = Driver(core, perform_done, "tick", ManualClock(), mailbox_limit=2)

    assert [driver.submit("mail") for _ in range(3)] == [True, True, False]
    driver.feed(("saved",) * 3)
    assert core.events == ["saved"] * 3


def test_a_deadline_that_comes_closer_is_kept() -> None:
    # One alarm serves many turns of the loop; it must not be the one of a deadline that was given up.
    clock = SystemClock()
    core = RecordingCore(deadline=clock.now_ms() + 3_600_000)

    async def story(driver: Driver[str, tuple[str, ...]]) -> None:
        await asyncio.sleep(0)
        driver.submit(f"wake at {clock.now_ms() + 5}")
        await core.has("tick")

    run_story(core, story, clock)


def test_a_deadline_that_comes_closer_by_what_the_host_finished_is_kept() -> None:
    clock = SystemClock()
    core = RecordingCore()

    async def story(driver: Driver[str, tuple[str, ...]]) -> None:
        await asyncio.sleep(0)
        driver.feed((f"wake at {clock.now_ms() + 5}",))
        await core.has("tick")

    run_story(core, story, clock)


def test_a_deadline_that_moves_away_is_not_due_at_its_old_time() -> None:
    clock = SystemClock()
    start_ms = clock.now_ms()
    core = RecordingCore(deadline=start_ms + 20)

    async def story(driver: Driver[str, tuple[str, ...]]) -> None:
        await asyncio.sleep(0)
        driver.submit(f"wake at {start_ms + 60}")
        await core.has("tick")

    run_story(core, story, clock)

    assert [at_ms >= start_ms + 60 for event, at_ms in core.seen if event == "tick"] == [True]


@pytest.mark.parametrize("error", [OSError("disk"), TimeoutError("disk")])
def test_an_error_of_the_host_ends_the_driver(error: Exception) -> None:
    def perform(ready: tuple[str, ...]) -> Sequence[str]:
        raise error

    async def main() -> None:
        driver = Driver(RecordingCore(deadline=3_600_000), perform, "tick", ManualClock())
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            running = group.create_task(driver.run())
            await asyncio.sleep(0)
            driver.submit("work")
            with pytest.raises(type(error), match="disk"):
                await running

    with pytest.raises(ExceptionGroup):
        asyncio.run(main())
