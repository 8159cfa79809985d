"""Callbacks that tests can wait for."""

from __future__ import annotations

import threading


class Happened:
    """A callback that notes what it is given and lets a test wait for it."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self._changed = threading.Condition()

    def __call__(self, what: object) -> None:
        with self._changed:
            self.seen.append(what)
            self._changed.notify_all()

    def wait(self, number: int = 1, seconds: float = 10) -> None:
        """Returns when it happened so often; fails when the time is up."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= number, seconds), self.seen
