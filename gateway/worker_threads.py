"""The threads that answer calls: few, one more for each that only waits, and up to as many as were asked for if the
work stands still.

Python runs one thread at a time. The more of them want to run, the more each call costs: with ten, a heartbeat takes a
third longer than with three. But a thread that holds up a caller who calls too often, or whose caller says nothing,
does no work; another one takes its place for that time, so that nobody can take them all by making them wait.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue

FEW = 3
"""Threads that work while the work gets on: measured, see above."""

logger = logging.getLogger(__name__)


class Task:
    """A call of a function, and who wants to hear that it has ended."""

    __slots__ = ("_arguments", "_function", "_is_over", "_listeners")

    def __init__(self, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self._function = function
        self._arguments = arguments
        self._is_over = False
        self._listeners: list[Callable[[Task], object]] = []

    def add_done_callback(self, listener: Callable[[Task], object]) -> None:
        """Call the listener once, when the task has ended or at once, in whichever thread notices first."""
        self._listeners.append(listener)
        if self._is_over:
            self._tell()

    def run(self) -> None:
        """Do it; what it raises is only logged."""
        try:
            self._function(*self._arguments)
        except Exception:
            logger.exception("a task of the gateway failed")
        finally:
            self._is_over = True
            self._tell()

    def _tell(self) -> None:
        """Taking a listener out of the list is one step, so that no two threads call the same one."""
        while self._listeners:
            with suppress(IndexError):
                self._listeners.pop()(self)


class WorkerThreads:
    """Takes tasks as gRPC's server gives them; what waits for a thread is bounded by the calls that the server takes.

    Invariant: at most `max_threads + max_more` threads, and about as many as `max_threads` of them that do not wait.
    """

    def __init__(self, max_threads: int, max_more: int, name: str) -> None:
        """`max_threads`: that work at once. `max_more`: threads that may wait at once and are replaced."""
        self._max_threads = max_threads
        self._num_working = min(FEW, max_threads)
        self._num_done = 0
        """Counts tasks, about: two threads may count two as one. Only whether it moves matters."""
        self._num_done_then = 0
        self._max_more = max_more
        self._name = name
        self._lock = threading.Lock()
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._num_idle = 0
        self._num_held = 0
        self._num_silent = 0
        self._limit = self._num_working
        self._is_closed = False

    @property
    def num_queued(self) -> int:
        """Tasks that wait for a thread."""
        return self._tasks.qsize()

    def submit(self, function: Callable[..., object], *arguments: object) -> Task:
        """Have a thread call the function.

        Raises:
            RuntimeError: they were shut down.
        """
        if self._is_closed:
            raise RuntimeError("the gateway's threads were shut down")
        task = Task(function, arguments)
        self._tasks.put(task)
        if self._num_idle < self._tasks.qsize() and len(self._threads) < self._limit:
            self._start_more()
        return task

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what a task waits for: until then another thread may do its work."""
        self._count_waiting(1)
        try:
            yield
        finally:
            self._count_waiting(-1)

    def look_after(self, num_silent: int) -> None:
        """Let more threads work if none got on since the last time; call it every now and then while tasks wait.
        `num_silent`: threads that wait for callers who say nothing."""
        stands_still = self.num_queued > 0 and self._num_done == self._num_done_then
        self._num_done_then = self._num_done
        self._num_working = min(self._num_working + 1 if stands_still else FEW, self._max_threads)
        self._num_silent = num_silent
        self._count_waiting(0)

    def shutdown(self) -> None:
        """Do what was submitted, then end all threads."""
        with self._lock:
            self._is_closed = True
            threads = list(self._threads)
        for _ in threads:
            self._tasks.put(None)
        for thread in threads:
            thread.join()

    def _count_waiting(self, change: int) -> None:
        with self._lock:
            self._num_held += change
            self._limit = self._num_working + min(self._max_more, self._num_held + self._num_silent)
        if change >= 0:
            self._start_more()

    def _start_more(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            for _ in range(min(self._limit - len(self._threads), self._tasks.qsize() - self._num_idle)):
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._threads.add(thread)
                thread.start()

    def _work(self) -> None:
        me = threading.current_thread()
        while (task := self._next()) is not None:
            task.run()
            self._num_done += 1
            del task  # it holds the call, which should not live until the next one
            if len(self._threads) > self._limit and not self._is_closed:  # it took the place of one that waits no more
                break
        with self._lock:
            self._threads.discard(me)
        self._start_more()  # if several noticed that at once

    def _next(self) -> Task | None:
        try:
            return self._tasks.get_nowait()
        except Empty:
            with self._lock:
                self._num_idle += 1
            task = self._tasks.get()
            with self._lock:
                self._num_idle -= 1
            return task
