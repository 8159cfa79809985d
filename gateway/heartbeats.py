"""Does something at a fixed interval, in a thread of its own, until it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gateway.clock import monotonic_seconds
from raftgossip.errors import ConfigError

HURRY_S = 1.0
"""Beats that are hurried come so long apart at least: gateways that come and go by turns must not be flooded."""


class Heartbeats:
    """Calls `beat` every `interval` seconds, the first time one interval after `start`.

    A beat that takes longer than the interval is followed by the next one at once; those missed are not caught up.
    """

    def __init__(self, beat: Callable[[], object], interval: float) -> None:
        """`beat` must not raise.

        Raises:
            ConfigError: the interval is not positive.
        """
        self._beat = beat
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self._is_hurried = False
        self.interval = interval

    @property
    def interval(self) -> float:
        """Seconds between beats; a new value counts at once."""
        return self._interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        if not 0 < seconds <= threading.TIMEOUT_MAX:
            raise ConfigError(f"heartbeat_interval is {seconds} s; it must be positive and finite")
        with self._changed:
            self._interval = seconds
            self._changed.notify_all()

    def start(self) -> None:
        """Begin to beat; does nothing if it beats already, or was stopped."""
        with self._changed:
            if self._thread is None and not self._is_stopped:
                self._thread = threading.Thread(target=self._run, name="gateway-heartbeats", daemon=True)
                self._thread.start()

    def hurry(self) -> None:
        """Beat now, or `HURRY_S` after the last beat began; the next one follows an interval later."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()

    def stop(self, patience: float) -> None:
        """End after the beat that runs, for which it waits `patience` seconds at most; a beat itself may call this."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(patience)

    def _run(self) -> None:
        last = monotonic_seconds()
        while True:
            with self._changed:
                while not self._is_stopped and (wait := last + self._gap_s - monotonic_seconds()) > 0:
                    self._changed.wait(wait)
                if self._is_stopped:
                    return
                # Counted from when the beat was due, so that small delays do not add up.
                late = monotonic_seconds() - (last + self._interval)
                last = last + self._interval if 0 <= late < self._interval else monotonic_seconds()
                self._is_hurried = False
            self._beat()

    @property
    def _gap_s(self) -> float:
        return min(self._interval, HURRY_S) if self._is_hurried else self._interval
