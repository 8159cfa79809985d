"""One registry for many threads: one operation at a time, the clock read inside, changes told on, facts put on disk.

Time is read while the lock is held, so that it never goes back for the registry.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from gateway.log_lines import Event
from gateway.node_feed import FeedEvent, NodeFeed
from gateway.registry import Registry
from gateway.registry_store import RegistryStore
from gateway.registry_values import Memory, Moment
from raftgossip.errors import StorageError

logger = logging.getLogger(__name__)


class SharedRegistry:
    """A registry, who follows it, and its disk. Any number of threads may share it."""

    def __init__(self, registry: Registry, clock: Callable[[], Moment], disk: RegistryStore | None) -> None:
        self._registry = registry
        self._clock = clock
        self._disk = disk
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        """Taken before `_lock`, never while it is held."""
        self._changed = threading.Condition(self._lock)
        self._told_version = registry.version
        """Those who wait were told of the changes up to it."""
        self._saved_step: int | None = None
        self._saved_facts = -1
        self._saved_memory: Memory | None = None
        self._num_waiting = 0
        self._stopping = threading.Event()

    def now(self) -> Moment:
        """The time."""
        return self._clock()

    def operation(self) -> _Operation:
        """The registry and the time, for one operation: `with shared.operation() as (registry, now)`."""
        return _Operation(self, lambda _: None)

    def lasting_operation(self) -> _Operation:
        """The same; what it has found out about founding a cluster is on disk when it ends. Its end may raise
        `StorageError`: it is not, so nothing may be answered that builds on it."""
        return _Operation(self, self.save_facts)

    def begin_operation(self) -> tuple[Registry, Moment]:
        """Take the registry, and the time; every call is followed by `end_operation`."""
        self._lock.acquire()
        try:
            now = self._clock()
            for node_id in self._registry.expire(now):
                logger.info(Event("node removed", node_id=node_id, reason="no heartbeat"))
        except BaseException:
            self._lock.release()
            raise
        return self._registry, now

    def end_operation(self) -> int:
        """Give the registry back, and tell on what has changed; returns how many facts about founding are known."""
        try:
            if self._registry.version != self._told_version:
                self._told_version = self._registry.version
                if self._num_waiting:
                    self._changed.notify_all()
            return self._registry.num_facts
        finally:
            self._lock.release()

    def save_facts(self, num_facts: int) -> None:
        """Put on disk what is known about founding, if so many facts are not there yet.

        Raises:
            StorageError: the disk failed.
        """
        if self._disk is not None and num_facts > self._saved_facts:
            self.save()

    def save(self) -> None:
        """Put on disk what is not there yet; call it every second or so. Nobody waits for the disk but the caller, and
        who wants to save, too.

        Raises:
            StorageError: the disk failed; it is tried again the next time.
        """
        if self._disk is None:
            return
        with self._saving:
            with self._lock:
                unsaved = self._registry.unsaved(self._saved_step)
            memory = replace(unsaved.memory, records=())  # the leader and the version, too
            if (unsaved.step, unsaved.num_facts, memory) == (self._saved_step, self._saved_facts, self._saved_memory):
                return
            try:
                self._disk.save(unsaved)
            except StorageError as error:
                logger.error(Event("the registry cannot be saved", reason=str(error)))
                raise
            self._saved_step, self._saved_facts, self._saved_memory = unsaved.step, unsaved.num_facts, memory

    def wait_for_change(self, version: int, seconds: float, is_wanted: Callable[[], bool]) -> None:
        """Return when the list has another version, time is up, `is_wanted` says no (see `wake`), or it stops."""
        with self._changed:
            self._num_waiting += 1
            try:
                self._changed.wait_for(
                    lambda: self._registry.version != version or self.is_stopping or not is_wanted(), seconds
                )
            finally:
                self._num_waiting -= 1

    def wake(self) -> None:
        """Let those who wait look whether they still want to."""
        with self._changed:
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Return after so long, or when it stops."""
        self._stopping.wait(seconds)

    def backlog(self, feed: NodeFeed) -> int:
        """So many changes are to be told to a follower, about."""
        with self.operation() as (registry, _):
            return feed.backlog(registry)

    def next_events(self, feed: NodeFeed) -> list[FeedEvent]:
        """The next page of what to tell a follower."""
        with self.operation() as (registry, _):
            return feed.read(registry)

    @property
    def is_stopping(self) -> bool:
        """Whether followers shall end."""
        return self._stopping.is_set()

    def begin(self) -> None:
        """Let followers come."""
        self._stopping.clear()

    def stop(self) -> None:
        """Send followers away."""
        self._stopping.set()
        self.wake()

    def pass_time(self) -> float:
        """Forget the silent; returns the seconds after which somebody else may have been silent for too long."""
        with self.operation() as (registry, now):
            return (registry.deadline_ms(now) - now.monotonic_ms) / 1000


class _Operation:
    """From the taking of the registry to its return. A generator would make every heartbeat cost noticeably more."""

    __slots__ = ("_finish", "_shared")

    def __init__(self, shared: SharedRegistry, finish: Callable[[int], None]) -> None:
        self._shared = shared
        self._finish = finish

    def __enter__(self) -> tuple[Registry, Moment]:
        return self._shared.begin_operation()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        num_facts = self._shared.end_operation()
        if kind is None:
            self._finish(num_facts)
