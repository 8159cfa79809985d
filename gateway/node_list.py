"""The ids that are listed to those who ask: by id, a page at a time, or a random sample of them."""

from __future__ import annotations

import bisect
import random
from dataclasses import dataclass, field

from raftgossip.ids import NodeId


@dataclass(slots=True)
class NodeList:
    """A set of ids that is read in order and drawn from, both in time that does not grow with it.

    Coming and going move the ids behind in the sorted list: with 20,000 of them that is one copy of 160 kB.
    Invariant: both lists hold the same ids; `_sorted` is sorted; `_places` says where each id stands in `_drawn`.
    """

    _sorted: list[NodeId] = field(default_factory=list, init=False)
    _drawn: list[NodeId] = field(default_factory=list, init=False)
    _places: dict[NodeId, int] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._drawn)

    def __contains__(self, node_id: int) -> bool:
        return node_id in self._places

    def add(self, node_id: NodeId) -> None:
        """Enter an id; does nothing if it is there."""
        if node_id in self._places:
            return
        bisect.insort(self._sorted, node_id)
        self._places[node_id] = len(self._drawn)
        self._drawn.append(node_id)

    def discard(self, node_id: NodeId) -> None:
        """Take an id out; does nothing if it is not there. The last one takes its place in the list to draw from."""
        place = self._places.pop(node_id, None)
        if place is None:
            return
        del self._sorted[bisect.bisect_left(self._sorted, node_id)]
        last = self._drawn.pop()
        if last != node_id:
            self._drawn[place] = last
            self._places[last] = place

    def after(self, node_id: int, limit: int) -> list[NodeId]:
        """At most `limit` ids behind `node_id`, by id."""
        start = bisect.bisect_right(self._sorted, node_id)
        return self._sorted[start : start + limit]

    def sample(self, rng: random.Random, asker: int, limit: int) -> list[NodeId]:
        """All ids but the asker's if they are at most `limit`, else so many, each set of them equally likely; by id."""
        if len(self._drawn) - (asker in self._places) <= limit:
            return [node_id for node_id in self._sorted if node_id != asker]
        drawn = rng.sample(range(len(self._drawn)), limit + 1 if asker in self._places else limit)
        found = [self._drawn[place] for place in drawn if self._drawn[place] != asker]
        return sorted(found[:limit])

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        assert self._sorted == sorted(self._drawn)
        assert {node_id: place for place, node_id in enumerate(self._drawn)} == self._places
