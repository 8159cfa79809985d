"""The ways between the machines of a simulated cluster: what is lost, late, doubled, or cut off."""

from __future__ import annotations

import random
from collections.abc import Sequence

from raftgossip.ids import NodeId
from raftgossip.sim.knobs import Knobs

Way = tuple[NodeId, NodeId]
"""From a sender to a receiver; the other direction is another way."""


class Network:
    """Says when a message arrives, if it does. It holds no messages."""

    def __init__(self, knobs: Knobs, rng: random.Random) -> None:
        """`rng`: the run's one generator."""
        self._knobs = knobs
        self._rng = rng
        self._cuts: dict[Way, int] = {}
        self._is_calm = False

    def calm_down(self) -> None:
        """End all faults: from now on every message arrives once, and in order since all take the same time."""
        self._is_calm = True
        self._cuts.clear()

    def is_cut(self, sender: NodeId, receiver: NodeId) -> bool:
        """Whether nothing gets through; what was on its way when the cut began is lost too."""
        return (sender, receiver) in self._cuts

    def cut(self, ways: Sequence[Way]) -> None:
        """Block these ways; cuts may lie on each other."""
        for way in ways:
            self._cuts[way] = self._cuts.get(way, 0) + 1

    def heal(self, ways: Sequence[Way]) -> None:
        """End one cut of each."""
        for way in ways:
            left = self._cuts.pop(way, 0) - 1
            if left > 0:
                self._cuts[way] = left

    def delays_ms(self, sender: NodeId, receiver: NodeId) -> list[int]:
        """After how long a message that is sent now arrives: once, not at all, or twice."""
        return [] if self.is_cut(sender, receiver) else self.any_delays_ms()

    def any_delays_ms(self) -> list[int]:
        """The same for a way that is never cut, such as one from or to a client."""
        knobs = self._knobs
        if self._is_calm:
            return [knobs.delay_ms[0]]
        chance, delay_ms = self._rng.random(), self._ordinary_ms()
        if chance < knobs.loss:
            return []
        chance -= knobs.loss
        if chance < knobs.duplicate:
            return [delay_ms, self._ordinary_ms()]
        chance -= knobs.duplicate
        if chance < knobs.replay:
            return [delay_ms, knobs.config.election_max_ms * self._rng.randint(1, 20)]
        chance -= knobs.replay
        if chance < knobs.straggle:
            return [delay_ms * self._rng.randint(2, 20)]
        return [delay_ms]

    def _ordinary_ms(self) -> int:
        shortest_ms, longest_ms = self._knobs.delay_ms
        return shortest_ms + int(self._rng.random() * (longest_ms - shortest_ms + 1))
