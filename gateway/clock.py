"""The gateway's only door to the clock: everything else is given the time."""

from __future__ import annotations

from time import monotonic, time  # noqa: TID251 (this is the door)

from gateway.registry import Moment


def now() -> Moment:
    """The present: monotonic milliseconds, by which nodes expire, and wall seconds, which are only shown."""
    return Moment(monotonic_ms=int(monotonic() * 1000), wall_seconds=time())


def monotonic_seconds() -> float:
    """Seconds that never go back, for deadlines and intervals."""
    return monotonic()
