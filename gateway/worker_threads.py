"""The threads that answer calls: as many as were asked for, and one more for each that only waits.

A thread that holds up a caller who calls too often, or whose caller says nothing, does no work; another one takes its
place for that time. So few threads share the interpreter, which makes each call cheaper, and nobody can take them all
by making them wait.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

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
            try:
                listener = self._listeners.pop()
            except IndexError:
                return
            listener(self)


class WorkerThreads:
    """Takes tasks as gRPC's server gives them; what waits for a thread is bounded by the calls that the server takes.

    Invariant: at most `num_threads + max_more` threads, and no more than `num_threads` of them that do not wait.
    """

    def __init__(self, num_threads: int, max_more: int, name: str) -> None:
        """No thread runs before there is a task. `max_more`: threads that may wait at once and are replaced."""
        self._num_wanted = num_threads
        self._max_more = max_more
        self._name = name
        self._lock = threading.Lock()
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._num_idle = 0
        self._num_held = 0
        self._num_silent = 0
        self._limit = num_threads
        self._is_closed = False

    @property
    def num_threads(self) -> int:
        """So many run now."""
        return len(self._threads)

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

    def note_silent(self, number: int) -> None:
        """So many threads wait for callers who say nothing; somebody counts them every now and then."""
        self._num_silent = number
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
            self._limit = self._num_wanted + min(self._max_more, self._num_held + self._num_silent)
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
            del task  # it holds the call, which should not live until the next one
            if len(self._threads) > self._limit and self._is_surplus(me):
                return
        with self._lock:
            self._threads.discard(me)

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

    def _is_surplus(self, me: threading.Thread) -> bool:
        """Whether this thread took the place of one that waits no more; it ends then."""
        with self._lock:
            if len(self._threads) <= self._limit or self._is_closed:
                return False
            self._threads.discard(me)
            return True
