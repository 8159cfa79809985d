"""What an algorithm carries from call to call within one epoch."""

from __future__ import annotations

from dataclasses import dataclass

from raftgossip.update import FloatVector


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """One peer's model and its push-sum mass; never changed in place.

    `vector`: (…, P) float32. `mass`: what travels with it. The leading axes are free: one peer in production holds
    (P,) and a float, a simulator holds (N, P) and an array (N, 1) that behaves like one.
    """

    vector: FloatVector
    mass: float
