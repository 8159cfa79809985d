"""Brings dialled edges together with the round that they are for: who dials before this node has come so far waits.

A neighbour may be ahead by the time that training takes. Who is ahead by more is no neighbour in step, and waits only
as long as this node may need to hear of epochs that it has missed.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from raftgossip.errors import AlreadyExists, Busy, DeadlineExceeded, StaleEpoch
from raftgossip.ids import NodeId

MAX_WAITING = 64
"""Calls that may wait for this node's round at once; more are refused with `Busy`."""
MAX_WAITING_PER_CALLER = 4
"""Calls of one verified caller; a neighbour dials for one step at a time."""
MAX_WAIT_S = 300.0
"""The longest wait for this node's round, whatever deadline the caller asked for."""
MAX_EPOCHS_AHEAD = 2
FAR_AHEAD_WAIT_S = 5.0
"""How long a call may wait that is for an epoch further ahead than that."""

SlotT = TypeVar("SlotT")


class OpenCall(Protocol):
    """What a waiting call tells about itself; a gRPC context does."""

    def is_active(self) -> bool:
        """Whether the caller still waits for the answer."""

    def time_remaining(self) -> float | None:
        """Seconds until its deadline; None: it has none."""

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Run `callback` when the call ends."""


@dataclass(frozen=True, slots=True)
class Place:
    """One edge of one step of one attempt."""

    epoch: int
    attempt: int
    step: int
    neighbour: NodeId

    @property
    def position(self) -> tuple[int, int, int]:
        """Where in the run it is."""
        return (self.epoch, self.attempt, self.step)


class WaitingRoom(Generic[SlotT]):
    """Thread-safe. A slot is what a round opens for an edge; it is given away once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slots: dict[Place, SlotT] = {}
        self._taken: set[Place] = set()
        self._horizon = (0, 0, 0)
        self._num_waiting = 0
        self._waiting: Counter[str] = Counter()

    def open(self, place: Place, slot: SlotT) -> None:
        """The own round has come so far."""
        with self._changed:
            self._slots[place] = slot
            self._changed.notify_all()

    def close(self, place: Place) -> None:
        """The own round waits no longer."""
        with self._changed:
            self._slots.pop(place, None)
            self._taken.discard(place)

    def advance(self, epoch: int, attempt: int, step: int) -> None:
        """Everything before this step is over: whoever waits for it is sent away."""
        with self._changed:
            self._horizon = max(self._horizon, (epoch, attempt, step))
            self._changed.notify_all()

    def take(self, place: Place, call: OpenCall, principal: str) -> SlotT:
        """Wait until the round has opened the slot for this place. `principal`: the caller; empty: not verified.

        Raises:
            Busy: too many wait, or too many calls of this caller.
            StaleEpoch: the step is over here, or too far ahead.
            DeadlineExceeded: this node did not come so far in time.
            AlreadyExists: the slot was given away before.
        """
        call.add_callback(self._wake)
        with self._changed:
            self._enter(principal)
            try:
                came = self._wait(place, call)
            finally:
                self._leave(principal)
            if place.position < self._horizon:
                raise StaleEpoch(f"epoch {place.epoch} attempt {place.attempt} step {place.step} is over here")
            if not came or not call.is_active():
                raise DeadlineExceeded(f"this node did not reach epoch {place.epoch} step {place.step} in time")
            if place in self._taken:
                raise AlreadyExists(f"epoch {place.epoch} step {place.step} of node {place.neighbour} came before")
            self._taken.add(place)
            return self._slots[place]

    def _enter(self, principal: str) -> None:
        if self._num_waiting >= MAX_WAITING:
            raise Busy(f"{MAX_WAITING} exchanges wait here already; retry later")
        if principal and self._waiting[principal] >= MAX_WAITING_PER_CALLER:
            raise Busy(f"{MAX_WAITING_PER_CALLER} exchanges of {principal} wait here already; retry later")
        self._num_waiting += 1
        self._waiting[principal] += 1

    def _leave(self, principal: str) -> None:
        self._num_waiting -= 1
        self._waiting[principal] -= 1
        if not self._waiting[principal]:
            del self._waiting[principal]

    def _wait(self, place: Place, call: OpenCall) -> bool:
        """False: time is up."""

        def is_settled() -> bool:
            return place in self._slots or place.position < self._horizon or not call.is_active()

        def is_near() -> bool:
            return is_settled() or place.epoch <= self._horizon[0] + MAX_EPOCHS_AHEAD

        remaining_s = call.time_remaining()
        limit_s = MAX_WAIT_S if remaining_s is None else min(remaining_s, MAX_WAIT_S)
        if not self._changed.wait_for(is_near, min(limit_s, FAR_AHEAD_WAIT_S)) and limit_s > FAR_AHEAD_WAIT_S:
            raise StaleEpoch(f"epoch {place.epoch} is far ahead of this node, which knows of epoch {self._horizon[0]}")
        return self._changed.wait_for(is_settled, limit_s)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
