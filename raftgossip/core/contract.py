"""The one shape of everything that decides: events go in, a Ready of effects comes out.

A core never calls back, never blocks, never logs and never reads a clock. So a run is a list of `(now_ms, event)`
pairs that can be recorded, replayed and simulated.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

EventT_contra = TypeVar("EventT_contra", contravariant=True)
ReadyT_co = TypeVar("ReadyT_co", covariant=True)


class Core(Protocol[EventT_contra, ReadyT_co]):
    """A plain object with three methods and no I/O."""

    def handle(self, event: EventT_contra, now_ms: int) -> None:
        """Take one event; `now_ms` is monotonic milliseconds and never goes back."""

    def deadline_ms(self) -> int | None:
        """When the core next wants a `Tick`; None: never."""

    def ready(self) -> ReadyT_co | None:
        """Take and clear what must happen now, its fields in the order of execution; None: nothing."""
