"""The only place that asks what time it is."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from; tests pass their own."""

    def now_ms(self) -> int:
        """Monotonic milliseconds from an arbitrary start: for timers, never for display."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch: for display, never for decisions."""


class SystemClock:
    """This machine's clocks."""

    def now_ms(self) -> int:
        """Monotonic milliseconds from an arbitrary start."""
        return time.monotonic_ns() // 1_000_000

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000
