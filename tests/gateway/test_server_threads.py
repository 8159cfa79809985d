"""The threads that answer calls: few, but never all waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from gateway.worker_threads import FEW, WorkerThreads


@pytest.fixture
def threads() -> Iterator[WorkerThreads]:
    """Two that work and at most three more."""
    made = WorkerThreads(2, 3, "test-worker")
    yield made
    made.shutdown()


def test_tasks_are_done_and_their_end_is_told_once_however_early_or_late_one_listens(threads: WorkerThreads) -> None:
    told = threading.Semaphore(0)
    ends: list[object] = []
    late = threads.submit(told.release)
    assert told.acquire(timeout=5)
    early = threads.submit(threading.Event().wait, 0.05)
    for task in (late, early):
        task.add_done_callback(lambda done: (ends.append(done), told.release()))
    assert all(told.acquire(timeout=5) for _ in range(2))
    assert sorted(map(id, ends)) == sorted(map(id, (late, early)))


def test_no_more_threads_work_than_were_asked_for(threads: WorkerThreads) -> None:
    go, begun = threading.Event(), threading.Semaphore(0)
    for _ in range(10):
        threads.submit(lambda: (begun.release(), go.wait(5)))
    assert all(begun.acquire(timeout=5) for _ in range(2))
    assert not begun.acquire(timeout=0.1)
    assert (len(threads._threads), threads.num_queued) == (2, 8)
    go.set()
    assert all(begun.acquire(timeout=5) for _ in range(8))


def test_a_thread_that_waits_is_replaced_until_it_goes_on(threads: WorkerThreads) -> None:
    go, begun, done = threading.Event(), threading.Semaphore(0), threading.Semaphore(0)

    def wait() -> None:
        begun.release()
        with threads.waiting():
            go.wait(5)

    for _ in range(10):
        threads.submit(wait)
    assert all(begun.acquire(timeout=5) for _ in range(5))
    assert not begun.acquire(timeout=0.1)
    assert len(threads._threads) == 5
    threads.submit(done.release)
    go.set()
    assert done.acquire(timeout=5)
    for _ in range(20):
        threads.submit(done.release)
        assert done.acquire(timeout=5)
    assert len(threads._threads) <= 2


def test_threads_of_silent_callers_are_replaced_when_they_were_counted(threads: WorkerThreads) -> None:
    go, begun, done = threading.Event(), threading.Semaphore(0), threading.Event()
    for _ in range(2):
        threads.submit(lambda: (begun.release(), go.wait(5)))
    assert all(begun.acquire(timeout=5) for _ in range(2))
    threads.submit(done.set)
    assert not done.wait(0.1)
    threads.look_after(2)
    assert done.wait(5)
    go.set()


def test_more_threads_work_only_while_the_work_stands_still_and_never_more_than_were_asked_for() -> None:
    threads = WorkerThreads(FEW + 1, 0, "test-worker")
    go, begun = threading.Event(), threading.Semaphore(0)
    for _ in range(FEW + 5):
        threads.submit(lambda: (begun.release(), go.wait(5)))
    assert all(begun.acquire(timeout=5) for _ in range(FEW))
    for _ in range(3):
        threads.look_after(0)
    assert begun.acquire(timeout=5)
    assert len(threads._threads) == FEW + 1
    go.set()
    assert all(begun.acquire(timeout=5) for _ in range(4))
    threads.look_after(0)
    for _ in range(20):
        threads.submit(begun.release)
        assert begun.acquire(timeout=5)
    assert len(threads._threads) <= FEW
    threads.shutdown()


def test_a_task_that_fails_takes_no_thread_with_it(caplog: pytest.LogCaptureFixture) -> None:
    threads = WorkerThreads(1, 0, "test-worker")
    for _ in range(4):
        threads.submit(lambda: 1 / 0)
    done = threading.Event()
    threads.submit(done.set)
    threads.shutdown()
    assert done.is_set()
    assert caplog.text.count("a task of the gateway failed") == 4


def test_what_was_submitted_is_done_before_the_end_and_nothing_afterwards() -> None:
    threads = WorkerThreads(1, 0, "test-worker")
    done: list[int] = []
    for number in range(100):
        threads.submit(done.append, number)
    threads.shutdown()
    assert done == list(range(100))
    assert len(threads._threads) == 0
    with pytest.raises(RuntimeError):
        threads.submit(done.append, 1)
