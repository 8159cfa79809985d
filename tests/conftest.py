"""Nothing may outlive the tests of a file: neither a child process nor a thread that keeps the interpreter alive."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

GRACE_S = 3.0  # for threads of pools that were told to end and are about to


def _children() -> dict[int, str]:
    """The living child processes of this one, by pid: their command lines. Without Linux's /proc, none are seen."""
    found = {}
    for pid in _child_pids():
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if state != "Z":
            found[int(pid)] = command
    return found


def _child_pids() -> list[str]:
    """Linux lists children by the thread that started them. When a thread ends, its children pass to another one, which
    may have been read already: so all are read again then."""
    while True:
        try:
            lists = [children.read_text() for children in Path("/proc/self/task").glob("*/children")]
        except (FileNotFoundError, ProcessLookupError):
            continue
        return " ".join(lists).split()


def _threads() -> set[threading.Thread]:
    """The threads that keep an interpreter alive; gRPC's and torch's own are daemons or none of Python's."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


@pytest.fixture(autouse=True, scope="module")
def _nothing_left_behind() -> Iterator[None]:
    """Set up before and torn down after every other fixture of the file, so that those may own processes."""
    children, threads = _children(), _threads()
    yield
    deadline_s = time.perf_counter() + GRACE_S
    for thread in _threads() - threads:
        thread.join(max(0.0, deadline_s - time.perf_counter()))
    left = [f"thread {thread.name}" for thread in _threads() - threads]
    left += [f"process {pid}: {command}" for pid, command in _children().items() if pid not in children]
    if left:
        pytest.fail(f"the tests of this file left behind: {'; '.join(sorted(left))}")
